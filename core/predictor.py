"""Run an export folder (see export.py) in any of its formats: Paddle Inference, ONNX Runtime, INT8.

ONNX formats of a folder with tokenizer.json need onnxruntime, tokenizers and numpy alone; others need PaddleNLP.

from core.predictor import Predictor
predictor = Predictor("checkpoint/export", format="onnx_int8")
for label, score in predictor.classify(["头疼挂什么科", "医保卡能刷吗"]): ...
"""

import contextlib
import copy
import ctypes
import functools
import logging
import os
import sys
from pathlib import Path

import numpy as np

from core.answers import Answers, read_label_names
from core.answers import softmax as softmax  # which others import from here
from core.checkpoints import (
    BLEND,
    CASCADE,
    EXPORT_FILE,
    FORMATS,
    NGRAM,
    SERVED_FORMATS,
    STAGED_MODELS,
    STUDENT_FORMATS,
)
from core.cpu import usable_cores
from core.encoders import make_encoder, pad_batch, run_sorted
from core.long_texts import KEY, LongText, flat
from core.ngram_student import STUDENT_FILE
from core.students import STUDENT_FOLDER, BlendPredictor, CascadePredictor, NgramPredictor, read_stages
from core.tokenizer_json import RUNTIME_KEY, TOKENIZER_FILE, no_runtime, read_encoder
from core.vocabulary import UnknownWatch
from utils import UsageError, read_json

ONNX_FORMATS = ("onnx", "onnx_int8")

# What paddle_bf16 computes in bfloat16: an encoder's own steps, which is as fast as all that Paddle would take. Among
# the others it has none for the n-grams' tower (the graph fails), whose small numbers it would round away besides.
BFLOAT16_OPS = {"fc", "matmul", "matmul_v2", "fused_matmul", "softmax", "layer_norm", "gelu"}
BFLOAT16_OPS |= {"elementwise_add", "reshape2", "transpose2", "fused_transpose"}

# What ONNX Runtime would make one step of, and is left as it is on a CPU: its LayerNormalization adds up number by
# number, and takes 2.5 times as long as its steps. All names of it: until 1.19, and since.
SLOW_FUSIONS = ["LayerNormFusion", "LayerNormFusionL1", "LayerNormFusionL2"]

# From so many batches on, cores run batches of their own, which is a seventh faster than all of them at each: it takes
# a session more, with its weights.
SHARED_BATCHES = 16

# PaddleNLP's own, without importing it.
logger = logging.getLogger("PaddleNLP")


def graph_name(folder):
    """The graphs' file name in an export folder, without its ending.

    An image that runs ONNX alone may leave the Paddle graph out.

    Raises:
        UsageError: there is no graph, or more than one.
    """
    graphs = {path.stem for path in Path(folder).glob("*.pdmodel")}
    onnx = {path.stem.removesuffix("_int8") for path in Path(folder).glob("*.onnx")}
    names = graphs or (onnx if (Path(folder) / TOKENIZER_FILE).is_file() else set())
    if not names and (Path(folder) / STUDENT_FILE).is_file():
        raise UsageError(
            f"{folder}: holds a student of n-grams and no graph, so Predictor and deploy/simple_serving read it with "
            f"the format {NGRAM}, and Taskflow, Triton and other formats cannot"
        )
    if len(names) != 1:
        what = "no such directory" if not Path(folder).is_dir() else f"{len(graphs)} *.pdmodel files instead of one"
        raise UsageError(f"{folder}: {what}; give what train.py --do_export or --do_compress wrote")
    return names.pop()


def runs_slim(folder, format):
    """Whether this format of an export folder needs neither paddle nor paddlenlp."""
    return format in ONNX_FORMATS and no_runtime(read_json(Path(folder) / EXPORT_FILE)) is None


def runs_onnx(folder, format):
    """Whether a format of an export folder is a graph of ONNX Runtime, alone or with a student before or beside it."""
    kind, _, own = format.partition(":")
    if kind in (CASCADE, BLEND):
        return (own or staged_model(folder)) in ONNX_FORMATS
    return format in ONNX_FORMATS


def staged_model(folder):
    """The format of the model in a cascade or blend that names none: onnx, else paddle, else onnx_int8."""
    return next(
        (name for name in ("onnx", "paddle", "onnx_int8") if name in available_formats(folder)), STAGED_MODELS[0]
    )


def available_formats(folder):
    """The formats of FORMATS that an export folder holds and this machine can run, in that order; or ngram alone."""
    if (Path(folder) / STUDENT_FILE).is_file():
        return [NGRAM]
    name = graph_name(folder)
    found = [format for format, ending in FORMATS.items() if (Path(folder) / f"{name}{ending}").is_file()]
    return [format for format in found if format != "paddle_bf16" or has_bfloat16()]


def plain_format(folder):
    """The format to read a folder in where nobody names one: paddle where it is, else what a student's folder has."""
    return next(iter(available_formats(folder)), "paddle")


def has_bfloat16():
    """Whether this CPU multiplies bfloat16 (AMX or AVX512-BF16); elsewhere Paddle emulates or refuses it."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        return " avx512_bf16 " in flags or " amx_bf16 " in flags
    return False


@contextlib.contextmanager
def silent_stdout():
    """Paddle's C++ passes print a hundred lines for bfloat16, which no option turns off."""
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C++'s own buffer
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


def half_precision(path):
    """The bytes of an ONNX model computing in float16; its inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(onnx.load(str(path)), keep_io_types=True).SerializeToString()


def paddle_runner(session):
    """A function from a batch (dict[str, np.ndarray]) to the first output of a Paddle Inference predictor."""
    inputs = {name: session.get_input_handle(name) for name in session.get_input_names()}
    output = session.get_output_handle(session.get_output_names()[0])

    def run_batch(batch):
        for name, handle in inputs.items():
            handle.copy_from_cpu(batch[name])
        session.run()
        return output.copy_to_cpu()

    return run_batch


def first_output(session, batch):
    """The first output of an ONNX Runtime session for a batch (dict[str, np.ndarray])."""
    return session.run(None, batch)[0]


def check_sizes(path):
    """Refuse a graph (Path) that is not whole, or whose weights or tokenizer beside it are not.

    Raises:
        UsageError: a file is not as long as the export wrote it.
    """
    files = read_json(path.parent / EXPORT_FILE).get("files", {})
    for one in (path, path.with_suffix(".pdiparams"), path.parent / TOKENIZER_FILE):
        if one.name in files and one.is_file() and one.stat().st_size != files[one.name]:
            raise UsageError(
                f"{one}: {one.stat().st_size} bytes, but {files[one.name]} were written; it was cut short or "
                "replaced: export the model again"
            )


class GraphRunner:
    """A graph read from an export folder, with its tokenizer: texts in, the graph's first output out.

    Args:
        folder: the export folder.
        format (str): of FORMATS.
        num_threads (int | None): CPU threads; None means what core.cpu.prepare_cpu chose.
        batch_size (int): texts that are run together. They are sorted by length first, so that little is padded.
        device (str): cpu, gpu or gpu:<n>.
        precision (str): fp32, or fp16 on a GPU.
        spin (bool): ONNX Runtime's threads wait for each other at full speed, which is fastest where nothing else
            wants the cores, and takes twice as long where something does.

    Attributes:
        encode (Callable): from texts to features, list[dict].
        pad_token_id, unk_token_id (int): of the tokenizer.
        content (dict): the folder's export.json.
        input_names (list[str]): the graph's inputs.
        max_length (int): tokens that the graph gets at once.
        long_text (LongText): what is read of texts of more tokens.
        run_batch (Callable): from a batch, dict[str, np.ndarray], to the graph's first output.
        watch (UnknownWatch): of the texts of `look`.
        many_cores (int): cores that have batches of their own where there are many.

    Raises:
        UsageError: a file is missing or broken, or this machine cannot run the format.
    """

    def __init__(
        self, folder, format="paddle", num_threads=None, batch_size=32, device="cpu", precision="fp32", spin=True
    ):
        if format not in FORMATS:
            raise UsageError(f"format {format}: not known; use one of {', '.join(SERVED_FORMATS)}")
        self.folder, self.format, self.batch_size = Path(folder), format, batch_size
        self.path = self.folder / f"{graph_name(folder)}{FORMATS[format]}"
        if not self.path.is_file():
            others = ", ".join(available_formats(folder))
            instead = f", or give the format that is there: {others}" if others else ""
            raise UsageError(f"{self.path}: no such file; export it with --export_type {format}{instead}")
        check_sizes(self.path)
        self.content = read_json(self.folder / EXPORT_FILE)
        slim = runs_slim(folder, format)
        tokenizer = None if slim else self._paddlenlp_tokenizer()
        if slim:
            facts = self.content[RUNTIME_KEY]
            self.max_length, self.pad_token_id = self.content["max_length"], facts["pad_token_id"]
            self.unk_token_id = facts["unk_token_id"]
        else:
            self.max_length = int(tokenizer.init_kwargs["model_max_length"])
            self.pad_token_id, self.unk_token_id = tokenizer.pad_token_id, tokenizer.unk_token_id
        self.long_text = LongText(self.content.get(KEY), self.max_length)
        # OpenMP takes a list, too: threads of the outer loops, then of those inside.
        told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
        num_threads = num_threads or (int(told) if told.isdecimal() and int(told) else usable_cores())
        try:
            if self.path.suffix == ".pdmodel":
                self._session = self._paddle_session(num_threads, device, precision)
                self.input_names, self.run_batch = self._session.get_input_names(), paddle_runner(self._session)
            else:
                self._session = self._onnx_session(num_threads, device, precision, spin)
                self.input_names = [value.name for value in self._session.get_inputs()]
                self.run_batch = functools.partial(first_output, self._session)
        except UsageError:
            raise
        except Exception as error:
            why = str(error).strip().splitlines()[-1]
            raise UsageError(f"{self.path}: cannot be loaded ({why}); export the model again") from error
        if slim:
            self.encode = read_encoder(self.folder, self.content, "token_type_ids" in self.input_names)
        else:
            self.encode = self._make_encoder(tokenizer)
        self.watch = UnknownWatch(self, self.encode, str(self.folder), logger.warning)
        self.many_cores = num_threads if self.path.suffix == ".onnx" and device == "cpu" else 1

    def _paddlenlp_tokenizer(self):
        try:
            from paddlenlp.transformers import AutoTokenizer
        except ImportError:
            why = f"format {self.format}" if self.format not in ONNX_FORMATS else no_runtime(self.content)
            others = [format for format in available_formats(self.folder) if runs_slim(self.folder, format)]
            other = f"use the format {' or '.join(others)}" if others else "export it again with --export_type onnx"
            how = f"run: pip install -r requirements.txt; or {other}"
            raise UsageError(f"{self.path}: needs PaddleNLP, which is not installed ({why}); {how}") from None
        try:
            return AutoTokenizer.from_pretrained(str(self.folder))
        except Exception as error:
            raise UsageError(f"{self.folder}: no usable tokenizer ({error}); export the model again") from error

    def _make_encoder(self, tokenizer):
        """A function from texts to features, list[dict], each with input_ids."""
        return make_encoder(tokenizer, self.max_length, "token_type_ids" in self.input_names, long_text=self.long_text)

    def look(self, texts, features):
        """Warn, once, of texts that the vocabulary cannot read; `features` are what self.encode gives of them."""
        self.watch.look("the texts", texts, features)

    def _collate(self, features):
        """The graph's inputs for one batch: dict[str, np.ndarray]."""
        return pad_batch(features, self.input_names, self.pad_token_id)

    def _paddle_session(self, num_threads, device, precision):
        from paddle import inference

        config = inference.Config(str(self.path), str(self.path.with_suffix(".pdiparams")))
        config.disable_glog_info()
        if device.startswith("gpu"):
            kind = inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32
            config.enable_use_gpu(100, int(device.partition(":")[2] or 0), kind)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(num_threads)
            if self.format == "paddle_bf16":
                if not has_bfloat16():
                    raise UsageError("paddle_bf16: this CPU has no bfloat16 arithmetic; use paddle or onnx_int8")
                config.enable_mkldnn()
                config.set_mkldnn_cache_capacity(64)  # shapes that are kept prepared
                config.enable_mkldnn_bfloat16()
                config.set_bfloat16_op(BFLOAT16_OPS)
        config.enable_memory_optim()
        with silent_stdout() if self.format == "paddle_bf16" else contextlib.nullcontext():
            return inference.create_predictor(config)

    def _onnx_session(self, num_threads, device, precision, spin):
        try:
            import onnxruntime
        except ImportError:
            raise UsageError("onnxruntime is not installed; run: pip install -r deploy/requirements.txt") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
        options.add_session_config_entry("session.force_spinning_stop", "1")  # between runs nobody spins
        options.enable_mem_pattern = False  # of one shape: batches come in hundreds, and threads wait for each other
        options.log_severity_level = 3
        providers, left_out = ["CPUExecutionProvider"], SLOW_FUSIONS
        if device.startswith("gpu"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise UsageError("this onnxruntime has no CUDA support; use --device cpu, or install onnxruntime-gpu")
            providers, left_out = [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)})], []
        model = half_precision(self.path) if precision == "fp16" else str(self.path)
        return onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=left_out)

    def clone(self):
        """One more on the same weights for another thread; Paddle's own is not thread-safe, ONNX Runtime's is."""
        other = copy.copy(self)
        if self.path.suffix == ".pdmodel":
            other._session = self._session.clone()
            other.run_batch = paddle_runner(other._session)
        return other

    def outputs(self, features):
        """Run tokenised texts.

        Args:
            features (list[dict]): as self.encode gives them; not empty.

        Returns:
            np.ndarray: the graph's first output [texts, ...], in the order given.
        """
        if len(features) <= self.batch_size:
            return self.run_batch(self._collate(features))
        run_batch, threads = self.run_batch, 1
        if self.many_cores > 1 and len(features) >= SHARED_BATCHES * self.batch_size:
            session, threads = self._one_core, self.many_cores
            run_batch = functools.partial(first_output, session)
        return run_sorted(features, self.batch_size, lambda some: run_batch(self._collate(some)), threads=threads)

    @functools.cached_property
    def _one_core(self):
        """A session for each of several threads to run batches with: ONNX Runtime's can be shared."""
        return self._onnx_session(1, "cpu", "fp32", spin=False)


class Predictor(GraphRunner, Answers):
    """A classifier read from an export folder.

    Args:
        *args, **options: as for GraphRunner; format may be one of STUDENT_FORMATS too (core/students.py).

    Attributes:
        labels (list[str]): label names in class order.
        paths (LabelPaths): the levels of labels such as 一级##二级, by the separator in export.json.

    Raises:
        UsageError: as GraphRunner; id2label.json is missing or broken; a student is missing, or another model's.
    """

    def __new__(cls, folder=None, format="paddle", *args, **options):
        if cls is Predictor and format in STUDENT_FORMATS:
            return open_student(folder, format, *args, **options)
        return super().__new__(cls)

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.labels = read_label_names(self.folder)
        classes = self.content.get("num_labels", len(self.labels))
        if classes != len(self.labels):
            raise UsageError(
                f"{self.folder / 'id2label.json'}: {len(self.labels)} labels, but the model has {classes}; "
                "copy the file of this export, or export the model again"
            )

    def logits(self, features):
        """Run tokenised texts.

        Args:
            features (list[dict]): as self.encode gives them.

        Returns:
            np.ndarray: float32 [texts, classes], in the order given.
        """
        return self.logits_and_windows(features)[0]

    def logits_and_windows(self, features):
        """Logits as `logits` gives them, and which window of each text decided.

        Returns:
            tuple[np.ndarray, np.ndarray | None]: float32 [texts, classes]; core.long_texts.WINDOW [texts], or None
            where no text has more windows than one.
        """
        if not features:
            return np.empty((0, len(self.labels)), "float32"), None
        windows, counts = flat(features)
        raw = self.outputs(windows)
        if counts is None:
            return raw, None
        logits = self.long_text.pool(raw, counts)
        return logits, self.long_text.deciding(features, raw, counts, logits.argmax(axis=1))

    def _read(self, texts):
        features = self.encode(texts)
        self.look(texts, features)
        logits, windows = self.logits_and_windows(features)
        return softmax(logits), windows


def student_format(place, facts):
    """The format in which the student of a cascade or blend is read.

    Args:
        place (Path): its folder.
        facts (dict): see core.students.read_stages.
    """
    if read_json(place / EXPORT_FILE).get("kind") == NGRAM or (place / STUDENT_FILE).is_file():
        return NGRAM
    best = next((name for name in ("onnx_int8", "onnx", "paddle") if name in available_formats(place)), "paddle")
    return facts.get("student_format", best)


def open_student(folder, format, *args, **options):
    """A predictor of one of STUDENT_FORMATS; arguments and errors as of Predictor."""
    kind, _, own = format.partition(":")
    if kind == NGRAM:
        return NgramPredictor(folder)
    model = Predictor(folder, own or staged_model(folder), *args, **options)
    place = Path(folder) / STUDENT_FOLDER
    facts = read_stages(model, kind)
    student = Predictor(place, student_format(place, facts), *args, **options)
    return {CASCADE: CascadePredictor, BLEND: BlendPredictor}[kind](student, model, facts, format)
