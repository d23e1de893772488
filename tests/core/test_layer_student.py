"""layer_student.py on the tiny ERNIE: which layers stay, what is learnt, that it resumes, who reads the folder."""

import shutil

import numpy as np
import paddle
import pytest

import train
from core import layer_student
from core.layer_student import chosen_layers, shortened_copy
from core.loading import load_config_and_tokenizer, load_model
from core.predictor import Predictor
from tests.helpers import LABELS, distill_flags
from utils import UsageError, read_examples, read_json


def test_every_kth_layer():
    assert chosen_layers(12, 4) == [2, 5, 8, 11] and chosen_layers(12, 6) == [1, 3, 5, 7, 9, 11]
    assert chosen_layers(12, 5)[-1] == 11 and len(set(chosen_layers(12, 5))) == 5
    assert chosen_layers(2, 1) == [1]
    with pytest.raises(UsageError, match="layers:4: the model has 4 layers; use at most 3"):
        chosen_layers(4, 4)
    with pytest.raises(UsageError, match="1 layer; it cannot be made smaller"):
        chosen_layers(1, 1)


@pytest.fixture(scope="module")
def teacher(calibrated):
    config, _ = load_config_and_tokenizer(str(calibrated[1]))
    model = load_model(str(calibrated[1]), config, LABELS)
    model.eval()
    return model


def test_a_copy_begins_as_the_model_without_the_others(teacher):
    student = shortened_copy(teacher, [1])
    assert student.config.num_hidden_layers == 1 and teacher.config.num_hidden_layers == 2
    kept, whole = dict(student.named_parameters()), dict(teacher.named_parameters())
    for name, value in kept.items():
        source = name.replace("layers.0.", "layers.1.")
        assert (value.numpy() == whole[source].numpy()).all() and value is not whole[source]
    assert len(kept) < len(whole) and not any("layers.1." in name for name in kept)


def layer_flags(data, checkpoint, *more):
    own = "--student layers:1 --num_train_epochs 4 --per_device_train_batch_size 8 --per_device_eval_batch_size 32"
    own += (
        " --learning_rate 3e-3 --evaluation_strategy epoch --save_strategy epoch --logging_steps 20 --cascade_loss 20"
    )
    return distill_flags(data, checkpoint, *own.split(), "--export_type", "onnx", *more)


@pytest.fixture(scope="module")
def small(distilled, tmp_path_factory):
    """(data, checkpoint, folder, steps) of a student of one layer, whose training was broken off after the first
    epoch, with the steps that each of the two commands took."""
    data, trained = distilled
    checkpoint = tmp_path_factory.mktemp("layers") / "checkpoint"
    shutil.copytree(trained, checkpoint)
    steps, step = [0, 0], layer_student.LayerTrainer.training_step

    def count_step(self, *args, **kwargs):
        steps[-1] += 1
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_student.LayerTrainer, "training_step", count_step)
        save = layer_student.LayerTrainer._save_checkpoint

        def save_and_break(self, *args, **kwargs):
            save(self, *args, **kwargs)
            raise RuntimeError("broken off")

        patch.setattr(layer_student.LayerTrainer, "_save_checkpoint", save_and_break)
        with pytest.raises(RuntimeError, match="broken off"):
            train.main(layer_flags(data, checkpoint))
        patch.setattr(layer_student.LayerTrainer, "_save_checkpoint", save)
        steps.append(0)
        train.main(layer_flags(data, checkpoint))
    return data, checkpoint, checkpoint / "distill_layers_1", steps[1:]


def test_it_went_on_where_it_was(small):
    before, after = small[3]
    assert before > 0 and after == 3 * before
    state = read_json(small[2] / "trainer_state.json")
    assert state["global_step"] == 4 * before and len(list(small[2].glob("checkpoint-*"))) == 4


def test_the_folder(small, taskflow):
    data, checkpoint, folder, _ = small
    content = read_json(folder / "export.json")
    assert content["kind"] == "layers" and content["layers"] == [2]
    assert content["weights"] == read_json(checkpoint / "export" / "export.json")["weights"]
    assert read_json(folder / "config.json")["num_hidden_layers"] == 1
    texts, truth = read_examples(data / "dev.txt", LABELS)
    rows = Predictor(folder, "onnx").probabilities(texts)
    assert (rows.argmax(axis=1) == truth).mean() > 0.6
    for answer, (label, score) in zip(
        taskflow(folder, is_static_model=True)(texts[:5]), Predictor(folder).classify(texts[:5])
    ):
        assert answer["predictions"][0]["label"] == label
        assert answer["predictions"][0]["score"] == pytest.approx(score, abs=1e-5)
    config, _ = load_config_and_tokenizer(str(folder))
    assert len(load_model(str(folder), config, LABELS).base_model.encoder.layers) == 1


def test_its_card(small):
    """Of the student in float32, with the teacher's scores beside, and what its own training and dev had a part in."""
    data, checkpoint, folder, _ = small
    texts, truth = read_examples(data / "dev.txt", LABELS)
    rows = {place: Predictor(place, "paddle").probabilities(texts) for place in (folder, checkpoint / "export")}
    right = [f"{(found.argmax(axis=1) == truth).mean():.2%}" for found in rows.values()]
    card = (folder / "README_en.md").read_text(encoding="utf-8")
    line = next(line for line in card.splitlines() if line.startswith("| accuracy |"))
    assert [line.split(" | ")[1], line.split(" | ")[3]] == right
    assert "the teacher's layers 2 and its classifier" in card and "Taskflow, Triton" in card
    assert f"- Teacher: `{checkpoint.name}`" in card and "`--student layers:1`" in card and "`--texts" not in card
    assert "What dev had a part in" in card and "made from both" not in card
    assert (checkpoint / "export" / "student" / "README_en.md").read_text(encoding="utf-8") == card


def test_it_imitates_the_model_s_states(small, teacher):
    """After its training the student's hidden states are nearer to the model's than those it began with."""
    texts = read_examples(small[0] / "train.txt", LABELS)[0][:32]
    config, _ = load_config_and_tokenizer(str(small[2]))
    student, begun = load_model(str(small[2]), config, LABELS), shortened_copy(teacher, [1])
    student.eval(), begun.eval()
    predictor, distances = Predictor(small[2]), []
    batch = {name: paddle.to_tensor(value) for name, value in predictor._collate(predictor.encode(texts)).items()}
    with paddle.no_grad():
        states = layer_student.DynaBERTTrainer.forward_with_states
        target = states(teacher, batch)[1][1].numpy()
        distances = [float(((states(model, batch)[1][0].numpy() - target) ** 2).mean()) for model in (begun, student)]
    assert distances[1] < 0.7 * distances[0]


def test_it_is_a_cascade_s_student_too(small):
    """Its own features are the model's, so that it reads the same tokens."""
    _, checkpoint, folder, _ = small
    stages = read_json(checkpoint / "export" / "student" / "stages.json")["formats"]["onnx"]
    assert stages["cascade"]["student_format"] == "onnx"
    assert not (checkpoint / "export" / "student" / "model_state.pdparams").exists()
    cascade = Predictor(checkpoint / "export", "cascade:onnx")
    texts, _ = read_examples(small[0] / "dev.txt", LABELS)
    student, model = Predictor(folder, "onnx").probabilities(texts), Predictor(checkpoint / "export", "onnx")
    is_first = np.rint(student.max(axis=1) * 1e6) >= stages["cascade"]["threshold"] * 1e6 - 1e-3
    expected = np.where(is_first[:, None], student, model.probabilities(texts))
    assert np.abs(cascade.probabilities(texts) - expected).max() < 1e-5


def test_a_finished_one_is_not_trained_again(small, monkeypatch, log):
    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(layer_student, "learn", refuse)
    train.main(layer_flags(small[0], small[1]))
    assert any("already holds the result of this training" in line for line in log)
    with pytest.raises(UsageError, match="another"):
        train.main([*layer_flags(small[0], small[1]), "--learning_rate", "2e-3"])
