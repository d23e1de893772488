"""analysis/word_interpret.py: gradients against finite differences, planted truths, words, faithfulness, the files."""

import importlib.metadata
import random
import re
from pathlib import Path

import nbformat
import numpy as np
import paddle
import pytest
import word_interpret as lib
from classifier import find_head
from tests.helpers import ROOT, not_installed
from nbconvert.preprocessors import ExecutePreprocessor

from trainer import make_encoder
from utils import UsageError

MARKER = "头痛"


def flags(data, checkpoint, *more):
    return ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), "--max_seq_length", "32",
            "--interpret_input_file", "dev.txt", "--samples", "50", *map(str, more)]  # fmt: skip


@pytest.fixture
def loaded(trained_once):
    """(args, explainer, cases) of the trained tiny model and three texts."""
    args = lib.parse_arguments(flags(*trained_once, "--interpret_num", 3))
    return args, *lib.load(args)


def scale_layer_norms(model, trainable=True):
    """Random scales far from 1, as a real model has them and a fresh one has not."""
    generator = np.random.RandomState(0)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.LayerNorm):
            layer.weight.set_value(generator.uniform(0.3, 2.5, layer.weight.shape).astype("float32"))
            layer.weight.stop_gradient = layer.bias.stop_gradient = not trainable


def logit(explainer, case, ids):
    with paddle.no_grad():
        logits = explainer.model(**explainer.classifier.pad([{**case.feature, "input_ids": ids}]))
    return float(logits[0, case.class_id])


# ----------------------------------------------------------------------------------------------------------- methods


def test_integrated_gradients_sum_to_the_difference_of_the_logits(loaded, monkeypatch, capsys):
    args, explainer, _ = loaded
    scale_layer_norms(explainer.model)
    cases = explainer.make_cases([(1, text, "") for text in ("头痛要做什么检查", "住院需要多少钱", "感冒会是什么病")])
    args.steps = 4  # too few: they are doubled
    for case in cases:
        ids = case.feature["input_ids"]
        masked = [ids[0], *[explainer.mask_id] * (len(ids) - 2), ids[-1]]
        difference = logit(explainer, case, ids) - logit(explainer, case, masked)
        assert abs(difference) > lib.MIN_DIFFERENCE
        scores, error = lib.integrated_gradients(explainer, case, args, None)
        assert abs(scores.sum() - difference) < 0.01 * abs(difference) and error < 0.01
    lib.explain(explainer, cases, "integrated_gradients", args)
    assert "scores of 3 of 3 texts sum to the difference of the logits within 1%" in capsys.readouterr().out
    monkeypatch.setattr(lib, "MAX_STEPS", 4)
    lib.explain(explainer, cases, "integrated_gradients", args)
    assert "; for the others, give --steps above 4" in capsys.readouterr().out


@pytest.mark.parametrize("trainable", [True, False])
def test_gradients_are_finite_differences(loaded, trainable):
    """With frozen LayerNorm scales they are not, which is why those stay trainable."""
    _, explainer, _ = loaded
    scale_layer_norms(explainer.model, trainable)
    case = explainer.make_cases([(1, "头痛要做什么检查", "")])[0]
    start, end = (explainer.vectors(ids) for ids in ([explainer.mask_id] * len(case.owner), case.feature["input_ids"]))

    def value(place):
        points = paddle.to_tensor((start + place * (end - start))[None])
        hook = explainer.embedding.register_forward_post_hook(lambda layer, ids, output: points)
        found = logit(explainer, case, case.feature["input_ids"])
        hook.remove()
        return found

    places = np.linspace(0.05, 0.95, 10)
    slopes = explainer.slopes(case, start, places).sum(axis=1)
    expected = np.array([value(place + 0.002) - value(place - 0.002) for place in places]) / 0.004
    error = np.abs(slopes - expected).max() / np.abs(expected).max()
    assert error < 0.01 if trainable else error > 0.5


class Planted(paddle.nn.Layer):
    """A model whose truth is known: the logits are s, 0 and -s, where s is the sum of a weight a token."""

    def __init__(self, weights):
        super().__init__()
        self.embedding, self.head = paddle.nn.Embedding(len(weights), 1), paddle.nn.Linear(1, 3)
        self.embedding.weight.set_value(weights[:, None].astype("float32"))
        self.head.weight.set_value(np.array([[1, 0, -1]], "float32"))

    def forward(self, input_ids, token_type_ids=None, output_attentions=False, return_dict=False):
        values = self.embedding(input_ids)
        logits = self.head(values.sum(axis=1))
        if not output_attentions:
            return logits
        heads = paddle.nn.functional.softmax(values.reshape([len(values), 1, 1, -1]), axis=-1)
        return type("Output", (), {"logits": logits, "attentions": [heads]})


@pytest.fixture
def planted(loaded, sample_lines):
    """(args, explainer, cases, word weights a case): texts with MARKER somewhere, which alone decides."""
    args, explainer, _ = loaded
    vocabulary = explainer.classifier.tokenizer.vocab.token_to_idx
    weights = np.random.RandomState(1).uniform(-0.1, 0.1, len(vocabulary))
    weights[[vocabulary[token] for token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]] = 0
    weights[[vocabulary[character] for character in MARKER]] = 1, 0.8
    model = Planted(weights)
    explainer.classifier.model, explainer.classifier.head = model, model.head
    explainer = lib.Explainer(explainer.classifier)
    texts = [line.split("\t")[0] for line in sample_lines["dev"]]
    texts = [f"{text[:6]}，{MARKER}，{text[6:12]}" for text in texts if not set(MARKER) & set(text)][:8]
    cases = explainer.make_cases([(1, text, "") for text in texts])
    truth = [case.word_scores(weights[case.feature["input_ids"]]) for case in cases]
    assert all(case.words.count(MARKER) == 1 and case.class_id == 0 for case in cases)
    args.samples = 300
    return args, explainer, cases, truth


@pytest.mark.parametrize("method", lib.METHODS)
def test_the_word_that_decides_comes_first(planted, method):
    args, explainer, cases, truth = planted
    scores, _ = lib.explain(explainer, cases, method, args)
    assert [case.words[values.argmax()] for case, values in zip(cases, scores)] == [MARKER] * len(cases)
    if method in ("integrated_gradients", "lime"):  # for a linear model they are its weights
        for values, expected in zip(scores, truth):
            assert np.abs(values - expected).max() < (1e-4 if method == "integrated_gradients" else 0.05)


@pytest.mark.parametrize("name", ["Bert", "Roberta", "ErnieM", "Electra", "Albert"])
def test_other_models(loaded, name):
    import paddlenlp.transformers as models

    args, explainer, _ = loaded
    classifier = explainer.classifier
    config = getattr(models, f"{name}Config")(
        vocab_size=len(classifier.tokenizer.vocab.token_to_idx), hidden_size=48, embedding_size=48, num_labels=3,
        num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, pad_token_id=0,
    )  # fmt: skip
    classifier.model = getattr(models, f"{name}ForSequenceClassification")(config)
    classifier.model.eval()
    scale_layer_norms(classifier.model)
    classifier.head = find_head(classifier.model, 3, paddle)
    classifier.head.weight.set_value(30 * paddle.randn(classifier.head.weight.shape))
    if name == "ErnieM":
        classifier.encode = make_encoder(classifier.tokenizer, 32, token_types=False)
    explainer = lib.Explainer(classifier)
    case = explainer.make_cases([(1, "头痛要做什么检查", "")])[0]
    ids = case.feature["input_ids"]
    difference = logit(explainer, case, ids) - logit(explainer, case, [ids[0], *[4] * (len(ids) - 2), ids[-1]])
    assert abs(difference) > lib.MIN_DIFFERENCE
    assert lib.integrated_gradients(explainer, case, args, None)[0].sum() == pytest.approx(difference, rel=0.01)
    assert (lib.attention(explainer, case, args, None)[0] > 0).all()


def test_faithfulness_tells_an_oracle_from_chance(planted):
    _, explainer, cases, truth = planted
    oracle = lib.faithfulness(explainer, cases, truth)
    worst = lib.faithfulness(explainer, cases, [-values for values in truth])
    chance = lib.random_faithfulness(explainer, cases, seed=0)
    assert (oracle[:, 0] > chance[:, 0] + 0.1).all() and (oracle[:, 1] < chance[:, 1] - 0.1).all()
    assert (worst[:, 0] < chance[:, 0] - 0.05).all() and (worst[:, 1] > chance[:, 1] + 0.05).all()
    rows = lib.faithfulness_rows({"worst": worst, "random": chance, "oracle": oracle}, {"oracle": 0.5, "worst": 1})
    assert [row["method"] for row in rows] == ["oracle", "random", "worst"]
    assert re.fullmatch(rf"{oracle[:, 0].mean():.3f} ± 0\.\d{{3}}", rows[0]["comprehensiveness (high)"])
    assert (lib.random_faithfulness(explainer, cases, seed=0) == chance).all()
    # By hand, of one text: 10 % and 20 % of its words are the first and the first two, 50 % are a half.
    case = cases[0]
    order = case.seen[np.argsort(-truth[0][case.seen])]
    counts = [int(np.ceil(share * len(order))) for share in (0.1, 0.2, 0.5)]
    texts = ["".join(word for n, word in enumerate(case.words) if n not in order[:count]) for count in counts]
    left = lib.softmax(explainer.logits(explainer.classifier.encode(texts)))[:, 0]
    assert oracle[0, 0] == pytest.approx(case.probability - left.mean(), abs=1e-6)
    # [MASK] has no weight in the planted model, so that it is as good as nothing.
    assert np.abs(lib.faithfulness(explainer, cases, truth, mask=True) - oracle).max() < 1e-6
    ids = case.without(order[:1], explainer.mask_id)["input_ids"]
    assert len(ids) == len(case.owner) and ids.count(explainer.mask_id) == len(MARKER)


def test_the_attention_is_that_of_the_last_layer(loaded):
    _, explainer, cases = loaded
    caught, layer = [], explainer.model.ernie.encoder.layers[-1].self_attn
    hook = layer.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
    weights = explainer.attention(cases[0])
    hook.remove()
    split = [tensor.reshape([-1, 12, 4]).transpose([1, 0, 2]) for tensor in
             (layer.q_proj(caught[0])[0], layer.k_proj(caught[0])[0])]  # fmt: skip
    expected = paddle.nn.functional.softmax(split[0] @ split[1].transpose([0, 2, 1]) / 2, axis=-1)
    assert np.abs(weights - expected[:, 0].mean(axis=0).numpy()).max() < 1e-5


def test_a_model_without_attention(planted, monkeypatch, capsys):
    args, explainer, cases, _ = planted
    forward = Planted.forward
    monkeypatch.setattr(Planted, "forward", lambda self, input_ids, token_type_ids=None: forward(self, input_ids))
    args.method = ["attention"]
    with pytest.raises(UsageError, match="Planted does not give its attention; use another --method"):
        lib.explain_all(explainer, cases, args)
    args.method = ["lime", "attention"]
    scores, rows = lib.explain_all(explainer, cases, args)
    assert list(scores) == ["lime"] and [row["method"] for row in rows] == ["lime", "random"]
    assert "attention is left out: Planted" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- words


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    """A function of words to tokens, with word pieces and few Chinese characters."""
    from paddlenlp.transformers import ErnieTokenizer

    tokens = [
        "[PAD]",
        "[CLS]",
        "[SEP]",
        "[UNK]",
        "[MASK]",
        *"头疼吃药很好，。？ab12",
        "##b",
        "##1",
        "cafe",
        "vita",
        "##min",
    ]
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_bytes(("\n".join(tokens) + "\n").encode())
    encoder = make_encoder(ErnieTokenizer(str(path)), 64, True)
    return lambda words: [feature["input_ids"][1:-1] for feature in encoder(words)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("头疼吃药", {"头疼": 2, "吃药": 2}),
        ("头疼吃Vitamin很好", {"头疼": 2, "吃": 1, "Vitamin": 2, "很": 1, "好": 1}),
        ("café很好", {"café": 1, "很": 1, "好": 1}),  # jieba cuts before é, the tokenizer does not
        ("头疼 吃药", {"头疼": 2, " ": 0, "吃药": 2}),
        ("頭疼😀，Zzz", {"頭疼": 2, "😀": 1, "，": 1, "Zzz": 1}),  # unknown ones are one token each
    ],
)
def test_words_and_tokens(encode, text, expected):
    words, owner = lib.assign_tokens(lib.load_jieba().lcut(text), encode([text])[0], encode)
    counts = np.bincount(owner, minlength=len(words)).tolist()
    assert "".join(words) == text
    assert dict(zip(words, counts)) == expected


def test_any_text_is_cut_into_words_with_their_own_tokens(encode):
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices("头疼吃药b1aé́ßΣİ😀 ，-[SEP]\u200d%Ⅲ㎎", k=generator.randint(1, 12))).strip()
        if not text:
            continue
        ids = encode([text])[0]
        words, owner = lib.assign_tokens(lib.load_jieba().lcut(text), ids, encode)
        assert "".join(words) == text and len(owner) == len(ids) and (np.diff(owner) >= 0).all()
        for number, part in enumerate(encode(words)):
            assert [token for token, word in zip(ids, owner) if word == number] == part


@pytest.mark.parametrize("method", lib.METHODS)
def test_a_text_without_tokens(loaded, method):
    args, explainer, _ = loaded
    cases = explainer.make_cases([(1, "\u200b", ""), (2, "头痛", "")])
    scores, _ = lib.explain(explainer, cases, method, args)
    assert scores[0].tolist() == [0] and scores[1].any()
    assert np.abs(lib.faithfulness(explainer, cases, scores)[0]).max() < 1e-6


def test_what_is_cut_off_scores_nothing(trained_once):
    args = lib.parse_arguments([*flags(*trained_once), "--max_seq_length", "8"])
    explainer, _ = lib.load(args)
    case = explainer.make_cases([(1, "头痛发热要做什么检查", "")])[0]
    assert len(case.owner) == 8 and case.words[case.first_cut] == "什么"
    assert case.seen.tolist() == list(range(case.first_cut))
    for method in lib.METHODS:
        scores, _ = lib.explain(explainer, [case], method, args)
        assert (scores[0][case.first_cut :] == 0).all() and (scores[0][: case.first_cut] != 0).any()
    assert case.cut_off and not explainer.make_cases([(1, "头痛发热检查", "")])[0].cut_off  # of just 8 tokens
    page = "".join(lib.coloured(case, scores[0]))
    assert page.count('class="cut"') == len(case.words) - case.first_cut


# --------------------------------------------------------------------------------------------------- files and flags


def read_results(path):
    """Block -> line name -> its columns."""
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [{name: rest.strip().split("\t") for name, _, rest in (line.partition(":") for line in block.splitlines())}
            for block in blocks]  # fmt: skip


def test_files_and_page(trained, tmp_path, rendered, capsys):
    data, _ = trained
    (data / "x.txt").write_bytes(
        f"<script>alert(1)</script>{MARKER} 怎么办\t就医建议\n感冒是什么病\n住院多少钱\n".encode()
    )
    report = tmp_path / "page" / "w.html"
    run = [*flags(*trained), "--interpret_input_file", "x.txt", "--interpret_num", "2", "--method", "all", "--report",
           str(report)]  # fmt: skip
    lib.main(run)
    out = capsys.readouterr().out
    assert "The first 2 of 3 texts are explained" in out
    assert {line.split()[0] for line in out.splitlines() if " ± " in line} == {*lib.METHODS, "random"}
    first, second = read_results(data / "word_interpret.txt")
    assert first["text"] == [f"<script>alert(1)</script>{MARKER} 怎么办"] and first["label"] == ["就医建议"]
    assert first["predict label"][0] in ("病情诊断", "医疗费用", "就医建议") and "label" not in second
    for method in lib.METHODS:
        words, scores = zip(*(pair.rsplit(" ", 1) for pair in second[method]))
        assert "".join(words) == "感冒是什么病" and any(map(float, scores))

    dom = rendered(report)
    assert "<script>" not in dom and "&lt;" in dom and "Faithfulness" in dom
    text = re.sub("<[^>]*>", "", dom.replace("&lt;", "<").replace("&gt;", ">"))
    assert dom.count('class="words') == 1 + 2 * len(lib.METHODS) and text.count("怎么办") == len(lib.METHODS)
    assert dom.count(' title="') > 4 * len(lib.METHODS)

    same, other = data / "same.txt", data / "other.txt"
    lib.main([*run, "--result_file", same.name])
    lib.main([*run, "--result_file", other.name, "--seed", "4"])
    assert same.read_bytes() == (data / "word_interpret.txt").read_bytes()
    again = read_results(other)[0]
    assert again["lime"] != first["lime"] and again["gradient_shap"] != first["gradient_shap"]
    assert again["integrated_gradients"] == first["integrated_gradients"]


def test_colours_and_the_wrong_label():
    case = lib.Case("头痛，<b>", "甲", ["头痛", "，", "<b>"], {}, np.array([-1, 0, 0, 1, 2, -1]), class_id=1,
                    logits=np.array([0.0, 1.0]))  # fmt: skip
    page = "".join(lib.case_parts([case], ["甲", "乙"], {"lime": [np.array([2.0, 0, -1.0])]}))
    assert 'predicted <b>乙</b> (0.731), label <b>甲</b> <span class="error">wrong</span>' in page
    assert '<span style="background: rgba(46, 125, 50, 0.75)" title="+2.0000">头痛</span>' in page
    assert '<span style="background: rgba(198, 40, 40, 0.38)" title="-1.0000">&lt;b&gt;</span>' in page


def test_refusals(trained, monkeypatch):
    for more, message in (
        (["--interpret_num", "0"], "--interpret_num 0: give 1 or more"),
        (["--steps", "0"], "--steps 0"),
        (["--samples", "0"], "--samples 0"),
        (["--interpret_input_file", "z.txt"], "z.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            lib.main([*flags(*trained), *more])
    with pytest.raises(SystemExit):
        lib.main([*flags(*trained), "--method", "shap"])
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UsageError, match="needs jieba, .* pip install -r requirements-analysis.txt"):
        lib.main(flags(*trained))
    assert not (trained[0] / "word_interpret.txt").exists()


def test_the_notebook_runs_from_top_to_bottom(trained_once):
    path = ROOT / "analysis" / "word_interpret.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    data, checkpoint = map(Path, trained_once)
    for name, value in {"DATASET_DIR": data, "PARAMS_PATH": checkpoint, "DEVICE": "cpu", "INPUT_FILE": "dev.txt",
                        "NUM": 2}.items():  # fmt: skip
        given = re.search(rf"^{name} = (.*)$", code[0].source, re.MULTILINE)[1]
        if name.endswith(("DIR", "PATH")):
            assert given == {"DATASET_DIR": '"../data"', "PARAMS_PATH": '"../checkpoint/"'}[name]
        code[0].source = code[0].source.replace(
            f"{name} = {given}", f"{name} = {value if name == 'NUM' else repr(str(value))}"
        )
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(
        notebook, {"metadata": {"path": str(path.parent)}}
    )
    shown = "".join(output.get("data", {}).get("text/html", "") for cell in code for output in cell.outputs)
    assert shown.count('class="case"') == 2 and "comprehensiveness" in shown
    assert {name for name in lib.METHODS if f'<span class="method">{name}</span>' in shown} == set(lib.METHODS)
