"""trained_card.py: --do_parity renews the card of an export, and what a user wrote stays."""

import shutil
from types import SimpleNamespace

import train
from core import pipeline
from core.model_card import Card, is_unchanged, write_cards
from core.trained_card import COMPRESSION_KEY, describe_trained
from utils import read_json, write_json


def page(folder, name="README_en.md"):
    return (folder / name).read_text(encoding="utf-8")


def test_a_comparison_renews_the_card(calibrated, tmp_path):
    data, checkpoint, folder = calibrated
    target = tmp_path / "export"
    shutil.copytree(folder, target)
    # As an export without dev leaves it, and one of the two is the user's.
    write_cards(target, Card(["a"], read_json(target / "export.json"), {}, why_no_scores="there was no dev"), print)
    (target / "README.md").write_text("# 我的模型\n", encoding="utf-8")
    assert "there was no dev" in page(target) and "nothing was compared" in page(target)
    flags = f"--do_parity --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir {checkpoint}"
    train.main([*flags.split(), "--export_model_dir", str(target)])
    assert page(target, "README.md") == "# 我的模型\n" and is_unchanged(target / "README_en.md")
    card, content = page(target), read_json(target / "export.json")
    by_format = {row["format"]: row for row in content["metrics"]["dev"]}
    assert f"| accuracy | {by_format['dynamic']['accuracy']:.2%} |" in card and "nothing was compared" not in card
    assert all(f"| `{name}` |" in card for name in by_format if name != "dynamic")
    assert "`--learning_rate 0.005`" in card and COMPRESSION_KEY not in content
    assert content["files"]["README_en.md"] == (target / "README_en.md").stat().st_size


def test_the_card_of_another_model_stays(calibrated, tmp_path, log):
    _, checkpoint, folder = calibrated
    target = tmp_path / "export"
    shutil.copytree(folder, target)
    flags = SimpleNamespace(model_name_or_path=str(checkpoint))
    run, before = SimpleNamespace(args=SimpleNamespace(do_train=False), model_flags=flags), page(target)
    content = read_json(target / "export.json")
    # Other weights, or a pruned model of which it is not known what pruned it.
    for change in ({"weights": "0" * 64}, {"width_mult": "1/2"}):
        write_json(target / "export.json", {**content, **change})
        pipeline.refresh_card(None, run, target, None, [])
        assert page(target) == before and "its model card stays, since it is the export of other" in log.pop()
    for name in ("README.md", "README_en.md"):
        (target / name).unlink()
    write_json(target / "export.json", content)
    pipeline.refresh_card(None, run, target, None, [])
    assert not (target / "README.md").exists()


def test_what_compressed_a_model_is_known_later(calibrated, tmp_path):
    _, checkpoint, folder = calibrated
    target = tmp_path / "export"
    shutil.copytree(folder, target)
    data = SimpleNamespace(labels=["a", "b"], train=None, dev=None, export_dev=None, why_no_dev="")
    run = SimpleNamespace(
        args=SimpleNamespace(do_train=False, seed=1),
        model_flags=SimpleNamespace(model_name_or_path=str(checkpoint)),
        data=data,
    )
    flags = [("strategy", "dynabert"), ("width_mult_list", "2/3")]
    describe_trained(target, None, run, checkpoint, None, [], print, compression=flags)
    card = page(target)
    assert read_json(target / "export.json")[COMPRESSION_KEY] == [list(flag) for flag in flags] and "2/3" in card
    pipeline.refresh_card(None, run, target, None, [])
    assert page(target) == card
