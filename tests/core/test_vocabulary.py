"""core/vocabulary.py: [UNK] by script, the characters behind it, and who says so."""

import pytest

import train
from core import vocabulary
from core.encoders import make_encoder
from core.loading import load_config_and_tokenizer
from core.predictor import Predictor
from core.vocabulary import UnknownTokens, UnknownWatch, main_script
from tests.helpers import train_flags

CHINESE, RUSSIAN = "头疼应该挂什么科", "голова болит"


@pytest.fixture(scope="module")
def unknown(tiny_model):
    """A function that counts texts with the tokenizer of the tiny model, which has Chinese characters only."""
    _, tokenizer = load_config_and_tokenizer(str(tiny_model))
    encode = make_encoder(tokenizer, 128, token_types=False)

    def count(texts):
        found = UnknownTokens(tokenizer.unk_token_id, encode)
        found.add(texts, encode(texts))
        return found

    return count


@pytest.mark.parametrize(
    "text, script",
    [
        (CHINESE, "Chinese"), ("CEA 7.4偏高吗父亲", "Chinese"), (RUSSIAN, "Cyrillic"), ("머리가 아픈데", "Korean"),
        ("頭が痛いのですが", "Japanese"), ("أين المستشفى", "Arabic"), ("ปวดหัว", "Thai"), ("सिर दर्द", "Devanagari"),
        ("headache", "Latin"), ("12, 3。", "symbols"), ("", "symbols"),
    ],
)  # fmt: skip
def test_scripts(text, script):
    assert main_script(text) == script


def test_shares_by_script_and_characters(unknown):
    found = unknown([CHINESE] * 8 + [RUSSIAN] * 2)
    summary = found.summary()
    assert summary["share"] == round(4 / (8 * 8 + 4), 4) and summary["by_script"] == {"Cyrillic": 1.0}
    assert set(summary["characters"]) == set(RUSSIAN) - {" "} and summary["unreadable_texts"] == 2
    message = found.warning("train.txt", "some model")
    assert "train.txt: 5.9% of the tokens are [UNK]" in message and "(Cyrillic 100%)" in message
    assert "2 of 10 texts are half unknown" in message and "ernie-m-base" in message
    assert "python data/build_encoder.py --texts FILE" in message


def test_nothing_to_say(unknown):
    assert unknown([CHINESE] * 100).warning("x", "y") is None
    assert unknown([]).warning("x", "y") is None and unknown([]).share == 0


def test_one_in_a_hundred_is_no_warning(unknown):
    assert unknown([CHINESE] * 25 + ["头疼应该挂什么ж"]).warning("x", "y") is None  # 1 of 208
    assert unknown([CHINESE] * 10 + ["头疼应该挂什么ж"]).warning("x", "y")  # 1 of 88


def test_training_warns_at_the_start(data_dir, tiny_model, tmp_path, log):
    lines = [f"{RUSSIAN} {number}\t就医建议\n" for number in range(8)]
    with (data_dir / "train.txt").open("a", encoding="utf-8") as file:
        file.writelines(lines)
    train.main(train_flags(data_dir, tiny_model, tmp_path / "out", "--max_steps", 1))
    [line] = [line for line in log if "[UNK]" in line]
    assert line.startswith(f"{data_dir / 'train.txt'}: ") and "Cyrillic" in line and str(tiny_model) in line


def test_prediction_warns_once(trained_once, log):
    predictor = Predictor(trained_once[1] / "export")
    predictor.classify([CHINESE])
    assert not [line for line in log if "[UNK]" in line]
    for _ in range(3):
        predictor.classify([RUSSIAN])
    assert len([line for line in log if "[UNK]" in line]) == 1


def test_a_watch_speaks_once(tiny_model):
    _, tokenizer = load_config_and_tokenizer(str(tiny_model))
    encode, said = make_encoder(tokenizer, 128, token_types=False), []
    watch = UnknownWatch(tokenizer, encode, "some model", said.append)
    watch.look("a.txt", [CHINESE])
    watch.look("b.txt", iter([RUSSIAN]))
    watch.look("c.txt", [RUSSIAN], encode([RUSSIAN]))
    watch.say("d.txt")
    assert len(said) == 1 and said[0].startswith("b.txt: 100.0% of the tokens are [UNK]") and watch.warned
    # What it would say is still known, for those who keep it.
    assert watch.message("c.txt", [RUSSIAN]).startswith("c.txt: ") and watch.message("a.txt", [CHINESE]) is None


def test_models_without_an_unknown_token():
    found = vocabulary.UnknownTokens(None, lambda texts: [])
    assert found.add(["a"], [{"input_ids": [1, 2, 3]}]) == [0.0] and found.warning("x", "y") is None
