"""data/encoder_card.py: README.md of an encoder, which nobody's own is replaced by."""

import pytest

from core.model_card import stated_licence
from data.encoder_card import copy_readme, write_readme


@pytest.mark.parametrize("own", [False, True])
def test_it_states_the_licence_and_is_replaced(tmp_path, own):
    assert write_readme(tmp_path, tmp_path, 6, 23_659, own) and stated_licence(tmp_path) == ("mit", "README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "6 layers, 23,659 vocabulary entries" in text and ("--texts" in text) is own
    assert max(map(len, text.splitlines())) <= 120
    assert write_readme(tmp_path, tmp_path, 12, 23_659, own)
    assert "12 layers" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_somebody_s_own_is_kept_and_not_handed_on(tmp_path):
    encoder, stage, target = (tmp_path / name for name in ("encoder", "stage", "target"))
    for folder in (encoder, stage, target):
        folder.mkdir()
    (encoder / "README.md").write_text("mine", encoding="utf-8")
    assert not write_readme(stage, encoder, 6, 9, False)
    copy_readme(encoder, stage, target)
    assert not (stage / "README.md").exists()
    (encoder / "README.md").unlink()
    copy_readme(encoder, stage, target)
    assert not (stage / "README.md").exists() and write_readme(encoder, encoder, 6, 9, False)
    copy_readme(encoder, stage, target)
    assert stated_licence(stage) == ("mit", "README.md")
    (stage / "README.md").unlink()
    with (encoder / "README.md").open("a", encoding="utf-8") as file:
        file.write("- 我们的用途：问诊\n")
    assert not write_readme(stage, encoder, 6, 9, False)
    copy_readme(encoder, stage, target)
    assert not (stage / "README.md").exists()
    assert write_readme(encoder, stage, 6, 9, False)
    (target / "README.md").write_bytes(b"\xff")
    copy_readme(encoder, stage, target)
    assert not (stage / "README.md").exists()
