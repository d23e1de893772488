"""Several seeds distilled into one: the loss and the mean by hand, and a training of two teachers."""

import json
import shutil

import numpy as np
import pytest
from scipy.special import softmax

import train
from core import teachers
from core.sub_runs import answers
from tests.helpers import train_flags, write_data
from tests.test_train import refusal, results, same_weights


def test_the_loss():
    import paddle

    random = np.random.default_rng(0)
    student, teacher = random.normal(size=(2, 5, 3))
    for temperature in (1.0, 2.5):
        p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
        expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
        targets = paddle.to_tensor(p, "float32")
        loss = teachers.distillation_loss(paddle.to_tensor(student, "float32"), targets, temperature)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        same = teachers.distillation_loss(paddle.to_tensor(teacher, "float32"), targets, temperature)
        assert abs(float(same)) < 1e-6


def test_the_mean():
    one, two = np.array([[1.0, 2, 3]]), np.array([[3.0, 0, 3]])
    np.testing.assert_array_equal(teachers.mean_logits([one, two]), [[2, 1, 3]])
    product = np.sqrt(softmax(one, axis=1) * softmax(two, axis=1))
    mean = softmax(teachers.mean_logits([one, two]), axis=1)
    np.testing.assert_allclose(mean, product / product.sum(), rtol=1e-12)


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_lines):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, sample_lines["train"][:48], sample_lines["dev"][:21])
    texts = [line.split("\t")[0] for line in sample_lines["train"][48:96]]
    (folder / "data.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())
    return folder


def flags_of(data, model, out, *more):
    own = "--num_teachers 2 --seed 5 --num_train_epochs 2 --label_smoothing 0.1 --ema_decay 0.5"
    return train_flags(data, model, out, *own.split(), *more)


@pytest.fixture(scope="module")
def made(data, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    train.main(flags_of(data, tiny_model, out, "--do_eval", "--do_export", "--keep_optimizer", "True"))
    return out


def test_the_table(made, data):
    rows = json.loads((made / "teachers.json").read_text())["dev"]
    names = ["seed 5", "seed 6", "the 2 as an ensemble", "distilled into one"]
    assert [row["model"] for row in rows] == names
    logits, plain = [], ["--do_eval", "--debug", "True", "--device", "cpu", "--data_dir", str(data)]
    for seed in (5, 6):
        folder = made / "teachers" / f"seed-{seed}"
        train.main([*plain, "--bad_case_path", str(made / "bad.txt"), "--model_name_or_path", str(folder)])
        with np.load(made / "teachers" / f"seed-{seed}" / "answers.npz") as stored:
            logits.append(stored["dev"])
        own = json.loads((made / "teachers" / f"seed-{seed}" / "test_results.json").read_text())
        row = rows[names.index(f"seed {seed}")]
        assert own["test_accuracy"] == row["accuracy"] and own["test_macro_f1"] == pytest.approx(row["macro_f1"])
    labels = (data / "label.txt").read_text(encoding="utf-8").split()
    lines = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    truth = np.array([labels.index(line.split("\t")[1]) for line in lines])
    product = softmax(logits[0], axis=1) * softmax(logits[1], axis=1)
    assert rows[2]["accuracy"] == pytest.approx((product.argmax(axis=1) == truth).mean())
    assert rows[3]["accuracy"] == pytest.approx(results(made)["eval_accuracy"])
    assert (made / "export" / "model.pdmodel").is_file()


def test_a_teacher_is_a_plain_training(made, data, tiny_model, tmp_path):
    train.main(flags_of(data, tiny_model, tmp_path / "out", "--num_teachers", "0", "--seed", "6"))
    assert same_weights(tmp_path / "out", made / "teachers" / "seed-6")
    one, other = (
        json.loads((folder / "run.json").read_text()) for folder in (tmp_path / "out", made / "teachers/seed-6")
    )
    assert one == other


def test_a_rerun_continues_bit_for_bit(made, data, tiny_model, tmp_path, monkeypatch, log):
    """As after a kill between the student's first checkpoint and its second."""
    out = tmp_path / "out"
    shutil.copytree(made, out)
    first, *later = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert later
    for path in out.iterdir():
        if path not in (first, out / "teachers"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.main(flags_of(data, tiny_model, out))
    assert same_weights(out, made) and same_weights(out / later[-1].name, made / later[-1].name)
    assert sum("already holds the result" in line for line in log) == 2
    assert "num_teachers (2, now 3)" in refusal(*flags_of(data, tiny_model, out, "--num_teachers", "3"))
    shutil.rmtree(out)
    shutil.copytree(made / "teachers", out / "teachers")
    text = refusal(*flags_of(data, tiny_model, out, "--learning_rate", "1e-3"))
    assert "seed-5: holds the model of a finished training with another learning_rate" in text
    assert "--overwrite_output_dir" in text


def test_the_student_learns_the_mean(data, tiny_model, tmp_path):
    """Teachers with smoothed labels: the student's answers are nearer to their mean than to the labels."""
    out = tmp_path / "out"
    more = "--num_train_epochs 8 --distill_temperature 2 --ema_decay 0 --label_smoothing 0.4"
    flags = flags_of(data, tiny_model, out, *more.split(), "--load_best_model_at_end", "False")
    train.main(flags)
    given = []
    for seed in (5, 6):
        with np.load(out / "teachers" / f"seed-{seed}" / "answers.npz") as stored:
            given.append(stored["texts"])
    mean = softmax(np.mean(given, axis=0), axis=1)
    texts = [line.split("\t")[0] for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()]
    texts += (data / "data.txt").read_text(encoding="utf-8").splitlines()
    found = softmax(answers(train.parse_all(flags), texts)["texts"], axis=1)
    assert len(found) == len(mean) == 96
    assert np.abs(found - mean).mean() < 0.5 * np.abs(np.eye(3)[mean.argmax(axis=1)] - mean).mean()
