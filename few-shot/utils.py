"""The parts of few-shot/ that need paddle: the prompted model, its Trainer, its export, and what runs the export.

Where PaddleNLP 2.8.1's paddlenlp.prompt or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the
comment says which fault it mends.
"""

import contextlib
import copy
import inspect
import sys
import types
from pathlib import Path

import paddle
import paddle.nn.functional as F
from paddlenlp.layers import Linear as TransposedLinear
from paddlenlp.prompt import (
    AutoTemplate,
    PromptModelForSequenceClassification,
    PromptTrainer,
    SoftTemplate,
    SoftVerbalizer,
)
from paddlenlp.prompt import template as library_template
from paddlenlp.prompt.prompt_utils import PromptDataCollatorWithPadding
from paddlenlp.trainer import Trainer
from paddlenlp.transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer
from paddlenlp.utils.log import logger

from core.checkpoints import EXPORT_FILE
from core.confidence import temperature_of
from core.cpu import paddle_version
from core.encoders import make_encoder as make_plain_encoder
from core.export import (
    convert_to_onnx,
    delete_replaced,
    file_sizes,
    save_labels_and_tokenizer,
    save_onnx,
    versions,
    write_graph,
)
from core.label_paths import separator_facts, stored_separator
from core.loading import MODEL_FILE, check_length, load_config_and_tokenizer, load_masked_lm
from core.predictor import Predictor
from core.progress import progress_bar
from core.trainer import ClassificationTrainer
from utils import UsageError, read_json, staged_files, write_json

# In a checkpoint and in an export: the pretrained model's config, and its weights where they are saved.
PLM_DIR = "plm"
# Texts from which on a progress bar shows the tokenisation, which PaddleNLP's templates do text by text.
MANY_TEXTS = 5000


# ------------------------------------------------------------------------------------------------------- the model


def load_pretrained(name, parts, label_words, max_seq_length):
    """Build the prompted model from a pretrained one.

    Args:
        name (str): directory or model name.
        parts (list[dict]): the template, as train.py's parse_prompt gives it.
        label_words (dict[str, str]): label to word; the labels' sorted order gives the class ids.
        max_seq_length (int): tokens of an input, template included.

    Returns:
        tuple: PromptModelForSequenceClassification and tokenizer.

    Raises:
        UsageError: no such model, no head for masked words, or no room for a text.
    """
    _, tokenizer = load_config_and_tokenizer(name)
    plm = load_promptable(name)
    return prompted(plm, tokenizer, parts, label_words, max_seq_length, name), tokenizer


def load_trained(folder, parts, label_words, max_seq_length):
    """Build the prompted model that a training left in `folder`; see load_pretrained."""
    folder = Path(folder)
    try:
        config = AutoConfig.from_pretrained(str(folder / PLM_DIR))
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        plm = AutoModelForMaskedLM.from_config(config)
        model = prompted(plm, tokenizer, parts, label_words, max_seq_length, folder)
        model.set_state_dict(paddle.load(str(folder / MODEL_FILE), return_numpy=True))
    except UsageError:
        raise
    except Exception as error:
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UsageError(f"{folder}: cannot be loaded ({why[0]}); train again, or give another checkpoint") from error
    return model, tokenizer


def prompted(plm, tokenizer, parts, label_words, max_seq_length, name):
    """Put template, masked language model and verbalizer together."""
    check_length("--max_seq_length", max_seq_length, plm.config, name)
    is_soft = any("soft" in part or "soft_id" in part for part in parts)
    if is_soft and "inputs_embeds" not in inspect.signature(type(plm).forward).parameters:
        raise UsageError(
            f"--model_name_or_path {name}: PaddleNLP's {type(plm).__name__} takes no soft prompt; write a hard one, "
            "such as --prompt \"{'text': 'text_a'}的主题是{'mask'}\", or use an ERNIE or RoBERTa model"
        )
    template = make_template(parts, tokenizer, max_seq_length, plm)
    return PromptModelForSequenceClassification(plm, template, make_verbalizer(label_words, tokenizer, plm))


def load_promptable(name):
    """Load a model with its head for masked words, into which the labels' rows can be put.

    Raises:
        UsageError: the weights have no such head, or the kind of model has none that can be prompted.
    """
    model = load_masked_lm(name)
    if not any(isinstance(layer, TransposedLinear) for layer in model.sublayers()):
        raise UsageError(
            f"--model_name_or_path {name}: a {type(model).__name__} cannot be prompted by PaddleNLP; use an ERNIE, "
            "BERT or RoBERTa model"
        )
    return model


def make_verbalizer(label_words, tokenizer, model):
    """Replace the model's head by one row a label, in sorted order: its word's embeddings, averaged.

    The library scrambles the rows (prompt/verbalizer.py:399 reshapes [tokens, hidden] to [hidden, …] where it means
    to transpose), so that none has to do with its word.
    """
    decoder = next(layer for layer in model.sublayers() if isinstance(layer, TransposedLinear))
    embeddings = decoder.weight.clone()  # [vocabulary, hidden]; the construction replaces the decoder
    verbalizer = SoftVerbalizer(label_words, tokenizer, model)
    ids, is_token = verbalizer.token_ids.squeeze(1), verbalizer.token_mask.squeeze(1)  # both [labels, tokens]
    weights = is_token.astype(embeddings.dtype).unsqueeze(-1)
    rows = (F.embedding(ids, embeddings) * weights).sum(axis=1) / weights.sum(axis=1)
    getattr(verbalizer.head, verbalizer.head_name[-1]).weight.set_value(rows)

    unknown = [label for label, row in zip(verbalizer.labels, ids.tolist()) if tokenizer.unk_token_id in row]
    if unknown:
        logger.warning(
            f"The words of these labels have characters that the vocabulary lacks: {' '.join(unknown)}; give others "
            "in label.txt, as label==word"
        )
    return verbalizer


def freeze(plm):
    """Make backward skip the pretrained weights, but for LayerNorm's, which the optimizer is not given.

    With stop_gradient on its weight, LayerNorm's backward on a CPU passes on gradients as if the scale were 1.
    """
    for layer in plm.sublayers(include_self=True):
        for weight in layer.parameters(include_sublayers=False):
            weight.stop_gradient = not isinstance(layer, paddle.nn.LayerNorm)


# ----------------------------------------------------------------------------------------------- template and tokens


def make_template(parts, tokenizer, max_seq_length, model):
    """PaddleNLP's template.

    Raises:
        UsageError: the template alone has max_seq_length tokens or more.
    """
    template = AutoTemplate.create_from(copy.deepcopy(parts), tokenizer, max_seq_length, model=model)
    length = template_length(template, dict.fromkeys(template.example_keys, ""))
    if length >= max_seq_length:
        raise UsageError(
            f"--max_seq_length {max_seq_length}: the prompt, [CLS] and [SEP] take {length} tokens, which leaves none "
            "for the text; shorten the prompt or raise --max_seq_length"
        )
    return template


def template_length(template, empty_example):
    """The tokens of an input whose text is empty."""
    tokenizer = template.prompt_tokenizer
    limit, tokenizer.max_length = tokenizer.max_length, sys.maxsize
    length = len(template(empty_example)["input_ids"])
    tokenizer.max_length = limit
    return length


def make_encoder(template):
    """Return a function from texts to features: dicts of lists, such as input_ids, and masked_positions."""
    tokenizer = template.tokenizer
    (key,) = template.example_keys

    def encode(texts):
        # A mask that is written in a text would be one more mask than the template's.
        clean = (text.replace(tokenizer.mask_token, tokenizer.unk_token) for text in texts)
        bar = progress_bar(clean, total=len(texts), desc="Tokenising", disable=len(texts) < MANY_TEXTS)
        return [template({key: text}) for text in bar]

    return encode


def make_collator(tokenizer, **options):
    """Pad a batch to its longest text, in numpy: paddle tensors made in a worker process crash it."""
    return PromptDataCollatorWithPadding(tokenizer, padding=True, return_tensors="np", **options)


# -------------------------------------------------------------------------------------------------------- Trainer


def _named_parameters(template, prefix="", include_sublayers=True):
    """A soft template's own weights, without the word embeddings that it borrows.

    The library's version takes no arguments: paddle.DataParallel, which asks each layer for its weights without
    those of its sublayers, ends in a TypeError.
    """
    if not include_sublayers:
        return []
    return [*template.soft_embeddings.named_parameters(), *template.encoder_list.named_parameters()]


SoftTemplate.named_parameters = _named_parameters


class _PaddleWithOldWhere:
    """Stands in for paddle inside paddlenlp.prompt.template: where(condition) gives indices [n, 1], as in Paddle 2.

    Paddle 3 gives [n], and the soft encoders (template.py:488 squeezes axis 1) end in an IndexError.
    """

    def __getattr__(self, name):
        return getattr(paddle, name)

    @staticmethod
    def where(condition, x=None, y=None):
        if x is not None:
            return paddle.where(condition, x, y)
        return tuple(index.reshape([-1, 1]) for index in paddle.where(condition))


if paddle_version().startswith("3."):
    library_template.paddle = _PaddleWithOldWhere()


class FewShotTrainer(ClassificationTrainer, PromptTrainer):
    """PaddleNLP's PromptTrainer with the batches, checkpoints and resume of core's ClassificationTrainer.

    The data sets are core.batches.TextDataset, made by make_encoder's function.
    """

    def _map_dataset(self, dataset):
        """The data is encoded already. The library maps it in place and lazily: once more for each use."""
        return dataset

    def _load_from_checkpoint(self, resume_from_checkpoint=None):
        """Load the weights alone: a second template, as the library makes, has parameters of other names, so that
        the optimizer's state would not fit it."""
        Trainer._load_from_checkpoint(self, resume_from_checkpoint)

    def _save(self, output_dir=None, *args, **kwargs):
        super()._save(output_dir, *args, **kwargs)
        self.pretrained_model.config.save_pretrained(str(Path(output_dir or self.args.output_dir) / PLM_DIR))

    def create_optimizer(self, lr_scheduler=None):
        """Give the prompt's weights (soft tokens, their encoder, the labels' rows) settings of their own.

        The library's version wants --max_steps for --freeze_plm and forgets the --ppt_ flags there, and
        --max_grad_norm 0 makes all its gradients 0.
        """
        if self.optimizer is not None:
            return self.optimizer
        args, verbalizer = self.args, self.verbalizer
        pretrained = [*self.pretrained_model.parameters(), *dict(verbalizer.non_head_parameters()).values()]
        prompt = [*self.template.parameters(), *dict(verbalizer.head_parameters()).values()]
        prompt_group = {
            "params": [weight for weight in prompt if not weight.stop_gradient],
            "learning_rate": args.ppt_learning_rate / args.learning_rate,
            "weight_decay": args.ppt_weight_decay,
            "beta1": args.ppt_adam_beta1,
            "beta2": args.ppt_adam_beta2,
            "epsilon": args.ppt_adam_epsilon,
        }
        pretrained_group = {"params": [weight for weight in pretrained if not weight.stop_gradient]}
        groups = [prompt_group] if args.freeze_plm else [pretrained_group, prompt_group]
        names = self._get_model().named_parameters()
        decayed = {weight.name for name, weight in names if "bias" not in name and "norm" not in name}
        optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(args)
        self.optimizer = optimizer_class(
            learning_rate=lr_scheduler or self.lr_scheduler,
            parameters=groups,
            apply_decay_param_fun=lambda name: name in decayed,
            weight_decay=args.weight_decay,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(args.max_grad_norm) if args.max_grad_norm > 0 else None,
            **options,
        )
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False):
        """Cross entropy, and in training R-Drop and RGL where they are asked for; the library adds them to the
        loss of an evaluation too."""
        if self.args.freeze_dropout:
            self.pretrained_model.eval()  # each step's model.train() turns dropout on again
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        inputs["return_hidden_states"] = True
        logits, hidden_states = model(**inputs)
        loss = self.criterion(logits, labels)
        if model.training and self.args.use_rdrop:
            loss = self._compute_rdrop_loss(model, inputs, labels, logits, loss)
        if model.training and self.args.use_rgl:
            hidden_size = hidden_states.shape[-1]
            at_mask = paddle.gather(hidden_states.reshape([-1, hidden_size]), inputs["masked_positions"])
            loss = loss + self._compute_rgl_loss(at_mask, labels)
        return (loss, (loss, logits)) if return_outputs else loss

    def _compute_rgl_loss(self, embeddings, labels):
        """Make texts of one label similar and those of others not: RGL (Findings of NAACL 2022, 81).

        The library compares two whole sequences unit by unit and takes the list of similarities for the logits of
        a two-class problem; here it is one similarity a pair, of the states at the mask.

        Args:
            embeddings: [batch, hidden].
            labels: class ids [batch] or [batch, 1].
        """
        labels, size = labels.reshape([-1, 1]), len(embeddings)
        unit = F.normalize(embeddings, axis=-1)
        similarity = paddle.matmul(unit, unit, transpose_y=True).reshape([-1])
        logits = paddle.stack([(1 - similarity) * 50, (1 + similarity) * 50], axis=-1)
        is_same = (labels == labels.T).astype("int64").reshape([-1])
        total = F.cross_entropy(logits, is_same, reduction="sum")
        return total / max(1, size * (size - 1)) / 100 * self.args.alpha_rgl


# --------------------------------------------------------------------------------------------------------- export


class DividedBy(paddle.nn.Layer):
    """A layer whose output is divided by a number."""

    def __init__(self, layer, divisor):
        super().__init__()
        self.layer, self.divisor = layer, divisor

    def forward(self, inputs):
        return self.layer(inputs) / self.divisor


@contextlib.contextmanager
def tempered(model, temperature):
    """Let a prompted model's logits be divided by a temperature for a while, in what is exported too."""
    if temperature == 1.0:
        yield
        return
    verbalizer, head = model.verbalizer, model.verbalizer.head
    verbalizer.head = DividedBy(head, temperature)
    try:
        yield
    finally:
        verbalizer.head = head


def export_prompt_model(model, tokenizer, parts, max_seq_length, folder, export_type="paddle", facts=None):
    """Write an export folder: the static graph, and what Taskflow(mode="prompt") and infer.py need.

        model.pdmodel, .pdiparams     the static graph
        model.onnx                    with export_type onnx
        tokenizer files, id2label.json, template_config.json, verbalizer_config.json
        model_state.pdparams, plm/    the model for Taskflow's is_static_model=False; plm/ it wants in both cases
        export.json                   template, max_length, versions, metrics on dev, temperature, sizes of all files
        README.md, README_en.md       the model card, which prompt_steps.py writes

    The model's forward is a static function afterwards: evaluate before.

    Args:
        model (PromptModelForSequenceClassification): it is put into evaluation mode.
        tokenizer: its tokenizer; saved with model_max_length = max_seq_length.
        parts (list[dict]): the template.
        max_seq_length (int): tokens of an input in training.
        folder: the export folder. Files of an earlier export that this one does not replace are removed.
        export_type (str): paddle or onnx.
        facts (dict | None): more for export.json; the temperature in its calibration goes into the graphs.

    Raises:
        UsageError: the conversion to ONNX failed; the folder is then as it was.
    """
    model.eval()
    labels = model.verbalizer.labels
    old_files = read_json(Path(folder) / EXPORT_FILE).get("files", {})
    with staged_files(folder) as stage:
        with tempered(model, temperature_of(facts or {})):
            write_graph(model, model.get_input_spec(), stage)
        if export_type == "onnx":
            save_onnx(convert_to_onnx(stage, "model"), stage / "model.onnx")
        save_labels_and_tokenizer(stage, tokenizer, labels, max_seq_length)
        paddle.save(model.state_dict(), str(stage / MODEL_FILE))
        model.plm.save_pretrained(str(stage / PLM_DIR))
        model.template.save(str(stage))
        model.verbalizer.save(str(stage))
        for name in ("template_state.pdparams", "verbalizer_state.pdparams"):  # they are in model_state.pdparams
            (stage / name).unlink(missing_ok=True)
        files = file_sizes(stage)
        content = {"max_length": max_seq_length, "num_labels": len(labels), "types": ["paddle"], "template": parts}
        content["types"] += ["onnx"] if export_type == "onnx" else []
        content.update(separator_facts(labels, stored_separator(model.plm.config.to_dict())))
        content.update(facts or {})
        write_json(stage / EXPORT_FILE, {**content, "versions": versions(), "files": files}, ascii_only=True)
    delete_replaced(folder, old_files, files)


class PromptPredictor(Predictor):
    """A prompted classifier read from an export folder; see core.predictor.Predictor.

    Args:
        max_seq_length (int | None): tokens of an input, template included; None means as in training.
    """

    def __init__(self, *args, max_seq_length=None, **options):
        self._wanted_length = max_seq_length
        super().__init__(*args, **options)
        # Of the texts without the template, whose soft tokens have ids of their own.
        self.watch.encode = self._encode_plain

    def look(self, texts, features):
        super().look(texts, None)

    def _make_encoder(self, tokenizer):
        self.max_length = self._wanted_length or self.max_length
        parts = read_json(self.folder / EXPORT_FILE).get("template")
        if not parts:
            raise UsageError(
                f"{self.folder}: not an export of few-shot/train.py; use core/predictor.py or Taskflow for it"
            )
        # A soft template wants the model's word embeddings, of which tokenising needs none.
        stand_in = types.SimpleNamespace(get_input_embeddings=lambda: paddle.nn.Embedding(len(tokenizer), 1))
        template = make_template(parts, tokenizer, self.max_length, stand_in)
        self._collator = make_collator(tokenizer, return_attention_mask=True)
        self._encode_plain = make_plain_encoder(tokenizer, self.max_length, token_types=False)
        return make_encoder(template)

    def _collate(self, features):
        batch = self._collator(features)
        mask = batch["attention_mask"][:, None, None, :]
        batch["attention_mask"] = ((1 - mask) * -1e4).astype("float32")
        return {name: batch[name] for name in self.input_names}
