"""core/safetensors_files.py: what is written here others read, and the other way; a damaged file is refused."""

import json
import shutil
import struct

import numpy as np
import paddle
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

import train
from core import checkpoints, loading
from core.predictor import Predictor
from core.safetensors_files import (
    SAFETENSORS_FILE,
    own_facts,
    read_header,
    read_safetensors,
    stored_digest,
    write_safetensors,
)
from tests.helpers import LABELS, train_flags
from utils import UsageError, read_examples, read_json

STATE = {
    "a.weight": np.arange(12, dtype="float32").reshape(3, 4),
    "keys": np.array([1, 2**40, 3]),
    "half": np.array([0.5, -1], dtype="float16"),
    "empty": np.zeros((0, 4), dtype="float32"),
    "字": np.float64(1.5).reshape(()),
    "transposed": np.arange(6, dtype="int32").reshape(2, 3).T,
}
FACTS = {"weights": "0" * 64}
SHORT = "--max_steps 2 --evaluation_strategy no --save_strategy no --load_best_model_at_end False".split()
# What a model is given away with.
GIVEN = {SAFETENSORS_FILE, "config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"}


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype and one[name].shape == other[name].shape, name
        assert one[name].tobytes() == other[name].tobytes(), name


# ------------------------------------------------------------------------------------------------------- the format


def test_the_format_s_authors_read_what_is_written_here(tmp_path):
    write_safetensors(tmp_path / "own", STATE, FACTS)
    same(load_file(tmp_path / "own"), STATE)
    with safe_open(tmp_path / "own", "np") as file:
        assert file.metadata()["format"] == "np" and file.metadata()["tensors"] == "6"
    same(read_safetensors(tmp_path / "own"), STATE)
    assert own_facts(tmp_path / "own")["weights"] == stored_digest(tmp_path / "own") == "0" * 64


def test_what_they_write_is_read_here(tmp_path):
    state = {name: np.array(value, order="C") for name, value in STATE.items()}
    save_file(state, tmp_path / "theirs", metadata={"format": "pt"})
    same(read_safetensors(tmp_path / "theirs"), STATE)
    save_file(
        {kind: np.array([1, 2], kind) for kind in ("int8", "uint8", "int16", "uint16", "bool")}, tmp_path / "more"
    )
    assert {kind: str(value.dtype) for kind, value in read_safetensors(tmp_path / "more").items()} == {
        kind: kind for kind in ("int8", "uint8", "int16", "uint16", "bool")
    }
    assert own_facts(tmp_path / "theirs") == own_facts(tmp_path / "nowhere") == {}


def test_bfloat16_is_told_from_integers(tmp_path):
    halves = np.array([0x3F80, 0xC000], dtype="uint16")  # 1.0 and -2.0
    write_safetensors(tmp_path / "own", {"w": halves}, FACTS)
    assert read_header(tmp_path / "own")[0]["w"]["dtype"] == "BF16"
    assert read_safetensors(tmp_path / "own")["w"].tolist() == [1.0, -2.0]


def rewritten(path, change):
    """The file with another header."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


DAMAGES = {
    "empty": (lambda path: path.write_bytes(b""), "cut short"),
    "a few bytes": (lambda path: path.write_bytes(path.read_bytes()[:5]), "cut short"),
    "in the header": (lambda path: path.write_bytes(path.read_bytes()[:60]), "cut short"),
    "in the numbers": (lambda path: path.write_bytes(path.read_bytes()[:-3]), "cut short: "),
    "more": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "1 bytes behind the last tensor"),
    "a pickle": (lambda path: paddle.save({"w": np.zeros(3)}, str(path)), "no .safetensors file"),
    "no JSON": (lambda path: path.write_bytes(b"\x05\0\0\0\0\0\0\0hello"), "header is damaged"),
    "not UTF-8": (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0\xff\xfe"), "header is damaged"),
    "a list": (lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0[]"), "header is damaged"),
    "no dtype": (lambda path: rewritten(path, lambda header: header["keys"].pop("dtype")), "header is damaged"),
    "a strange dtype": (
        lambda path: rewritten(path, lambda header: header["keys"].update(dtype="F8_E4M3")),
        "F8_E4M3",
    ),
    "another shape": (
        lambda path: rewritten(path, lambda header: header["keys"].update(shape=[4])),
        "keys has another",
    ),
    "a negative shape": (lambda path: rewritten(path, lambda header: header["keys"].update(shape=[-3])), "is damaged"),
    "one upon another": (
        lambda path: rewritten(path, lambda header: header["a.weight"].update(header["keys"])),
        "has another place",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, STATE, FACTS)
    DAMAGES[damage][0](path)
    with pytest.raises(ValueError, match=DAMAGES[damage][1]):
        read_safetensors(path)
    assert own_facts(path) == {} and stored_digest(path) is None
    if damage != "a strange dtype":
        with pytest.raises(SafetensorError):  # the format's authors refuse it too
            load_file(path)


def test_missing_tensors_and_other_numbers_are_seen(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, STATE, FACTS)
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not those that were written: it was damaged"):
        read_safetensors(path)
    assert stored_digest(path) is None and own_facts(path)
    facts = {**own_facts(path), "tensors": "9"}
    save_file({"a": np.zeros(3)}, path, metadata=facts)
    with pytest.raises(ValueError, match="it has 1 of the 9 tensors"):
        read_safetensors(path)


# ------------------------------------------------------------------------------------------------- train.py's models


def given_away(checkpoint, target):
    """A checkpoint's folder as others get it: no pickle, and nothing that says how it was trained."""
    target.mkdir()
    for name in GIVEN:
        shutil.copy(checkpoint / name, target)
    return target


def flags(data, model, *more):
    return f"--device cpu --data_dir {data} --model_name_or_path {model}".split() + [*map(str, more)]


@pytest.fixture(scope="module")
def safe(trained_once, tmp_path_factory):
    """(data, checkpoint with model.safetensors, folder without a pickle)."""
    data, trained = trained_once
    checkpoint = tmp_path_factory.mktemp("safe") / "checkpoint"
    shutil.copytree(trained, checkpoint, ignore=shutil.ignore_patterns("checkpoint-*"))
    train.main(flags(data, checkpoint, "--save_safetensors", "True"))
    return data, checkpoint, given_away(checkpoint, checkpoint.parent / "given")


def state_of(folder):
    config, _ = loading.load_config_and_tokenizer(str(folder))
    model = loading.load_model(str(folder), config, LABELS)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_the_weights_are_the_checkpoint_s_bit_for_bit(safe):
    _, checkpoint, given = safe
    stored = paddle.load(str(checkpoint / "model_state.pdparams"), return_numpy=True)
    same(load_file(checkpoint / SAFETENSORS_FILE), {name: np.asarray(value) for name, value in stored.items()})
    same(state_of(given), state_of(checkpoint))


def test_the_model_is_the_same_one_with_and_without_it(safe, trained_once):
    """Exports know their model by its weights' digest, and a training goes on where it was."""
    _, checkpoint, given = safe
    digest = checkpoints.weights_digest(trained_once[1])
    assert checkpoints.weights_digest(checkpoint) == checkpoints.weights_digest(given) == digest
    assert checkpoints.trained_max_length(given) == 32 and not (given / "run.json").exists()
    assert read_json(checkpoint / "export" / "export.json")["weights"] == digest


def test_every_step_works_with_it_alone(safe, tmp_path):
    """Evaluation, export and its comparison; fine-tuning on; the export of what was given away is the export."""
    data, checkpoint, given = safe
    folder = tmp_path / "given"
    shutil.copytree(given, folder)
    train.main(flags(data, folder, "--do_eval", "--do_export", "--do_parity", "--per_device_eval_batch_size", 8))
    found, expected = (read_json(path / "all_results.json")["eval_accuracy"] for path in (folder, checkpoint))
    assert found == expected
    texts = read_examples(data / "dev.txt", LABELS)[0]
    one, other = (Predictor(path / "export").probabilities(texts) for path in (folder, checkpoint))
    np.testing.assert_array_equal(one, other)
    train.main(train_flags(data, folder, tmp_path / "on", "--max_steps", "2", "--num_train_epochs", "1"))
    assert (tmp_path / "on" / "model_state.pdparams").is_file()
    assert {path.name for path in folder.iterdir()} >= GIVEN and not (folder / "model_state.pdparams").exists()


def test_paddlenlp_reads_it_too(safe):
    """A dynamic Taskflow takes model.safetensors before model_state.pdparams."""
    from paddlenlp.transformers import ErnieForSequenceClassification

    _, checkpoint, given = safe
    for folder in (checkpoint, given):
        model = ErnieForSequenceClassification.from_pretrained(str(folder))
        same({name: value.numpy() for name, value in model.state_dict().items()}, state_of(checkpoint))


def test_n_grams_and_mean_pooling_come_with_it(trained_ngrams, tmp_path):
    data, trained = trained_ngrams
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained, checkpoint, ignore=shutil.ignore_patterns("checkpoint-*", "export"))
    train.main(flags(data, checkpoint, "--save_safetensors", "True"))
    given = given_away(checkpoint, tmp_path / "given")
    state = state_of(given)
    assert {"ngrams.keys", "ngrams.table", "ngrams.bias"} <= state.keys() and state["ngrams.keys"].dtype == np.int64
    same(state, state_of(checkpoint))
    assert read_json(given / "config.json")["classifier_pooling"] == "mean"


@pytest.fixture(scope="module")
def trained_ngrams(trained_once, tiny_model, tmp_path_factory):
    data, _ = trained_once
    output = tmp_path_factory.mktemp("towers") / "checkpoint"
    more = "--ngram_features True --pooling mean"
    train.main(train_flags(data, tiny_model, output, *more.split(), *SHORT))
    return data, output


def test_a_damaged_one_is_one_clear_message(safe, tmp_path):
    data, _, given = safe
    for damage, why in {"in the numbers": "the file is cut short: ", "no JSON": "its header is damaged"}.items():
        folder = tmp_path / damage.replace(" ", "_")
        shutil.copytree(given, folder)
        DAMAGES[damage][0](folder / SAFETENSORS_FILE)
        with pytest.raises(
            UsageError, match=f"^{folder}: the weights cannot be loaded .{why}.*save or download it again$"
        ):
            train.main(flags(data, folder, "--do_eval"))


def test_a_head_that_is_missing_is_not_drawn_for_an_evaluation(safe, tmp_path):
    """Another's tool left it out, the header's facts too; a training draws a new one, as it always did."""
    data, _, given = safe
    folder = tmp_path / "given"
    shutil.copytree(given, folder)
    state = {name: value for name, value in load_file(folder / SAFETENSORS_FILE).items() if "classifier" not in name}
    save_file(state, folder / SAFETENSORS_FILE)
    with pytest.raises(UsageError, match="the weights lack classifier.bias, classifier.weight, which would be random"):
        train.main(flags(data, folder, "--do_eval"))


def test_it_is_written_at_the_end_of_a_training_and_removed_by_the_next(trained_once, tiny_model, tmp_path, log):
    data, _ = trained_once
    argv = train_flags(data, tiny_model, tmp_path / "out", *SHORT)
    train.main([*argv, "--save_safetensors", "True"])
    path = tmp_path / "out" / SAFETENSORS_FILE
    assert own_facts(path)["weights"] == checkpoints.weights_digest(tmp_path / "out")
    assert own_facts(path)["max_length"] == "32"
    train.main(argv)  # it is finished: nothing is trained again, and the file is its own
    assert path.is_file()
    train.main([*argv, "--seed", "7", "--overwrite_output_dir"])
    assert not path.exists() and any("was of the model before this one and is removed" in line for line in log)
    shutil.copy(tmp_path / "out" / "model_state.pdparams", path)  # nobody's that is known
    assert checkpoints.remove_old_safetensors(tmp_path / "out") is None and path.exists()


def test_what_it_cannot_be_written_of(safe):
    data, _, given = safe
    with pytest.raises(UsageError, match=f"--save_safetensors True: {given} has no model_state.pdparams, of which"):
        train.main(flags(data, given, "--save_safetensors", "True"))
