"""The parts of train.py that need paddle: loading, tokenising, batches, the Trainer and metrics.

Where PaddleNLP 2.8.1 or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the comment says which
fault it mends.
"""

import contextlib
import inspect
import io
import os
import pickle
import re
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.data import DataCollatorWithPadding
from paddlenlp.trainer import EarlyStoppingCallback, Trainer, TrainerCallback
from paddlenlp.trainer.trainer_utils import set_seed  # noqa: F401  (train.py takes it from here)
from paddlenlp.transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from paddlenlp.utils import serialization
from paddlenlp.utils.log import logger

from utils import RUN_FILE, UsageError, read_run_file, staged_files, stored_labels, write_json

MODEL_FILE = "model_state.pdparams"
# Seconds until a name that must be downloaded is given up: a proxy that never answers would hang for minutes.
DOWNLOAD_TIMEOUT = 25

# ------------------------------------------------------------------------------------------------ safe unpickling

# All that a file written by paddle.save or torch.save needs: arrays, tensors as (name, array), plain containers.
SAFE_GLOBALS = {
    ("builtins", "tuple"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("builtins", "set"),
    ("builtins", "bytearray"),
    ("builtins", "slice"),
    ("builtins", "complex"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("paddle.base.libpaddle", "GeneratorState"),  # a random generator's numbers, in rng_state.pth
}


class UnsafeFileError(UsageError):
    """A pickled file asks for something that is neither a tensor nor a plain container."""


def find_safe_class(module, name):
    """Resolve a global of a pickle file when it is on the list.

    Raises:
        UnsafeFileError: it is not on the list.
    """
    module = "builtins" if module == "__builtin__" else module  # its name in pickles of protocol 2
    if (module, name) not in SAFE_GLOBALS:
        raise UnsafeFileError(
            f"the file calls {module}.{name} when it is loaded, which model weights never need: it may run foreign "
            "code. Nothing of it was run. Use weights from a source you trust"
        )
    return getattr(__import__(module, fromlist=[name]), name)


class SafeUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return find_safe_class(module, name)


class _SafePickle:
    """Stands in for the pickle module inside paddle.load."""

    def __getattr__(self, name):
        return getattr(pickle, name)

    @staticmethod
    def load(file, **options):
        try:
            return SafeUnpickler(file, **options).load()
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{getattr(file, 'name', 'weights')}: {error}") from None

    @staticmethod
    def loads(data, **options):
        return SafeUnpickler(io.BytesIO(data), **options).load()


def guard_unpickling():
    """Make paddle.load and PaddleNLP's reader of torch files build nothing but tensors and plain containers.

    A .pdparams file is a pickle, and unpickling a stranger's runs their code (shown on PaddleNLP checkpoints at
    Black Hat Asia 2024). Both libraries call pickle without a limit.
    """
    import paddle.framework.io
    import paddle.framework.io_utils

    paddle.framework.io.pickle = paddle.framework.io_utils.pickle = _SafePickle()
    library_find_class = serialization.UnpicklerWrapperStage.find_class

    def find_class(self, module, name):
        # These the library replaces by its own array builders; everything else it would import.
        is_storage = module in ("torch", "torch.storage") and name in serialization._storage_type_to_dtype_to_map()
        if is_storage or module == "torch._utils":
            return library_find_class(self, module, name)
        return find_safe_class(module, name)

    if not getattr(library_find_class, "is_safe", False):
        find_class.is_safe = True
        serialization.UnpicklerWrapperStage.find_class = find_class


guard_unpickling()


# --------------------------------------------------------------------------------------------- models, tokenizers


def _no_model_message(name, why):
    return (
        f"--model_name_or_path {name}: not a local directory, and it could not be downloaded ({why}). Two ways out: "
        "give the path of a directory with config.json, the weights and the tokenizer; or build the offline encoder "
        "with `python data/build_encoder.py` and give data/offline_encoder"
    )


def load_config_and_tokenizer(name):
    """Load the small files of a model: from a directory, or by name within DOWNLOAD_TIMEOUT seconds.

    Returns:
        tuple: PaddleNLP's config and tokenizer.

    Raises:
        UsageError: no such directory, a broken config.json, no tokenizer, or a name that cannot be downloaded.
    """
    if Path(name).is_dir():
        return _load_local_config(name), _load_local_tokenizer(name)
    if re.match(r"[./~]|[A-Za-z]:[\\/]", str(name)):
        raise UsageError(f"--model_name_or_path {name}: no such directory; give the directory of a saved model")

    def download():
        return AutoConfig.from_pretrained(name), AutoTokenizer.from_pretrained(name)

    try:
        return within_seconds(DOWNLOAD_TIMEOUT, download)
    except (Exception, SystemExit) as error:
        raise UsageError(_no_model_message(name, in_short(error))) from error


def within_seconds(seconds, work, *args):
    """The result of work(*args), which is left to itself where it takes longer.

    Raises:
        TimeoutError: it took longer.
        Exception: what it raised.
    """
    result = {}

    def run():
        try:
            result["value"] = work(*args)
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in result:
        raise result["error"]
    if "value" not in result:
        raise TimeoutError(f"no answer within {seconds} s")
    return result["value"]


def _load_local_config(name):
    if not any((Path(name) / file).is_file() for file in ("config.json", "model_config.json")):
        raise UsageError(f"{name}: no config.json in this directory; give the directory of a saved model")
    try:
        return AutoConfig.from_pretrained(name)
    except Exception as error:
        raise UsageError(f"{name}/config.json: cannot be read ({in_short(error)}); save the model again") from error


def _load_local_tokenizer(name):
    try:
        return AutoTokenizer.from_pretrained(name)
    except Exception as error:
        why = in_short(error)
        raise UsageError(
            f"{name}: no usable tokenizer ({why}); copy vocab.txt and tokenizer_config.json beside the weights"
        ) from error


def in_short(error):
    """The first sentence of a library's message, without a trailing half word."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).split(". ")[0][:300]


def max_positions(config):
    """The longest input in tokens that the model has position embeddings for, or None where there is no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    # ERNIE-M and RoBERTa-like models start counting behind the padding id.
    offset = 2 if config.model_type in ("ernie_m", "roberta") else 0
    return positions - offset if positions else None


def load_model(name, config, labels):
    """Load a classifier for `labels`; weights without a classifier head, or with another one, get a fresh head.

    Args:
        name (str): directory or model name.
        config: the model's config.
        labels (list[str]): label names in class order.

    Returns:
        PretrainedModel: forward(input_ids, …) gives logits of shape [batch, len(labels)].

    Raises:
        UsageError: missing, broken or unsafe weights; a name that cannot be downloaded.
    """
    old_labels = stored_labels(config.to_dict())
    options = {"num_labels": len(labels), "ignore_mismatched_sizes": True}
    model = load_weights(AutoModelForSequenceClassification, name, **options)
    if old_labels is not None and old_labels != labels:
        logger.warning(
            f"{name} was trained on other labels ({len(old_labels)}: {' '.join(old_labels[:12])}); its encoder is "
            f"kept, the classifier head is initialised anew for {len(labels)} labels"
        )
        reset_head(model)
    # ignore_mismatched_sizes leaves LABEL_n names behind.
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    model.config.use_cache = False  # a HuggingFace config says True, and fine-tuning fails on it
    return model


def load_weights(auto_class, name, **options):
    """Load a model by one of PaddleNLP's Auto classes, with the ways of its weights to fail said in plain words.

    Args:
        auto_class: AutoModelForSequenceClassification or another.
        name (str): directory or model name.
        **options: for from_pretrained.

    Raises:
        UsageError: missing, broken or unsafe weights; a name that cannot be downloaded.
    """
    try:
        with loadable_directory(name) as (directory, more_options):
            return auto_class.from_pretrained(directory, **options, **more_options)
    except UsageError:
        raise
    except Exception as error:
        if Path(name).is_dir():
            raise UsageError(
                f"{name}: the weights cannot be loaded ({in_short(error)}); the file is missing, cut "
                "short or of another model: save or download it again"
            ) from error
        raise UsageError(_no_model_message(name, in_short(error))) from error


def reset_head(model):
    """Draw the classifier's weights anew, as at the model's creation: normal(0, initializer_range), bias 0."""
    scale = getattr(model.config, "initializer_range", 0.02)
    head = model.classifier
    for layer in [head] if isinstance(head, paddle.nn.Linear) else head.sublayers():
        if isinstance(layer, paddle.nn.Linear):
            layer.weight.set_value(paddle.normal(0.0, scale, layer.weight.shape))
            layer.bias.set_value(paddle.zeros_like(layer.bias))


def fit_masked_words(states, targets, embeddings):
    """Ridge regression from a model's states at masked places to the unit embeddings of the tokens that were there.

    Args:
        states (np.ndarray): [places, hidden].
        targets (np.ndarray): token ids, [places].
        embeddings (np.ndarray): the model's word embeddings, [vocabulary, hidden].

    Returns:
        tuple[np.ndarray, np.ndarray]: weights [hidden + 1, hidden], the last row being the bias, and the embeddings
        less their mean, of length 1.
    """
    embeddings = embeddings - embeddings.mean(axis=0)
    embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    states = np.pad(states.astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    squares = states.T @ states + np.eye(states.shape[1])
    return np.linalg.solve(squares, states.T @ embeddings[targets]), embeddings


@contextlib.contextmanager
def loadable_directory(name):
    """Yield a directory that from_pretrained can read, and the options it needs.

    A HuggingFace directory needs convert_from_torch, which writes model_state.pdparams beside the source's weights:
    it is given a temporary directory of links instead.
    """
    source = Path(name)
    torch_files = ("model.safetensors", "pytorch_model.bin")
    is_torch = source.is_dir() and not (source / MODEL_FILE).exists() and not (source / "model.pdparams").exists()
    if not is_torch or not any((source / file).exists() for file in torch_files):
        yield name, {}
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in source.iterdir():
            if path.is_file():
                try:
                    os.symlink(path.resolve(), Path(folder) / path.name)
                except OSError:
                    shutil.copy(path, folder)
        yield folder, {"convert_from_torch": True}


# ----------------------------------------------------------------------------------------------- tokens and batches


class TextDataset(paddle.io.Dataset):
    """Tokenised samples in memory: dicts of input_ids, token_type_ids (where the model has them) and labels.

    Texts are tokenised when the data set is made, not when a batch is: paddle's DataLoader hangs for ever when a
    data set raises inside it (dataloader_iter.py, _thread_loop).
    """

    def __init__(self, texts, label_ids, encode):
        self.features = encode(texts)
        for feature, label_id in zip(self.features, label_ids):
            feature["labels"] = label_id
        self.lengths = np.array([len(feature["input_ids"]) for feature in self.features])

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return self.features[index]


def uses_token_types(model_class):
    """False for models such as ERNIE-M whose forward takes no token_type_ids."""
    return "token_type_ids" in inspect.signature(model_class.forward).parameters


def make_encoder(tokenizer, max_length, token_types, texts_to_prove=()):
    """Return a function from texts to features, with the Rust tokenizer where it gives PaddleNLP's own ids.

    Args:
        tokenizer: PaddleNLP's tokenizer, which decides what is right.
        max_length (int): tokens kept of a text, [CLS] and [SEP] included.
        token_types (bool): whether the model takes token_type_ids.
        texts_to_prove (list[str]): texts on which both must agree before the fast one is used.

    Returns:
        Callable[[list[str]], list[dict]]: one dict a text.
    """

    def encode_slowly(texts):
        if not texts:
            return []
        encoded = tokenizer(
            list(texts), max_length=max_length, truncation=True, return_token_type_ids=token_types,
            return_attention_mask=False,
        )  # fmt: skip
        names = ["input_ids", "token_type_ids"] if token_types else ["input_ids"]
        return [{name: encoded[name][index] for name in names} for index in range(len(texts))]

    fast = rust_tokenizer(tokenizer, max_length)
    if fast is None:
        return encode_slowly

    def encode_all_fast(texts):
        names = {"input_ids": "ids", "token_type_ids": "type_ids"} if token_types else {"input_ids": "ids"}
        encodings = fast.encode_batch(list(texts))
        return [{name: getattr(encoding, field) for name, field in names.items()} for encoding in encodings]

    known, strange = set(), set()

    def encode_fast(texts):
        # Each new character is tried once: the two know different versions of Unicode, so that they differ on some.
        new = sorted(set().union(*texts) - known)
        probes = [f"头{character}疼a{character}b" for character in new]
        pairs = zip(new, encode_all_fast(probes), encode_slowly(probes))
        strange.update(character for character, one, other in pairs if one != other)
        known.update(new)
        features = encode_all_fast(texts)
        if strange:
            odd = [index for index, text in enumerate(texts) if not strange.isdisjoint(text)]
            for index, feature in zip(odd, encode_slowly([texts[index] for index in odd])):
                features[index] = feature
        return features

    step = max(1, len(texts_to_prove) // 500)
    probe = [*texts_to_prove[::step], "ＡＢＣ abc１２３，。①Ⅲ℃ β-受体 é\u3000x" * 20, "中" * max_length]
    return encode_fast if encode_all_fast(probe) == encode_slowly(probe) else encode_slowly


def pad_batch(features, names, pad_token_id):
    """Arrays of one batch.

    Args:
        features (list[dict]): as make_encoder's function gives them.
        names (Iterable[str]): the inputs wanted, such as input_ids and token_type_ids.
        pad_token_id (int): fills input_ids; 0 fills the others.

    Returns:
        dict[str, np.ndarray]: int64 [len(features), longest].
    """
    width = max(len(feature["input_ids"]) for feature in features)
    batch = {}
    for name in names:
        batch[name] = np.full((len(features), width), pad_token_id if name == "input_ids" else 0, "int64")
        for row, feature in zip(batch[name], features):
            row[: len(feature[name])] = feature[name]
    return batch


def rust_tokenizer(tokenizer, max_length):
    """Build HuggingFace's Rust WordPiece tokenizer like a BERT or ERNIE tokenizer, or None for other kinds.

    PaddleNLP's BasicTokenizer takes symbols (Unicode class S) and a few letters for punctuation, which BERT's
    original does not: they are split off before BERT's own rules apply.
    """
    if type(tokenizer).__name__ not in ("ErnieTokenizer", "BertTokenizer"):
        return None
    from tokenizers import BertWordPieceTokenizer, Regex
    from tokenizers.pre_tokenizers import BertPreTokenizer, Sequence, Split

    vocab = dict(tokenizer.vocab.token_to_idx)
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}
    if any(getattr(tokenizer, name) != token or token not in vocab for name, token in special.items()):
        return None
    lowercase = bool(tokenizer.init_kwargs.get("do_lower_case", True))
    fast = BertWordPieceTokenizer(vocab, lowercase=lowercase)
    odd = Split(Regex(r"[\p{S}\u00AD\u00B2\u00BA\u3007\u00B5\u00D8\u014B\u01B1]"), "isolated")
    fast._tokenizer.pre_tokenizer = Sequence([odd, BertPreTokenizer()])
    fast.enable_truncation(max_length)
    return fast


class LengthGroupedBatchSampler(paddle.io.DistributedBatchSampler):
    """Batches of similar length: shuffled, sorted by length inside chunks, and the batches shuffled again.

    The cost of a step follows the longest text of its batch, and a random batch of short queries nearly always
    holds a long one. The order depends on (seed, epoch) alone, so a resumed run goes on with the order it had:
    the Trainer calls set_epoch because this is a DistributedBatchSampler.

    Args:
        lengths (np.ndarray): tokens of each sample.
        batch_size (int): samples of a batch on one process.
        seed (int): with the epoch, fixes the order.
        num_replicas, rank (int): processes, and which of them this is. Samples are repeated, at most
            num_replicas - 1 of them, so that all processes get equally many.
        drop_last (bool): leave out a last batch that is not full.
        group (bool): False gives plain random batches.
        batches_per_chunk (int): larger chunks pad less, smaller ones mix more.
    """

    def __init__(
        self, lengths, batch_size, seed, num_replicas=1, rank=0, drop_last=False, group=True, batches_per_chunk=50
    ):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.nranks = num_replicas
        self.local_rank = rank
        self.drop_last = drop_last
        self.group = group
        self.chunk_size = batches_per_chunk * batch_size * num_replicas
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def global_batches(self):
        """The epoch's batches over all processes, as arrays of sample indices."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        if self.group:
            chunks = [order[start : start + self.chunk_size] for start in range(0, len(order), self.chunk_size)]
            order = np.concatenate([chunk[np.argsort(self.lengths[chunk], kind="stable")] for chunk in chunks])
        size = self.batch_size * self.nranks
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        if self.drop_last and len(batches[-1]) < size:
            batches.pop()
        return [batches[index] for index in rng.permutation(len(batches))] if self.group else batches

    def __iter__(self):
        for batch in self.global_batches():
            short = -len(batch) % self.nranks
            batch = np.concatenate([batch, np.resize(batch, short)])
            share = len(batch) // self.nranks
            yield batch[self.local_rank * share : (self.local_rank + 1) * share].tolist()

    def __len__(self):
        size = self.batch_size * self.nranks
        return len(self.lengths) // size if self.drop_last else -(-len(self.lengths) // size)


class LengthSortedBatchSampler(LengthGroupedBatchSampler):
    """Batches for evaluation: all samples once, longest first, so that a lack of memory shows at the start.

    What the processes compute, joined batch by batch, comes in the order of `order`; repeated samples come last
    and are cut off by the Trainer.
    """

    def __init__(self, lengths, batch_size, num_replicas=1, rank=0):
        super().__init__(lengths, batch_size, seed=0, num_replicas=num_replicas, rank=rank)
        self.order = np.argsort(-self.lengths, kind="stable")

    def global_batches(self):
        size = self.batch_size * self.nranks
        return [self.order[start : start + size] for start in range(0, len(self.order), size)]


# ------------------------------------------------------------------------------------------------------- metrics


def compute_metrics(prediction):
    """Accuracy and macro-averaged precision, recall and F1, as fractions of 1.

    Args:
        prediction (EvalPrediction): logits [samples, classes] and label ids [samples] or [samples, 1].
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    logits, label_ids = prediction.predictions, np.asarray(prediction.label_ids).reshape(-1)
    predicted = logits.argmax(axis=-1)
    classes = np.arange(logits.shape[-1])
    precision, recall, f1, _ = precision_recall_fscore_support(
        label_ids, predicted, labels=classes, average="macro", zero_division=0
    )
    return {
        "accuracy": float(accuracy_score(label_ids, predicted)),
        "macro_precision": float(precision),
        "macro_recall": float(recall),
        "macro_f1": float(f1),
    }


# ----------------------------------------------------------------------------------------------------- checkpoints


def checkpoint_step(path):
    """The step in the name `checkpoint-<step>`, or None."""
    match = re.fullmatch(r"checkpoint-(\d+)", Path(path).name)
    return int(match[1]) if match else None


def what_is_incomplete(checkpoint):
    """Say what a checkpoint lacks, or None when all of it is there.

    run.json is written last and holds every file's size, so files that are missing or cut short are seen without
    loading them.
    """
    run = read_run_file(checkpoint)
    if not run:
        return f"{RUN_FILE}, which is written last, is missing"
    for name, size in run.get("files", {}).items():
        path = Path(checkpoint) / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def find_checkpoints(output_dir):
    """All checkpoint-<step> folders, the latest first."""
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if path.is_dir() and checkpoint_step(path)]
    return sorted(folders, key=checkpoint_step, reverse=True)


def seed_dropout(seed, step, process):
    """Make the dropout of a step a function of (seed, step, process).

    Paddle pickles only the seed of a CPU generator, not its state, so a resumed run could not go on where it was.
    """
    paddle.seed(int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0]))


class RunCallback(TrainerCallback):
    """Make a resumed run equal to one without a break, which the library forgets."""

    def __init__(self, trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        # The best checkpoint is stored with the path of the output_dir as it was called then.
        if state.best_model_checkpoint is not None:
            moved = os.path.join(args.output_dir, Path(state.best_model_checkpoint).name)
            if not os.path.exists(state.best_model_checkpoint) and os.path.exists(moved):
                state.best_model_checkpoint = moved

    def on_epoch_begin(self, args, state, control, **kwargs):
        checkpoint, self.trainer.resumed_from = self.trainer.resumed_from, None
        if checkpoint is not None:
            # The sum of losses starts at 0 again, but is divided by all steps in the end.
            self.trainer._total_loss_scalar = read_run_file(checkpoint).get("total_loss", 0.0)

    def on_step_begin(self, args, state, control, **kwargs):
        seed_dropout(args.seed, state.global_step, max(0, args.dataset_rank))


class ResumableEarlyStopping(EarlyStoppingCallback):
    """EarlyStoppingCallback whose count of evaluations without progress survives a resume."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        metric = args.metric_for_best_model
        metric = metric if metric.startswith("eval_") else f"eval_{metric}"
        values = [entry[metric] for entry in state.log_history if metric in entry]
        if values:
            best = int(np.argmax(values) if args.greater_is_better else np.argmin(values))
            self.early_stopping_patience_counter = len(values) - 1 - best


# -------------------------------------------------------------------------------------------------------- Trainer


class ClassificationTrainer(Trainer):
    """PaddleNLP's Trainer with length-grouped batches, checkpoints that are known to be whole, and rotation.

    Args:
        group_by_length (bool): see LengthGroupedBatchSampler.
        max_length (int): tokens kept of a text; stored with what is exported.
        fingerprint (dict | None): what makes a run this run; stored in its checkpoints.
        **kwargs: the Trainer's own.
    """

    def __init__(self, *args, group_by_length=True, max_length=128, fingerprint=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_length = max_length
        self.group_by_length = group_by_length
        self.fingerprint = fingerprint
        self.resumed_from = None
        self.add_callback(RunCallback(self))

    def _get_train_sampler(self):
        return LengthGroupedBatchSampler(
            self.train_dataset.lengths,
            self.args.per_device_train_batch_size,
            seed=self.args.seed,
            num_replicas=max(1, self.args.dataset_world_size),
            rank=max(0, self.args.dataset_rank),
            drop_last=self.args.dataloader_drop_last,
            group=self.group_by_length,
        )

    def _get_eval_sampler(self, eval_dataset):
        return LengthSortedBatchSampler(
            eval_dataset.lengths,
            self.args.per_device_eval_batch_size,
            num_replicas=max(1, self.args.dataset_world_size),
            rank=max(0, self.args.dataset_rank),
        )

    def evaluation_loop(self, dataloader, *args, **kwargs):
        """Run the library's loop over the sorted batches and put logits and labels back into file order."""
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        for callback in self.callback_handler.callbacks:
            # predict leaves its progress bar open, and the next log line behind it.
            if getattr(callback, "prediction_bar", None) is not None:
                callback.prediction_bar.close()
                callback.prediction_bar = None
        order = dataloader.batch_sampler.order

        def restore(values):
            if values is None or len(values) != len(order):
                return values
            restored = np.empty_like(values)
            restored[order] = values
            return restored

        return output._replace(predictions=restore(output.predictions), label_ids=restore(output.label_ids))

    def train(self, resume_from_checkpoint=None, **kwargs):
        self.resumed_from = resume_from_checkpoint
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save_checkpoint(self, model, metrics=None):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save and (folder / RUN_FILE).exists():
            os.remove(folder / RUN_FILE)
        super()._save_checkpoint(model, metrics=metrics)
        if self.args.should_save:
            files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
            run = {"fingerprint": self.fingerprint, "total_loss": self._total_loss_scalar, "files": files}
            with staged_files(folder) as stage:
                write_json(stage / RUN_FILE, run)
            self._delete_old_checkpoints()

    def _rotate_checkpoints(self, use_mtime=False, output_dir=None):
        """Left to _delete_old_checkpoints: the library does nothing in one process (it asks for local_rank 0,
        which is -1 there), and in several it deletes every checkpoint-* it finds, other runs' too."""

    def _delete_old_checkpoints(self):
        """Keep the last save_total_limit checkpoints of this run, and the best one."""
        limit = self.args.save_total_limit
        if not limit or limit < 1:
            return
        own = [
            path
            for path in find_checkpoints(self.args.output_dir)
            if read_run_file(path).get("fingerprint") == self.fingerprint
        ]
        best = Path(self.state.best_model_checkpoint).name if self.state.best_model_checkpoint else None
        keep = {own[0].name, best}
        for path in own:
            if len(keep - {None}) < limit:
                keep.add(path.name)
        for path in own:
            if path.name not in keep:
                logger.info(f"Deleting older checkpoint [{path}] due to args.save_total_limit")
                shutil.rmtree(path, ignore_errors=True)


def make_collator(tokenizer):
    """Pad a batch to its longest text, in numpy: paddle tensors made in a worker process crash it."""
    return DataCollatorWithPadding(tokenizer, return_tensors="np")
