"""few-shot/utils.py: the labels' rows, template and tokens, gradients, losses and optimizer of the prompted model."""

import copy
import json

import numpy as np
import pytest

from tests.helpers import LABEL_WORDS
from utils import UsageError

PARTS = [{"text": "text_a"}, {"soft": "主题是", "encoder": "lstm", "hidden_size": 8}, {"mask": None}]
HARD = [{"text": "text_a"}, {"hard": "的主题是"}, {"mask": None}]
TEXTS = ["头疼怎么办", "看病多少钱", "要不要去医院", "感冒"]


@pytest.fixture
def build(few_shot_utils, tiny_mlm):
    """A function that builds the prompted model of some parts; (model, tokenizer)."""
    import paddle

    def build(parts=PARTS, words=LABEL_WORDS, max_seq_length=32):
        paddle.seed(3)
        return few_shot_utils.load_pretrained(str(tiny_mlm), parts, words, max_seq_length)

    return build


@pytest.fixture
def batch(few_shot_utils):
    """A function from a model to one batch of its inputs, with labels."""
    import paddle

    def batch(model, texts=TEXTS, labels=(0, 1, 1, 2)):
        features = few_shot_utils.make_encoder(model.template)(texts)
        for feature, label in zip(features, labels):
            feature["labels"] = label
        collated = few_shot_utils.make_collator(model.template.tokenizer)(features)
        return {name: paddle.to_tensor(value) for name, value in collated.items()}

    return batch


@pytest.fixture
def make_trainer(few_shot_utils, tmp_path):
    """A function from a model and flags to a FewShotTrainer without data."""
    import paddle
    from paddlenlp.prompt import PromptTuningArguments

    def make(model, tokenizer, **flags):
        args = PromptTuningArguments(output_dir=str(tmp_path / "out"), device="cpu", **flags)
        loss = paddle.nn.CrossEntropyLoss()
        return few_shot_utils.FewShotTrainer(model=model, args=args, criterion=loss, tokenizer=tokenizer)

    return make


# ------------------------------------------------------------------------------------------------ the labels' rows


@pytest.mark.parametrize(
    "words",
    [
        {"病情诊断": "诊断", "医疗费用": "费用", "就医建议": "建议"},  # equally long
        {"乙": "头", "甲": "诊断费用", "丙": "建议是"},  # 1, 4 and 3 tokens: padding must not count
    ],
)
def test_the_rows_are_the_words_embeddings_in_sorted_order(build, tiny_mlm, words):
    """Trap: as shipped, the rows have nothing to do with the words."""
    from paddlenlp.transformers import AutoModelForMaskedLM

    model, tokenizer = build(words=words)
    embeddings = AutoModelForMaskedLM.from_pretrained(str(tiny_mlm)).get_input_embeddings().weight.numpy()
    decoder = model.verbalizer.head.decoder
    assert model.verbalizer.labels == sorted(words)
    assert decoder.weight.shape == [3, 48]
    for row, label in zip(decoder.weight.numpy(), sorted(words)):
        ids = tokenizer.convert_tokens_to_ids(list(words[label]))
        assert tokenizer.unk_token_id not in ids
        assert np.allclose(row, embeddings[ids].mean(axis=0), atol=1e-7)


def test_the_logits_are_those_of_the_words_in_the_whole_masked_lm(build, batch, tiny_mlm):
    """With one-character words, a label's logit is what the model itself says of that character at the mask."""
    import paddle
    from paddlenlp.transformers import AutoModelForMaskedLM

    words = {"丙": "头", "甲": "费", "乙": "疼"}
    model, tokenizer = build(HARD, words)
    model.eval()
    inputs = batch(model)
    inputs.pop("labels")
    whole = AutoModelForMaskedLM.from_pretrained(str(tiny_mlm))
    whole.eval()
    with paddle.no_grad():
        logits = model(**inputs).numpy()
        scores = whole(inputs["input_ids"], inputs["token_type_ids"], inputs["position_ids"]).numpy()
    at_mask = scores.reshape([-1, scores.shape[-1]])[inputs["masked_positions"].numpy()]
    ids = tokenizer.convert_tokens_to_ids([words[label] for label in sorted(words)])
    assert np.allclose(logits, at_mask[:, ids], atol=1e-5)


def test_words_outside_the_vocabulary_are_named(build, log):
    build(words={"甲": "龘龘", "乙": "头"})
    assert any("characters that the vocabulary lacks: 甲" in line for line in log)


# -------------------------------------------------------------------------------------------------- models, tokens


def test_an_encoder_without_the_head_is_refused(few_shot_utils, tiny_model, tiny_mlm, tmp_path):
    with pytest.raises(UsageError, match="without a head for masked words.*build_encoder.py --mlm_texts"):
        few_shot_utils.load_promptable(str(tiny_model))
    assert few_shot_utils.load_promptable(str(tiny_mlm)).cls.predictions.decoder.weight.shape[1] == 48


def test_a_kind_of_model_without_a_head_is_refused(few_shot_utils, tiny_ernie_m):
    with pytest.raises(UsageError, match="cannot be"):
        few_shot_utils.load_promptable(str(tiny_ernie_m))


def test_other_kinds_of_models(few_shot_utils, tiny_mlm, tmp_path, batch):
    """PaddleNLP's BERT has no way in for a soft prompt's vectors; a hard prompt works."""
    import shutil

    from paddlenlp.transformers import BertConfig, BertForMaskedLM, BertTokenizer

    config = json.loads((tiny_mlm / "config.json").read_text(encoding="utf-8"))
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    BertForMaskedLM(BertConfig(**{name: config[name] for name in names})).save_pretrained(str(tmp_path))
    shutil.copy(tiny_mlm / "vocab.txt", tmp_path)
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(str(tmp_path))
    with pytest.raises(UsageError, match="BertForMaskedLM takes no soft prompt; write a hard one"):
        few_shot_utils.load_pretrained(str(tmp_path), PARTS, LABEL_WORDS, 32)
    model, _ = few_shot_utils.load_pretrained(str(tmp_path), HARD, LABEL_WORDS, 32)
    assert model(**batch(model))[1].shape == [4, 3]


@pytest.mark.parametrize("parts", [PARTS, HARD])
def test_long_texts_are_cut_and_the_prompt_stays(build, few_shot_utils, parts):
    model, tokenizer = build(parts, max_seq_length=16)
    encode = few_shot_utils.make_encoder(model.template)
    short, long = encode(["头疼", "头疼" * 40])
    assert len(long["input_ids"]) == 16 and len(short["input_ids"]) < 16
    for feature in (short, long):
        (position,) = feature["masked_positions"]
        assert feature["input_ids"][position] == tokenizer.mask_token_id
        assert position == len(feature["input_ids"]) - 2
        soft = np.array(feature["soft_token_ids"])
        assert soft[soft > 0].tolist() == ([1, 2, 3] if parts is PARTS else [])


def test_a_mask_written_in_a_text_is_no_mask(build, batch):
    model, tokenizer = build()
    inputs = batch(model, ["头疼[MASK]怎么[MASK]办", "头"], [0, 1])
    assert inputs["masked_positions"].shape == [2]
    assert model(**{name: value for name, value in inputs.items() if name != "labels"}).shape == [2, 3]


def test_no_room_for_the_text(build):
    with pytest.raises(UsageError, match="--max_seq_length 6: the prompt.* take 6 tokens"):
        build(max_seq_length=6)
    build(max_seq_length=7)
    with pytest.raises(UsageError, match="positions for 128"):
        build(max_seq_length=129)


# --------------------------------------------------------------------------------------------- freezing, gradients


def with_odd_norms(model):
    """Draw the scales of all LayerNorms, as after a real pretraining."""
    import paddle

    rng = np.random.default_rng(0)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.LayerNorm):
            layer.weight.set_value(rng.uniform(0.3, 3.0, layer.weight.shape).astype("float32"))
    model.plm.eval()  # no dropout


def prompt_gradients(model, inputs):
    loss = model(**inputs)[0]
    loss.backward()
    named = [*model.template.named_parameters(), *model.verbalizer.head_parameters()]
    return {name: weight.grad.numpy().copy() for name, weight in named if weight.grad is not None}


def test_frozen_weights_pass_on_the_right_gradients(build, batch, few_shot_utils):
    """Trap: a LayerNorm whose weight has stop_gradient forgets its scale on the way back."""
    results = {}
    for is_frozen in (False, True):
        model, _ = build()
        with_odd_norms(model)
        if is_frozen:
            few_shot_utils.freeze(model.plm)
        results[is_frozen] = prompt_gradients(model, batch(model))
    free, frozen = results[False], results[True]
    assert free.keys() == frozen.keys() and len(free) > 10
    for name, gradient in free.items():
        assert np.abs(gradient).max() > 0 and np.allclose(frozen[name], gradient, rtol=1e-4, atol=1e-8), name
    calculated = [name for name, weight in model.plm.named_parameters() if weight.grad is not None]
    assert calculated and all("norm" in name for name in calculated)  # no time is lost on the matrices


def trained_steps(trainer, model, batches):
    """Run the Trainer's own training step and optimizer on some batches."""
    trainer.create_optimizer_and_scheduler(num_training_steps=len(batches))
    for inputs in batches:
        trainer.training_step(model, inputs)
        trainer.optimizer.step()
        trainer.optimizer.clear_grad()


def change(model, before):
    """The largest change of each weight, by name."""
    return {name: float(np.abs(weight.numpy() - before[name]).max()) for name, weight in model.named_parameters()}


def weights(model):
    return {name: weight.numpy().copy() for name, weight in model.named_parameters()}


def is_prompt(name):
    return name.startswith(("template", "verbalizer.head.decoder"))


def test_freeze_plm_needs_no_max_steps_and_changes_the_prompt_alone(build, batch, few_shot_utils, make_trainer):
    model, tokenizer = build()
    few_shot_utils.freeze(model.plm)
    trainer = make_trainer(model, tokenizer, freeze_plm=True, ppt_learning_rate=1e-2, lr_scheduler_type="constant")
    before = weights(model)
    trained_steps(trainer, model, [batch(model)] * 3)
    changes = change(model, before)
    assert all(value == 0 for name, value in changes.items() if not is_prompt(name))
    assert changes["template.soft_embeddings.weight"] > 1e-3 and changes["verbalizer.head.decoder.weight"] > 1e-3


@pytest.mark.parametrize("flags", [{}, {"max_grad_norm": 0.0}])
def test_the_prompt_has_its_own_learning_rate(build, batch, make_trainer, flags):
    """Adam's first step is as long as the learning rate. Trap: --max_grad_norm 0 made every gradient 0."""
    model, tokenizer = build()
    flags = {"learning_rate": 1e-4, "ppt_learning_rate": 7e-3, "lr_scheduler_type": "constant", **flags}
    trainer = make_trainer(model, tokenizer, **flags)
    before = weights(model)
    trained_steps(trainer, model, [batch(model)])
    changes = {name: value for name, value in change(model, before).items() if value > 0}
    groups = {is_prompt(name) for name in changes}
    assert groups == {True, False}
    for name, value in changes.items():
        if name.endswith("k_proj.bias"):
            continue  # it moves all of a row's attention logits alike: its gradient is rounding
        assert value == pytest.approx(7e-3 if is_prompt(name) else 1e-4, rel=0.02), name


def test_the_prompt_has_its_own_weight_decay(build, batch, make_trainer):
    """Equal but for the decay: the difference after a step is learning rate x decay x weight."""
    ends = {}
    for decay in (0.0, 0.5):
        model, tokenizer = build()
        model.plm.eval()
        flags = {"ppt_learning_rate": 1e-2, "ppt_weight_decay": decay, "lr_scheduler_type": "constant"}
        trainer = make_trainer(model, tokenizer, freeze_dropout=True, **flags)
        before = weights(model)
        trained_steps(trainer, model, [batch(model)])
        ends[decay] = weights(model)
    for name in ("template.soft_embeddings.weight", "verbalizer.head.decoder.weight"):
        assert np.allclose(ends[0.0][name] - ends[0.5][name], 1e-2 * 0.5 * before[name], atol=1e-6), name


def test_freeze_dropout_outlives_the_step_s_train(build, batch, make_trainer):
    losses = {}
    for flag in (True, False):
        model, tokenizer = build()
        trainer = make_trainer(model, tokenizer, freeze_dropout=flag)
        inputs = batch(model)
        losses[flag] = [float(trainer.training_step(model, dict(inputs))) for _ in range(2)]
    assert losses[True][0] == losses[True][1]
    assert losses[False][0] != losses[False][1]


# ---------------------------------------------------------------------------------------------------------- losses


def test_rgl_is_one_similarity_a_pair(make_trainer, build):
    """By hand, from the formula of the paper's appendix: two classes a pair, with (1 -+ cosine) x 50 as logits."""
    import paddle

    trainer = make_trainer(*build(), use_rgl=True, alpha_rgl=0.5)
    states = np.random.default_rng(1).normal(size=(4, 48)).astype("float32")
    labels = [0, 1, 1, 2]
    total = 0.0
    for one, label in zip(states, labels):
        for other, other_label in zip(states, labels):
            cosine = float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            logits = np.array([(1 - cosine) * 50, (1 + cosine) * 50])
            total += np.logaddexp(*logits) - logits[int(label == other_label)]
    expected = total / 12 / 100 * 0.5
    for shape in ([4], [4, 1]):
        got = trainer._compute_rgl_loss(paddle.to_tensor(states), paddle.to_tensor(labels).reshape(shape))
        assert float(got) == pytest.approx(expected, rel=1e-4)
    alone = trainer._compute_rgl_loss(paddle.to_tensor(states[:1]), paddle.to_tensor([0]))
    assert float(alone) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("flags", [{"use_rdrop": True}, {"use_rgl": True}])
def test_regularisers_work_in_training_and_not_in_evaluation(build, batch, make_trainer, flags):
    import paddle

    model, tokenizer = build()
    trainer = make_trainer(model, tokenizer, **flags)
    inputs = batch(model)
    plain = {name: value for name, value in inputs.items() if name != "labels"}
    model.eval()
    loss, (_, logits) = trainer.compute_loss(model, inputs, return_outputs=True)
    cross_entropy = float(paddle.nn.functional.cross_entropy(model(**plain), inputs["labels"]))
    assert float(loss) == pytest.approx(cross_entropy, rel=1e-6) and logits.shape == [4, 3]
    model.train()
    losses = {}
    for alpha in (1.0, 3.0):
        for name in flags:
            setattr(trainer.args, name.replace("use", "alpha"), alpha)
        paddle.seed(5)
        losses[alpha] = float(trainer.compute_loss(model, inputs))
    for name in flags:
        setattr(trainer.args, name, False)
    paddle.seed(5)
    without = float(trainer.compute_loss(model, inputs))
    # Both are alpha times something positive; R-Drop also averages the cross entropies of two passes.
    assert losses[3.0] > losses[1.0] > 0 and losses[1.0] != without


def test_rdrop_is_the_two_passes_divergence(build, batch, make_trainer):
    import paddle
    import paddle.nn.functional as F

    model, tokenizer = build()
    trainer = make_trainer(model, tokenizer, use_rdrop=True, alpha_rdrop=2.0)
    inputs = batch(model)
    plain = {name: value for name, value in inputs.items() if name != "labels"}
    paddle.seed(9)
    one, other = model(**plain), model(**plain)
    paddle.seed(9)
    loss = float(trainer.compute_loss(model, inputs))
    p, q = F.softmax(one, axis=-1), F.softmax(other, axis=-1)
    divergence = float(((p - q) * (F.log_softmax(one, axis=-1) - F.log_softmax(other, axis=-1))).sum()) / 2
    mean = float(F.cross_entropy(one, inputs["labels"]) + F.cross_entropy(other, inputs["labels"])) / 2
    assert divergence > 0
    assert loss == pytest.approx(mean + 2.0 * divergence, rel=1e-5)


# ---------------------------------------------------------------------------------------------------------- export


def test_half_precision_keeps_the_answers(prompted_once, few_shot_utils):
    """The conversion for --use_fp16, run on a CPU here: inputs and outputs stay, weights are halved."""
    import onnx
    import onnxruntime

    from core.predictor import half_precision

    folder = prompted_once[1] / "export"
    data = half_precision(folder / "model.onnx")
    assert len(data) < 0.7 * (folder / "model.onnx").stat().st_size
    kinds = {tensor.data_type for tensor in onnx.load_from_string(data).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    predictor = few_shot_utils.PromptPredictor(folder, "onnx")
    features = predictor.encode(TEXTS)
    half = session.run(None, predictor._collate(features))[0]
    full = predictor.run_batch(predictor._collate(features))
    assert half.dtype == np.float32 and np.abs(half - full).max() < 0.02


def test_a_second_export_deletes_what_the_first_one_wrote(prompted, few_shot_utils, build):
    folder = prompted[1] / "export"
    (folder / "notes.txt").write_text("kept", encoding="utf-8")
    model, tokenizer = build()
    few_shot_utils.export_prompt_model(model, tokenizer, PARTS, 32, folder, "paddle")
    assert not (folder / "model.onnx").exists()  # it was the other model's
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "kept" and (folder / "plm" / "config.json").is_file()


def test_not_an_export_of_ours(trained_once, few_shot_utils):
    with pytest.raises(UsageError, match="not an export of few-shot/train.py"):
        few_shot_utils.PromptPredictor(trained_once[1] / "export", "paddle")


def test_the_template_is_not_changed_by_its_use(build):
    """PaddleNLP's templates write into the parts that they are given."""
    parts = [{"text": "text_a"}, {"soft": None}, {"mask": None}]
    before = copy.deepcopy(parts)
    build(parts)
    assert parts == before
