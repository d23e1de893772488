"""Shared parts of the tests: the repository on sys.path, a tiny ERNIE, a small data set, one trained checkpoint."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "data"), str(ROOT / "analysis")]
os.environ.setdefault("PPNLP_HOME", str(ROOT / ".pytest_cache" / "ppnlp"))

import utils  # noqa: E402

utils.prepare_cpu()

LABELS = ["病情诊断", "医疗费用", "就医建议"]
# The words of few-shot/'s label.txt; sorted, the labels come in another order than above.
LABEL_WORDS = {"病情诊断": "诊断", "医疗费用": "费用", "就医建议": "建议"}


def not_installed(name):
    """In the place of importlib.metadata.version."""
    raise importlib.metadata.PackageNotFoundError(name)


def load_script(path):
    """Import a script that is not in a package, by its path from the repository's root."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared():
    """The folder of real data, for slow tests."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("../shared is not there")
    return folder


@pytest.fixture(scope="session")
def sample_lines():
    """Split -> lines of the shipped sample data that have one of the three LABELS."""
    lines = {}
    for split in ("train", "dev"):
        text = (ROOT / "data" / f"{split}.txt").read_text(encoding="utf-8")
        lines[split] = [line for line in text.splitlines() if line.split("\t")[1] in LABELS]
    return lines


@pytest.fixture
def data_dir(tmp_path, sample_lines):
    """A data folder of three labels: 48 training and 21 dev samples."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder, sample_lines["train"][:48], sample_lines["dev"][:21])
    return folder


def write_data(folder, train, dev, labels=tuple(LABELS)):
    for name, lines in {"train": train, "dev": dev, "label": labels}.items():
        (folder / f"{name}.txt").write_bytes(("\n".join(lines) + "\n").encode("utf-8"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, sample_lines):
    """A random ERNIE with 2 layers of 48 units and 12 heads and the characters of the sample data, as a directory."""
    from paddlenlp.transformers import ErnieModel

    return save_tiny_ernie(tmp_path_factory.mktemp("tiny_ernie"), ErnieModel, sample_lines)


@pytest.fixture(scope="session")
def tiny_mlm(tmp_path_factory, sample_lines):
    """tiny_model with a masked-language-model head, which knows the characters of the labels and prompts too."""
    from paddlenlp.transformers import ErnieForMaskedLM

    more = "".join(LABELS) + "".join(LABEL_WORDS.values()) + "这条文本的主题是"
    return save_tiny_ernie(tmp_path_factory.mktemp("tiny_mlm"), ErnieForMaskedLM, sample_lines, more)


def save_tiny_ernie(folder, model_class, sample_lines, more_characters="", more_tokens=(), **config):
    """Draw a model of 2 layers, 48 units and 12 heads, and save it with a tokenizer of the data's characters."""
    import paddle
    from paddlenlp.transformers import ErnieConfig, ErnieTokenizer

    texts = [line.split("\t")[0] for lines in sample_lines.values() for line in lines]
    characters = sorted(set("".join(texts) + more_characters))
    characters = dict.fromkeys(char.lower() for char in characters if char.strip())
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *more_tokens, *characters]
    (folder / "vocab.txt").write_bytes(("\n".join(tokens) + "\n").encode("utf-8"))
    config = ErnieConfig(
        vocab_size=len(tokens), hidden_size=48, num_hidden_layers=2, num_attention_heads=12, intermediate_size=96,
        max_position_embeddings=128, type_vocab_size=2, use_task_id=False, **config,
    )  # fmt: skip
    paddle.seed(0)
    model_class(config).save_pretrained(str(folder))
    ErnieTokenizer(str(folder / "vocab.txt")).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_ernie_m(tmp_path_factory, sample_lines):
    """A random ERNIE-M with one layer of 48 units and a SentencePiece vocabulary of the data, as a directory."""
    import sentencepiece
    from paddlenlp.transformers import ErnieMConfig, ErnieMModel, ErnieMTokenizer

    folder, work = tmp_path_factory.mktemp("tiny_ernie_m"), tmp_path_factory.mktemp("sentencepiece")
    (work / "texts").write_text("\n".join(sample_lines["train"][:48]), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(work / "texts"), model_prefix=str(work / "sp"), vocab_size=600, hard_vocab_limit=False,
        model_type="unigram", minloglevel=2,
    )  # fmt: skip
    pieces = [line.split("\t")[0] for line in (work / "sp.vocab").read_text(encoding="utf-8").splitlines()]
    tokens = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", *pieces[3:]]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    ErnieMTokenizer(str(folder / "vocab.txt"), str(work / "sp.model")).save_pretrained(str(folder))
    config = ErnieMConfig(
        vocab_size=len(tokens), hidden_size=48, num_hidden_layers=1, num_attention_heads=12, intermediate_size=64,
        max_position_embeddings=66,
    )  # fmt: skip
    ErnieMModel(config).save_pretrained(str(folder))
    return folder


def train_flags(data, model, output, *more):
    """Flags of a short training on the CPU; later ones win."""
    return [
        "--do_train", "--data_dir", str(data), "--model_name_or_path", str(model), "--output_dir", str(output),
        "--device", "cpu", "--max_length", "32", "--learning_rate", "5e-3", "--num_train_epochs", "4",
        "--per_device_train_batch_size", "8", "--per_device_eval_batch_size", "8", "--evaluation_strategy", "epoch",
        "--save_strategy", "epoch", "--load_best_model_at_end", "--metric_for_best_model", "accuracy",
        "--logging_steps", "2", "--disable_tqdm", "True", *map(str, more),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, sample_lines, tiny_model):
    """(data folder, checkpoint folder) of one training with evaluation and export, made once for all tests."""
    import train

    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").mkdir()
    write_data(folder / "data", sample_lines["train"], sample_lines["dev"])
    flags = train_flags(folder / "data", tiny_model, folder / "checkpoint", "--do_eval", "--do_export")
    train.main([*flags, "--save_total_limit", "1"])
    return folder / "data", folder / "checkpoint"


@pytest.fixture(scope="session")
def milvus(tmp_path_factory):
    """A running Milvus server, shared by the tests."""
    from milvus_server import Milvus

    venv = ROOT / ".venv-milvus"
    if not (venv / "bin" / "milvus-server").is_file():
        pytest.skip("no .venv-milvus; run: make .venv-milvus/.installed")
    server = Milvus(venv, tmp_path_factory.mktemp("milvus"))
    try:
        server.start()
    except PermissionError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def few_shot():
    """few-shot/train.py, as a module."""
    return utils.load_module("few_shot_train", ROOT / "few-shot" / "train.py")


@pytest.fixture(scope="session")
def few_shot_utils():
    """few-shot/utils.py, as the scripts beside it load it."""
    return utils.load_module("few_shot_utils", ROOT / "few-shot" / "utils.py")


@pytest.fixture(scope="session")
def tiny_utc(tmp_path_factory, sample_lines):
    """A random UTC, PaddleNLP's zero-shot model, whose answers differ from text to text."""
    from paddlenlp.transformers import UTC

    words = "".join(LABEL_WORDS.values())
    folder = tmp_path_factory.mktemp("tiny_utc")
    return save_tiny_ernie(folder, UTC, sample_lines, words, ["[O-MASK]"], initializer_range=0.5)


def few_shot_flags(data, model, output, *more):
    """Flags of a short prompt learning on the CPU; later ones win."""
    own = ["--prompt", "这条文本的主题是", "--max_seq_length", "32", "--learning_rate", "3e-3",
           "--ppt_learning_rate", "3e-3", "--encoder_hidden_size", "16"]  # fmt: skip
    flags = train_flags(data, model, output)
    position = flags.index("--max_length")
    return [*flags[:position], *flags[position + 2 :], *own, *map(str, more)]


def write_few_shot_data(folder, lines):
    """16 texts a label for training, 21 for dev, 19 labelled ones in test.txt."""
    train = [line for label in LABELS for line in [line for line in lines["train"] if line.endswith(label)][:16]]
    write_data(folder, train, lines["dev"][:21], [f"{label}=={word}" for label, word in LABEL_WORDS.items()])
    (folder / "test.txt").write_bytes(("\n".join(lines["dev"][21:40]) + "\n").encode("utf-8"))


@pytest.fixture
def few_shot_data(tmp_path, sample_lines):
    """A data folder of three labels with words: 48 training, 21 dev and 19 test samples."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_few_shot_data(folder, sample_lines)
    return folder


@pytest.fixture(scope="session")
def prompted_once(tmp_path_factory, sample_lines, tiny_mlm, few_shot):
    """(data folder, output folder) of one prompt learning with all that follows it, made once for all tests."""
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "data").mkdir()
    write_few_shot_data(folder / "data", sample_lines)
    more = ["--do_eval", "--do_predict", "--do_export", "--export_type", "onnx", "--save_total_limit", "1"]
    few_shot.main(few_shot_flags(folder / "data", tiny_mlm, folder / "checkpoints", *more))
    return folder / "data", folder / "checkpoints"


@pytest.fixture
def prompted(prompted_once, tmp_path):
    """A copy of prompted_once that a test may change."""
    shutil.copytree(prompted_once[0], tmp_path / "data")
    shutil.copytree(prompted_once[1], tmp_path / "checkpoints")
    return tmp_path / "data", tmp_path / "checkpoints"


@pytest.fixture(scope="session")
def simple_server(trained_once):
    """deploy/simple_serving/server.py as a module; its own app serves trained_once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVING_MODELS", str(trained_once[1] / "export"))
        return load_script("deploy/simple_serving/server.py")


@pytest.fixture
def trained(trained_once, tmp_path):
    """A copy of trained_once that a test may change."""
    data, checkpoint = trained_once
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    return tmp_path / "data", tmp_path / "checkpoint"


@pytest.fixture
def rendered():
    """A function from a page's path or address to its DOM in a real browser; skips without one."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

    def render(page):
        if browser is None:
            pytest.skip("no Chromium: the page was not rendered")
        address = page if isinstance(page, str) else page.as_uri()
        # A served page asks for more once it is loaded: its clock runs on until that is there.
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                   *(["--virtual-time-budget=10000"] if address.startswith("http") else []), address]  # fmt: skip
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True).stdout

    return render


@pytest.fixture
def taskflow():
    from paddlenlp import Taskflow

    return lambda path, **options: Taskflow("text_classification", task_path=str(path), **options)


@pytest.fixture
def log():
    """Lines that PaddleNLP's logger writes while the test runs."""
    import logging

    from paddlenlp.utils.log import logger

    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Handler()
    logger.logger.addHandler(handler)
    yield lines
    logger.logger.removeHandler(handler)
