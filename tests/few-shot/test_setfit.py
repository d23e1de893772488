"""few-shot/setfit.py: loss and head against their formulas, and a training whose export answers like the model."""

import json

import numpy as np
import pytest
from tests.helpers import LABELS, load_script, write_data
from scipy.special import softmax

from predictor import Predictor
from utils import UsageError, read_lines

setfit = load_script("few-shot/setfit.py")


@pytest.fixture
def few(data_dir, sample_lines):
    """16 samples a label, words for labels, and a test file without labels."""
    lines = [[line for line in sample_lines["train"] if line.endswith(f"\t{label}")][:16] for label in LABELS]
    write_data(data_dir, sum(lines, []), sample_lines["dev"], [f"{label}=={label[:2]}" for label in LABELS])
    (data_dir / "test.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["dev"]), "utf-8")
    return data_dir


def run(data, model, output, *more):
    flags = ["--data_dir", data, "--model_name_or_path", model, "--output_dir", output, "--device", "cpu",
             "--max_seq_length", "32", "--max_steps", "6", "--learning_rate", "1e-3", *more]  # fmt: skip
    setfit.main(list(map(str, flags)))
    return output / "export"


def probabilities(folder, data, format="paddle"):
    return Predictor(folder, format).probabilities(read_lines(data / "test.txt"))


def test_contrastive_loss_is_its_formula():
    import paddle

    rng = np.random.RandomState(0)
    vectors, labels, temperature = rng.randn(7, 5).astype("float32"), np.array([0, 1, 0, 2, 1, 0, 3]), 0.2
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for i in range(7):
        positives = [p for p in range(7) if p != i and labels[p] == labels[i]]
        others = sum(np.exp(unit[i] @ unit[a] / temperature) for a in range(7) if a != i)
        if positives:
            logs = [np.log(np.exp(unit[i] @ unit[p] / temperature) / others) for p in positives]
            expected.append(-np.mean(logs))
    loss = setfit.contrastive_loss(paddle.to_tensor(vectors), paddle.to_tensor(labels), temperature)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(setfit.contrastive_loss(paddle.to_tensor(vectors[:2]), paddle.to_tensor([0, 1]), 0.2)) == 0


def test_a_batch_has_some_samples_of_some_labels():
    labels = np.array([0] * 10 + [1] * 2 + [2] * 10 + [3] * 10)
    rng = np.random.RandomState(0)
    for _ in range(20):
        rows = setfit.draw_batch(labels, 3, 4, rng)
        found, counts = np.unique(labels[rows], return_counts=True)
        assert len(found) == 3 and len(set(rows)) == len(rows)
        assert counts.tolist() == [2 if label == 1 else 4 for label in found]


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_head_gives_discriminant_analysis_probabilities(num_labels):
    """Against the formula: Gaussians of one shrunk covariance, and equal priors although one class is larger."""
    rng = np.random.RandomState(0)
    labels = np.array([0] * 10 + [1] * 6 + [2] * 6)[: 16 if num_labels == 2 else 22]
    vectors = rng.randn(len(labels), 4) + np.eye(4)[labels] * 2
    weight, bias = setfit.fit_head(vectors, labels, num_labels, 0.3)
    means = np.stack([vectors[labels == label].mean(axis=0) for label in range(num_labels)])
    covariance = 0
    for label in range(num_labels):
        own = np.cov(vectors[labels == label].T, bias=True)
        own = 0.7 * own + 0.3 * np.trace(own) / 4 * np.eye(4)
        covariance = covariance + own / num_labels
    deltas = vectors[:, None] - means
    expected = softmax(-0.5 * np.einsum("nci,ij,ncj->nc", deltas, np.linalg.inv(covariance), deltas), axis=1)
    np.testing.assert_allclose(softmax(vectors @ weight + bias, axis=1), expected, atol=1e-6)


def test_train_evaluate_predict_and_export(few, tiny_model, tmp_path, taskflow, capsys):
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--do_eval", "--do_predict", "--export_type", "onnx")
    out = capsys.readouterr().out
    texts, lines = read_lines(few / "test.txt"), read_lines(tmp_path / "out" / "predictions.txt")
    assert f"Dev dataset size: {len(texts)}" in out and f"{len(texts)} predictions are in" in out
    scores = probabilities(folder, few)
    np.testing.assert_allclose(probabilities(folder, few, "onnx"), scores, atol=1e-5)
    best = scores.argmax(axis=1)
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["Text", "Label", "Prediction", "Score"]
    assert [row[:3] for row in rows[1:]] == [[text, "", LABELS[index]] for text, index in zip(texts, best)]
    np.testing.assert_allclose([float(row[3]) for row in rows[1:]], scores.max(axis=1), atol=1e-4)
    answers = [result["predictions"][0] for result in taskflow(folder, is_static_model=True)(texts)]
    assert [answer["label"] for answer in answers] == [LABELS[index] for index in best]
    truth = [LABELS.index(line.split("\t")[1]) for line in read_lines(few / "dev.txt")]
    assert (best == truth).mean() > 0.5  # chance is 0.33
    parity = json.loads((folder / "parity.json").read_text("utf-8"))
    np.testing.assert_allclose(Predictor(folder).probabilities(parity["texts"]), parity["probabilities"], atol=1e-5)


def test_seed_and_tuned_share(few, tiny_model, tmp_path):
    def scores(name, *more):
        flags = ["--do_train", "--ngram_weight", "0", *more]
        return probabilities(run(few, tiny_model, tmp_path / name, *flags), few)

    first = scores("a", "--seed", "1")
    assert (scores("b", "--seed", "1") == first).all()
    assert np.abs(scores("c", "--seed", "2") - first).max() > 1e-3
    untuned = scores("d", "--max_steps", "0")
    np.testing.assert_allclose(scores("e", "--tuned_share", "0"), untuned, atol=1e-5)
    assert np.abs(untuned - first).max() > 1e-3


def test_dev_makes_the_scores_as_sure_as_they_are_right(few, tiny_model, tmp_path):
    """The same answers with and without dev; with it the mean score is near the accuracy."""
    truth = [LABELS.index(line.split("\t")[1]) for line in read_lines(few / "dev.txt")]
    flags = ["--do_train", "--ngram_weight", "0.5"]
    fitted = probabilities(run(few, tiny_model, tmp_path / "a", *flags), few)
    (few / "dev.txt").unlink()
    as_it_is = probabilities(run(few, tiny_model, tmp_path / "b", *flags), few)
    assert (fitted.argmax(axis=1) == as_it_is.argmax(axis=1)).all()
    accuracy = (fitted.argmax(axis=1) == truth).mean()
    assert abs(fitted.max(axis=1).mean() - accuracy) < 0.1 < abs(as_it_is.max(axis=1).mean() - accuracy)


def test_tuning_brings_texts_of_a_label_together(few, tiny_model):
    """What it is for, on training texts: similarity within labels rises over that between them."""
    flags = ["--do_train", "--model_name_or_path", str(tiny_model), "--max_seq_length", "32", "--device", "cpu",
             "--max_steps", "20", "--learning_rate", "2e-3", "--tuned_share", "1"]  # fmt: skip
    learner = setfit.Learner(setfit.parse_flags(flags), {label: label for label in LABELS})
    texts, labels = setfit.read_examples(few / "train.txt", LABELS)
    labels = np.array(labels)

    def contrast():
        vectors = learner.vectors(learner.encode(texts))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        similar, same = unit @ unit.T, labels[:, None] == labels
        return similar[same].mean() - similar[~same].mean()

    before = contrast()
    learner.fit(texts, labels)
    assert contrast() > before + 0.3


def test_a_label_without_samples_has_its_word(few, tiny_model, tmp_path):
    lines = [line for line in read_lines(few / "train.txt") if not line.endswith(LABELS[1])]
    write_data(few, lines, read_lines(few / "dev.txt"), [LABELS[0], f"{LABELS[1]}==要多少钱", LABELS[2]])
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    assert Predictor(folder).classify(["要多少钱"])[0][0] == LABELS[1]


def test_texts_that_share_no_token(tmp_path, tiny_model):
    """Then [CLS] and [SEP] are all the n-grams, and the vectors alone answer."""
    write_data(tmp_path, ["头痛\tA", "挂号\tB"], ["头痛\tA"], ["A==肝", "B==科"])
    folder = run(tmp_path, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    assert [label for label, _ in Predictor(folder).classify(["头痛", "挂号"])] == ["A", "B"]


def test_an_encoder_without_token_types(few, tiny_ernie_m, tmp_path):
    folder = run(few, tiny_ernie_m, tmp_path / "out", "--do_train", "--export_type", "onnx", "--max_steps", "2")
    np.testing.assert_allclose(probabilities(folder, few, "onnx"), probabilities(folder, few), atol=1e-4)


def test_refusals(few, tiny_model, tmp_path):
    with pytest.raises(UsageError, match="export: no such directory; train first"):
        run(few, tiny_model, tmp_path / "out", "--do_eval")
    with pytest.raises(UsageError, match="--max_seq_length 200: .* has positions for 128"):
        run(few, tiny_model, tmp_path / "out", "--do_train", "--max_seq_length", "200")
    with pytest.raises(UsageError, match="no such directory"):
        run(few, tmp_path / "nowhere", tmp_path / "out", "--do_train")
    for flags in ([], ["--do_train", "--max_steps", "-1"], ["--do_train", "--shrinkage", "2"],
                  ["--do_train", "--temperature", "0"]):  # fmt: skip
        with pytest.raises(SystemExit):
            setfit.main(flags)
    assert not (tmp_path / "out").exists()
    run(few, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    write_data(few, read_lines(few / "train.txt"), read_lines(few / "dev.txt"), LABELS[::-1])
    with pytest.raises(UsageError, match="label.txt: not the labels of"):
        run(few, tiny_model, tmp_path / "out", "--do_eval")
    (few / "dev.txt").unlink()
    with pytest.raises(UsageError, match="needs .*dev.txt for its ranges"):
        run(few, tiny_model, tmp_path / "out", "--do_train", "--export_type", "onnx_int8")


def test_unlabelled_texts_move_the_head(num_labels=3):
    """Against the same written sample by sample; 600 texts halve the errors of a head of 4 samples a class."""
    rng = np.random.RandomState(0)
    labels = rng.randint(num_labels, size=612)
    labels[:12] = [0, 1, 2] * 4
    vectors = (rng.randn(612, 8) * np.linspace(0.3, 2, 8) + 2.5 * np.eye(8)[labels]).astype("float32")
    given, others = vectors[:12], vectors[12:]
    start = setfit.fit_head(given, labels[:12], num_labels, 0.9)
    weight, bias = setfit.fit_head_with_unlabelled(given, labels[:12], others, num_labels, 0.9, 0.1)

    head, offset = start
    for _ in range(setfit.UNLABELLED_ROUNDS):
        shares = 0.1 * softmax(others @ head + offset, axis=1)
        means, total, covariance = [], 0.1 * 600 + 12, 0
        for label in range(num_labels):
            own = given[labels[:12] == label]
            mass = len(own) + shares[:, label].sum()
            means.append((own.sum(axis=0) + shares[:, label] @ others) / mass)
            for vector, share in [(row, 1) for row in own] + list(zip(others, shares[:, label])):
                covariance = covariance + share * np.outer(vector - means[-1], vector - means[-1]) / total
        covariance = 0.5 * covariance + 0.5 * np.trace(covariance) / 8 * np.eye(8)
        means = np.stack(means)
        head = np.linalg.solve(covariance, means.T)
        offset = -0.5 * (means.T * head).sum(axis=0)
    np.testing.assert_allclose(weight, head, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias, offset, rtol=1e-3, atol=1e-4)

    def errors(head, bias):
        return ((others @ head + bias).argmax(axis=1) != labels[12:]).sum()

    assert errors(weight, bias) < errors(*start) / 2


def test_label_words_and_unlabelled_texts_alone(few, tiny_model, tmp_path, sample_lines, capsys):
    """Without train.txt; vectors around words that lie elsewhere find their classes, and one command line does."""
    rng = np.random.RandomState(0)
    labels, means = rng.randint(3, size=600), 2.5 * np.eye(8)[:3]
    words, texts = means + rng.randn(3, 8) + 5, means[labels] + rng.randn(600, 8) - 5
    head, bias = setfit.fit_head_from_words(words, texts)
    near, far = texts - texts.mean(axis=0), words - words.mean(axis=0)
    nearest = (near @ (far / np.linalg.norm(far, axis=1, keepdims=True)).T).argmax(axis=1)
    assert ((texts @ head + bias).argmax(axis=1) != labels).sum() < (nearest != labels).sum() / 2

    (few / "train.txt").unlink()
    with pytest.raises(UsageError, match="train.txt: no such file"):
        run(few, tiny_model, tmp_path / "out", "--do_train")
    (few / "data.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["train"]), "utf-8")
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--do_eval")
    assert "unlabelled texts and the label words alone make the head" in capsys.readouterr().out
    assert Predictor(folder).labels == LABELS


def test_the_ngram_layer_is_tf_idf_svd_and_head():
    """Padding adds nothing, unknown n-grams nothing but nothing breaks; both against scikit-learn's tf-idf."""
    import paddle
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.RandomState(0)
    token_ids = [[1, *rng.randint(5, 20, size=size), 2] for size in rng.randint(1, 9, size=60)]
    ngrams = setfit.Ngrams(token_ids[:50], seed=0)
    head = rng.randn(len(ngrams.components), 3)
    layer = setfit.ngram_layer(ngrams, head, vocab_size=30, pad_token_id=0)
    padded = np.zeros([62, 12], "int64")
    for row, ids in zip(padded, token_ids):
        row[: len(ids)] = ids
    padded[60, :3] = [25, 26, 27]
    logits = layer(paddle.to_tensor(padded)).numpy()
    np.testing.assert_allclose(logits[:60], ngrams.vectors(token_ids) @ head, atol=1e-5)
    assert (logits[60:] == 0).all()

    once = [ids for ids in token_ids[:50] if len(set(ids)) == len(ids)]  # where no n-gram is there twice
    texts = [" ".join(map(str, ids)) for ids in token_ids[:50]]
    reference = TfidfVectorizer(analyzer="word", token_pattern=r"\d+", ngram_range=(1, 2), min_df=2).fit(texts)
    expected = reference.transform([" ".join(map(str, ids)) for ids in once]).toarray()
    rows = ngrams.rows(once).toarray()
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows @ rows.T, expected @ expected.T, atol=1e-9)


def test_weights_of_two_logits():
    rng = np.random.RandomState(0)
    truth = rng.randint(3, size=4000)
    good, bad = 6 * np.eye(3)[truth] + 2 * rng.randn(4000, 3), rng.randn(4000, 3)
    weights = setfit.fit_weights([good, bad], truth)
    assert weights[0] == pytest.approx(6 / 2**2, rel=0.1)  # of Gaussians: distance over variance
    assert abs(weights[1]) < 0.1
    fixed = setfit.fit_weights([good, bad], truth, 0.5)
    assert fixed[1] == pytest.approx(fixed[0] / 2)


def test_data_txt_has_a_part(few, tiny_model, tmp_path, sample_lines):
    """With data.txt other answers, in all formats alike; --unlabelled_weight 0 is as if it were not there."""

    def scores(name, *more, format="paddle"):
        flags = ["--do_train", "--max_steps", "0", *more]
        return probabilities(run(few, tiny_model, tmp_path / name, *flags), few, format)

    without = scores("a")
    (few / "data.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["train"]), "utf-8")
    with_data = scores("b", "--export_type", "paddle", "onnx", "onnx_int8")
    assert np.abs(with_data - without).max() > 0.01
    np.testing.assert_allclose(probabilities(tmp_path / "b" / "export", few, "onnx"), with_data, atol=1e-5)
    # 8 bits are for the encoder; the n-grams' table stays as it is.
    np.testing.assert_allclose(probabilities(tmp_path / "b" / "export", few, "onnx_int8"), with_data, atol=0.1)
    assert (scores("c", "--unlabelled_weight", "0") == without).all()
    only_vectors = scores("d", "--ngram_weight", "0")
    assert np.abs(only_vectors - with_data).max() > 0.01
