"""The dual encoder: its loss against the formula, a training with all that follows it, resuming, two processes."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tests.helpers import LABEL_WORDS, LABELS, ROOT, write_data

from utils import UsageError, load_module, read_json

FOLDER = ROOT / "retrieval_based"
train = load_module("retrieval_train", FOLDER / "train.py")
recall = load_module("retrieval_recall", FOLDER / "recall.py")
evaluate = load_module("retrieval_evaluate", FOLDER / "evaluate.py")
predict = load_module("retrieval_predict", FOLDER / "predict.py")
export_model = load_module("retrieval_export_model", FOLDER / "export_model.py")
extract = load_module("retrieval_feature_extract", FOLDER / "utils" / "feature_extract.py")
deployed = load_module("retrieval_deploy_predict", FOLDER / "deploy" / "python" / "predict.py")
insert = load_module("retrieval_vector_insert", FOLDER / "utils" / "vector_insert.py")
run_system = load_module("retrieval_run_system", FOLDER / "run_system.py")


@pytest.fixture(scope="module")
def losses():
    return load_module("retrieval_model", FOLDER / "model.py")


@pytest.fixture(scope="module")
def base():
    return load_module("retrieval_base_model", FOLDER / "base_model.py")


@pytest.fixture(scope="module")
def texts(tmp_path_factory, sample_lines):
    """train.txt, dev.txt and label.txt of three labels, with words."""
    folder = tmp_path_factory.mktemp("texts")
    words = [f"{label}=={word}" for label, word in LABEL_WORDS.items()]
    write_data(folder, sample_lines["train"][:60], sample_lines["dev"][:25], words)
    return folder


def train_flags(texts, model, output, *more):
    flags = ["--train_set_file", texts / "train.txt", "--corpus_file", texts / "label.txt",
             "--similar_text_pair_file", texts / "dev.txt", "--model_name_or_path", model, "--save_dir", output,
             "--recall_result_dir", output / "recall", "--output_emb_size", "16", "--max_seq_length", "32",
             "--batch_size", "16", "--learning_rate", "3e-3", "--epochs", "3", "--log_steps", "2", "--device", "cpu",
             *more]  # fmt: skip
    return list(map(str, flags))


@pytest.fixture(scope="module")
def once(tmp_path_factory, texts, tiny_model):
    """The folder of one training, made once: three epochs of four steps."""
    output = tmp_path_factory.mktemp("dual")
    train.main(train_flags(texts, tiny_model, output))
    return output


@pytest.fixture(scope="module")
def exported(tmp_path_factory, once):
    """Its export folders, with ONNX and without."""
    folder = tmp_path_factory.mktemp("exported")
    for name, types in (("onnx", ["paddle", "onnx"]), ("paddle", ["paddle"])):
        export_model.main(["--params_path", str(once / "model_best"), "--output_path", str(folder / name),
                           "--export_type", *types])  # fmt: skip
    return folder


def weights(folder):
    import paddle

    encoder = paddle.load(str(folder / "model_state.pdparams"))
    return {**encoder, **paddle.load(str(folder / "projection.pdparams"))}


def is_same(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all((one[name].numpy() == other[name].numpy()).all() for name in one)


# --------------------------------------------------------------------------------------------------------- the loss


def unit(rng, *shape):
    vectors = rng.randn(*shape).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def formula(queries, labels, texts, names, margin, scale):
    """The loss written out: for each query and positive, over it and all candidates of other labels."""
    total = []
    for row, label in enumerate(labels):
        own = [side[row] for side in (texts, names) if side is not None]
        negatives = []
        if texts is not None:
            negatives += [texts[other] for other in range(len(labels)) if labels[other] != label]
        if names is not None:
            others = sorted(set(labels) - {label})
            negatives += [names[list(labels).index(other)] for other in others]
        for positive in own:
            right = np.exp(scale * (queries[row] @ positive - margin))
            wrong = sum(np.exp(scale * (queries[row] @ negative)) for negative in negatives)
            total.append(-np.log(right / (right + wrong)))
    return np.mean(total)


@pytest.mark.parametrize("positives", ["text", "label", "both"])
def test_the_loss_is_its_formula(losses, positives):
    """Texts of a query's label, its name among them, are no negatives, and a name counts once."""
    import paddle

    rng = np.random.RandomState(0)
    labels = np.array([0, 1, 0, 2, 2, 0, 3])
    queries, texts, names = unit(rng, 7, 5), unit(rng, 7, 5), unit(rng, 4, 5)[labels]
    texts = None if positives == "label" else texts
    names = None if positives == "text" else names
    tensors = [None if side is None else paddle.to_tensor(side) for side in (texts, names)]
    loss = losses.batch_loss(paddle.to_tensor(queries), *tensors, labels, 0.2, 10.0)
    assert float(loss) == pytest.approx(formula(queries, labels, texts, names, 0.2, 10.0), rel=1e-5)
    alone = losses.batch_loss(paddle.to_tensor(queries), *tensors, np.zeros(7, int), 0.2, 10.0)
    assert float(alone) == pytest.approx(0, abs=1e-6)  # all of one label: there is no negative


TWO = """
import sys, numpy as np, paddle
sys.path.insert(0, {root!r})
from utils import load_module
paddle.set_device("cpu")
if paddle.distributed.get_world_size() > 1:
    paddle.distributed.init_parallel_env()
losses = load_module("retrieval_model", {path!r})
content = np.load({data!r})
rank, count = (paddle.distributed.get_rank(), 2) if paddle.distributed.get_world_size() > 1 else (0, 1)
part = slice(rank * 8 // count, (rank + 1) * 8 // count)
layer = paddle.nn.Linear(5, 4)
layer.weight.set_value(content["weight"])
embed = lambda rows: paddle.nn.functional.normalize(layer(paddle.to_tensor(rows)), axis=-1)
labels = content["labels"][part]
sides = [embed(content[name][part]) for name in ("queries", "texts")]
loss = losses.batch_loss(*sides, embed(content["names"][labels]), labels, 0.2, 10.0)
loss.backward()
losses.average_gradients(layer.parameters())
np.savez({data!r} + f".{{count}}.{{rank}}.npz", loss=float(loss), grad=layer.weight.grad.numpy())
"""


def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path):
    """Of the joined batch: the mean of both losses, and on both the whole gradient."""
    rng = np.random.RandomState(0)
    path = tmp_path / "data.npz"
    np.savez(path, weight=rng.randn(5, 4).astype("float32"), labels=np.array([0, 1, 0, 2, 1, 1, 3, 0]),
             **{name: rng.randn(8, 5).astype("float32") for name in ("queries", "texts", "names")})  # fmt: skip
    script = tmp_path / "two.py"
    script.write_text(TWO.format(root=str(ROOT), path=str(FOLDER / "model.py"), data=str(path)), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    for flags in ([], launch):
        run = subprocess.run([sys.executable, *flags, str(script)], cwd=tmp_path, capture_output=True, text=True,
                             env={**environment, "OMP_NUM_THREADS": "1"}, timeout=200)  # fmt: skip
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    one, *two = (np.load(f"{path}.{name}.npz") for name in ("1.0", "2.0", "2.1"))
    assert float(one["loss"]) == pytest.approx(np.mean([part["loss"] for part in two]), rel=1e-5)
    for part in two:
        np.testing.assert_allclose(part["grad"], one["grad"], rtol=1e-4, atol=1e-6)
        assert abs(float(part["loss"]) - float(one["loss"])) > 1e-3


def test_two_processes_train_like_one(texts, tiny_model, tmp_path, base):
    """With half the batch each and no dropout: the same batches, so the same model but for rounding."""
    still = tmp_path / "still"
    shutil.copytree(tiny_model, still)
    config = json.loads((still / "config.json").read_text("utf-8"))
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (still / "config.json").write_text(json.dumps(config), encoding="utf-8")
    more = ["--epochs", "1", "--learning_rate", "1e-3"]
    train.main(train_flags(texts, still, tmp_path / "one", *more))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    command = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir",
               tmp_path / "log", FOLDER / "train.py"]  # fmt: skip
    command += train_flags(texts, still, tmp_path / "two", *more, "--batch_size", "8")
    run = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=280,
                         env={**environment, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    logs = [(tmp_path / "log" / f"workerlog.{rank}").read_text(errors="replace") for rank in (0, 1)]
    assert "best accuracy on" in logs[0] and "global step" in logs[0] and "global step" not in logs[1]
    queries = [line.split("\t")[0] for line in (texts / "dev.txt").read_text("utf-8").splitlines()]
    base.lib.set_seed(42)  # the projection that the trainings start from
    before, one, two = (base.Embedder(str(path), output_emb_size=16, max_seq_length=32).vectors(queries)
                        for path in (still, tmp_path / "one" / "model_4", tmp_path / "two" / "model_4"))  # fmt: skip
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert np.abs(one - before).max() > 0.02


# ------------------------------------------------------------------------------------------------------ the training


def test_training_writes_checkpoints_and_the_best(once, texts):
    assert sorted(path.name for path in once.glob("model_*")) == ["model_12", "model_4", "model_8", "model_best"]
    settings = read_json(once / "model_best" / "dual_encoder.json")
    expected = {"pooling": "mean", "output_emb_size": 16, "max_seq_length": 32, "dim": 16, "margin": 0.2, "scale": 30}
    assert expected.items() <= settings.items()
    states = [read_json(once / f"model_{step}" / "train_state.json") for step in (4, 8, 12)]
    assert [state["step"] for state in states] == [4, 8, 12]
    assert max(state["best"] for state in states) > 0.5  # chance is 0.33
    assert is_same(once / "model_best", once / f"model_{settings['step']}")
    assert not list(once.glob(".writing*"))
    # What the best model found on dev, in the format of evaluate.py.
    evaluate.main(["--recall_result_file", str(once / "recall" / "recall_result.txt")])
    rows = dict(line.split("\t") for line in (once / "recall" / "result.tsv").read_text("utf-8").splitlines())
    assert rows["accuracy"] == f"{states[-1]['best']:.2%}" and rows["queries"] == "25"
    assert rows["recall@5"] == "100.00%"  # there are three label names


def test_log_lines(texts, tiny_model, tmp_path, capsys):
    train.main(train_flags(texts, tiny_model, tmp_path, "--epochs", "1", "--evaluate", "False", "--save_steps", "3",
                           "--save_total_limit", "1"))  # fmt: skip
    out = capsys.readouterr().out
    lines = re.findall(r"^global step (\d+), epoch: 1, loss: \d+\.\d{5}, speed: \d+\.\d\d step/s$", out, re.MULTILINE)
    assert lines == ["2", "4"]
    assert [path.name for path in tmp_path.glob("model_*")] == ["model_4"]


def test_a_resumed_training_ends_with_the_same_bits(once, texts, tiny_model, tmp_path):
    train.main(train_flags(texts, tiny_model, tmp_path, "--resume_from_checkpoint", once / "model_8"))
    assert is_same(tmp_path / "model_12", once / "model_12") and not is_same(once / "model_8", once / "model_12")
    assert is_same(tmp_path / "model_best", tmp_path / "model_12")
    with pytest.raises(UsageError, match="model_8: of a training with another margin, seed"):
        train.main(train_flags(texts, tiny_model, tmp_path, "--resume_from_checkpoint", once / "model_8", "--seed",
                               "1", "--margin", "0.1"))  # fmt: skip
    with pytest.raises(UsageError, match="model_best: not a model_<step> folder"):
        train.main(train_flags(texts, tiny_model, tmp_path, "--resume_from_checkpoint", once / "model_best"))


def test_checkpoints_load_with_another_projection(base, once, log):
    """Without the flag the stored one; another size is drawn anew, 0 leaves it out."""
    texts = ["头疼", "多少钱"]
    stored = base.Embedder(str(once / "model_best"))
    assert stored.vectors(texts).shape == (2, 16) and stored.settings["max_seq_length"] == 32
    assert base.Embedder(str(once / "model_best"), output_emb_size=8).vectors(texts).shape == (2, 8)
    assert "its 16 units are left aside for --output_emb_size 8; the new projection is untrained" in log[-1]
    plain = base.Embedder(str(once / "model_best"), output_emb_size=0)
    assert plain.vectors(texts).shape == (2, 48) and plain.model.projection is None
    np.testing.assert_allclose(np.linalg.norm(plain.vectors(texts), axis=1), 1, rtol=1e-5)


def test_pooling(base, tiny_model):
    """The mean of the real tokens' states, or the first one's, whatever stands beside it in the batch."""
    import paddle

    texts = ["头疼怎么办", "钱"]
    for pooling in ("mean", "cls"):
        embedder = base.Embedder(str(tiny_model), pooling=pooling, output_emb_size=0)
        vectors = embedder.vectors(texts)
        for text, vector in zip(texts, vectors):
            states = embedder.model.encoder(**embedder.batch(embedder.encode([text])))[0][0].numpy()
            expected = states[0] if pooling == "cls" else states.mean(axis=0)
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    assert paddle.is_tensor(embedder.model(**embedder.batch(embedder.encode(texts))))


def test_an_encoder_without_token_types(texts, tiny_ernie_m, tmp_path, base):
    train.main(train_flags(texts, tiny_ernie_m, tmp_path, "--epochs", "1", "--pooling", "cls"))
    folder = tmp_path / "export"
    export_model.main(["--params_path", str(tmp_path / "model_best"), "--output_path", str(folder)])
    found = extract.FeatureExtractor(folder).encode(["头疼", "多少钱"])
    np.testing.assert_allclose(
        found, base.Embedder(str(tmp_path / "model_best")).vectors(["头疼", "多少钱"]), atol=1e-5
    )


def test_refusals(texts, tiny_model, tmp_path, once):
    for flags in (["--margin", "1"], ["--scale", "0"], ["--batch_size", "1"], ["--evaluate", "perhaps"],
                  ["--recall_num", "0"], ["--recall_result_file", "a/b"]):  # fmt: skip
        with pytest.raises(SystemExit):
            train.main(train_flags(texts, tiny_model, tmp_path / "out", *flags))
    with pytest.raises(UsageError, match="has positions for 128; use at most that"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--max_seq_length", "200"))
    with pytest.raises(UsageError, match="no dual_encoder.json there"):
        recall.main(["--model_name_or_path", str(tiny_model), "--corpus_file", str(texts / "label.txt"),
                     "--similar_text_pair_file", str(texts / "dev.txt")])  # fmt: skip
    (tmp_path / "bad.txt").write_text("头疼\t病情诊断\n多少钱 医疗费用\n", encoding="utf-8")
    with pytest.raises(UsageError, match="bad.txt:2: no tab"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--train_set_file", tmp_path / "bad.txt"))
    (tmp_path / "out" / "model_4").mkdir(parents=True)
    with pytest.raises(UsageError, match="model_4: is there and is no checkpoint"):
        train.main(train_flags(texts, tiny_model, tmp_path / "out", "--evaluate", "False"))


# --------------------------------------------------------------------------------------------------- recall and pairs


def test_recall_on_training_texts_equals_a_comparison_of_all(once, texts, tmp_path, base):
    flags = ["--model_name_or_path", once / "model_best", "--corpus_file", texts / "train.txt", "--device", "cpu",
             "--similar_text_pair_file", texts / "dev.txt", "--recall_result_dir", tmp_path, "--recall_num", "7",
             "--recall_result_file", "found.txt"]  # fmt: skip
    recall.main(list(map(str, flags)))
    found = recall.data.read_recalled(tmp_path / "found.txt")
    embedder = base.Embedder(str(once / "model_best"))
    corpus, queries = ([line.split("\t") for line in (texts / f"{split}.txt").read_text("utf-8").splitlines()]
                       for split in ("train", "dev"))  # fmt: skip
    similar = embedder.vectors([text for text, _ in queries]) @ embedder.vectors([text for text, _ in corpus]).T
    assert found.queries == [text for text, _ in queries] and found.truth == [label for _, label in queries]
    for row, labels, scores in zip(similar, found.labels, found.scores):
        order = np.argsort(-row)[:7]
        np.testing.assert_allclose(scores, row[order], atol=1e-5)
        gaps = np.diff(-row[order]) > 1e-5
        if gaps.all():
            assert labels == [corpus[index][1] for index in order]
    metrics = evaluate.recall_at([LABELS.index(label) for _, label in queries],
                                 recall.data.hit_arrays(found.labels, found.scores, LABELS)[1])  # fmt: skip
    best = [corpus[index][1] for index in similar.argmax(axis=1)]
    assert metrics[1] == np.mean([one == other for one, (_, other) in zip(best, queries)])


def test_pairs_by_the_checkpoint_and_by_the_export(once, exported, tmp_path, base, capsys):
    pairs = [("头疼怎么办", "头疼挂什么科"), ("多少钱", "费用贵吗"), ("多少钱", "多少钱")]
    (tmp_path / "pairs.txt").write_text("".join(f"{one}\t{other}\n" for one, other in pairs), encoding="utf-8")
    flags = ["--text_pair_file", str(tmp_path / "pairs.txt")]
    predict.main([*flags, "--model_name_or_path", str(once / "model_best"), "--device", "cpu"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [tuple(row[:2]) for row in rows] == pairs and float(rows[2][2]) == pytest.approx(1, abs=1e-5)
    vectors = base.Embedder(str(once / "model_best")).vectors(sum(pairs, ()))
    expected = (vectors[::2] * vectors[1::2]).sum(axis=1)
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, atol=2e-6)
    deployed.main([*flags, "--model_dir", str(exported / "onnx"), "--output_file", str(tmp_path / "out.txt")])
    lines = (tmp_path / "out.txt").read_text("utf-8").splitlines()
    np.testing.assert_allclose([float(line.split("\t")[2]) for line in lines], expected, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- the export


def test_the_export_gives_the_model_s_vectors(once, exported, texts, base, tmp_path):
    """Both graphs, whatever the texts' length, and cut where training cut."""
    queries = [line.split("\t")[0] for line in (texts / "dev.txt").read_text("utf-8").splitlines()]
    queries += ["头疼" * 100, "头疼" * 100 + "多少钱", "龘", "a"]
    expected = base.Embedder(str(once / "model_best")).vectors(queries)
    assert np.abs(expected[-4] - expected[-3]).max() < 1e-6
    extractors = {name: extract.FeatureExtractor(exported / name, num_threads=1) for name in ("onnx", "paddle")}
    for name, extractor in extractors.items():
        assert extractor._predictor.format == name
        vectors = extractor.encode(queries, progress=True)
        assert vectors.dtype == np.float32 and (extractor.dim, extractor.max_seq_length) == (16, 32)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert extractor.encode([]).shape == (0, 16)
    # A caller that does not cut gets the same: the graph does.
    predictor = extractors["onnx"]._predictor
    long = base.lib.make_encoder(base.Embedder(str(once / "model_best")).tokenizer, 100, True)(queries[-4:-3])
    assert len(long[0]["input_ids"]) == 100
    np.testing.assert_allclose(predictor.logits(long)[0], expected[-4], atol=1e-5)
    deployed.main(["--model_dir", str(exported / "paddle"), "--text_file", str(texts / "dev.txt"), "--output_file",
                   str(tmp_path / "vectors.npy")])  # fmt: skip
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected[:-4], atol=1e-5)
    extract.main(["--model_dir", str(exported / "onnx"), "--corpus_file", str(texts / "dev.txt"), "--output_dir",
                  str(tmp_path / "features")])  # fmt: skip
    np.testing.assert_allclose(np.load(tmp_path / "features" / "vectors.npy"), expected[:-4], atol=1e-5)
    corpus = (tmp_path / "features" / "corpus.tsv").read_text("utf-8")
    assert corpus == (texts / "dev.txt").read_text("utf-8")


def test_the_hash_tells_models_apart(once, exported, tmp_path):
    """The same with and without ONNX; another for other weights; a changed file is refused."""
    hashes = {name: extract.FeatureExtractor(exported / name).model_hash for name in ("onnx", "paddle")}
    assert len(set(hashes.values())) == 1
    folder = tmp_path / "export"
    for step in (4, 8):
        export_model.main(["--params_path", str(once / f"model_{step}"), "--output_path", str(folder), "--export_type",
                           *(["paddle", "onnx"] if step == 4 else ["paddle"])])  # fmt: skip
        assert (folder / "model.onnx").is_file() == (step == 4)  # the other model's would be left
        hashes[step] = extract.FeatureExtractor(folder).model_hash
    assert len(set(hashes.values())) == 3
    changed = bytearray((folder / "model.pdiparams").read_bytes())
    changed[-1] ^= 1
    (folder / "model.pdiparams").write_bytes(changed)
    with pytest.raises(UsageError, match="the model is not the one of dual_encoder.json"):
        extract.FeatureExtractor(folder)
    (folder / "model.pdiparams").write_bytes(changed[:-1])
    with pytest.raises(UsageError, match="model.pdiparams: missing or cut short"):
        extract.FeatureExtractor(folder)
    settings = json.loads((folder / "dual_encoder.json").read_text("utf-8"))
    del settings["model_hash"]
    (folder / "dual_encoder.json").write_text(json.dumps(settings), encoding="utf-8")
    for path in (folder, tmp_path):
        with pytest.raises(UsageError, match="dual_encoder.json: missing, or without model_hash"):
            extract.FeatureExtractor(path)


# -------------------------------------------------------------------------------------------------------- the README


def readme_commands():
    """The argument lists behind python in retrieval_based/README.md, in order."""
    text = (FOLDER / "README.md").read_text("utf-8").replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for block in re.findall(r"```shell\n(.*?)```", text, re.DOTALL)
            for line in block.splitlines() if line.startswith("python ")]  # fmt: skip


def test_the_readme_s_commands_in_order(tiny_model, sample_lines, trained, tmp_path, monkeypatch, capsys):
    """All but those of another place: several cards, a server (tests of its own), benchmarks."""
    write_data(tmp_path / "data", sample_lines["train"][:40], sample_lines["dev"][:20])
    files = {"data/test.txt": sample_lines["dev"][20:40], "data/data.txt": ["头疼", "多少钱"],
             "pairs.txt": ["头疼\t头疼怎么办"], "new.txt": ["怎么挂号"], "other.txt": ["今天下雨"]}  # fmt: skip
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    scripts = {"train.py": train, "recall.py": recall, "evaluate.py": evaluate, "predict.py": predict,
               "export_model.py": export_model, "deploy/python/predict.py": deployed,
               "utils/feature_extract.py": extract, "utils/vector_insert.py": insert,
               "run_system.py": run_system}  # fmt: skip
    done = []
    for script, *flags in readme_commands():
        name = script.removeprefix("retrieval_based/")
        if name not in scripts or any(flag.startswith("http") for flag in flags):
            continue
        if "--device" in flags:
            flags[flags.index("--device") + 1] = "cpu"
        if name == "train.py":
            flags += ["--model_name_or_path", str(tiny_model), "--epochs", "1"]
        scripts[name].main(flags)
        done.append(name)
    assert done == ["train.py", "recall.py", "evaluate.py", "recall.py", "recall.py", "evaluate.py", "predict.py",
                    "export_model.py", *["deploy/python/predict.py"] * 2, "utils/feature_extract.py",
                    "utils/vector_insert.py", *["run_system.py"] * 9]  # fmt: skip
    for name in ("checkpoint/retrieval/model_best/dual_encoder.json", "checkpoint/retrieval/export/model.onnx",
                 "checkpoint/retrieval/export/system.json", "recall_result/result.tsv", "vectors.npy",
                 "features/vectors.npy", "milvus.db"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    out = capsys.readouterr().out
    for line in (
        "挂号: 1 texts added",
        "挂号: 2 texts added",
        "挂号: 3 texts are 就诊挂号 now",
        "就诊挂号: 3 texts removed",
    ):
        assert line in out
    text = (FOLDER / "README.md").read_text("utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FeatureExtractor" in block)
    monkeypatch.syspath_prepend(str(FOLDER / "utils"))
    namespace = {}
    exec(compile(code, "retrieval_based/README.md", "exec"), namespace)
    assert namespace["vectors"].shape == (2, 256)


def test_the_readme_has_every_flag_of_the_training():
    text = (FOLDER / "README.md").read_text("utf-8")
    for name in vars(train.parse_flags([])):
        assert f"`--{name}`" in text, name


def test_two_cards_use_flags_of_one():
    launched = next(line for line in readme_commands() if line[1] == "paddle.distributed.launch")
    assert launched[:5] == ["-m", "paddle.distributed.launch", "--gpus", "0,1", "retrieval_based/train.py"]
    assert vars(train.parse_flags(launched[5:])) == vars(train.parse_flags([]))
