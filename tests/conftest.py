"""Fixtures of more than one folder: a tiny ERNIE, a small data set, one trained checkpoint."""

import logging
import os
import shutil
import subprocess

import pytest

import train
from tests.helpers import LABEL_WORDS, LABELS, ROOT, distill_flags, save_tiny_ernie, train_flags, write_data

os.environ.setdefault("PPNLP_HOME", str(ROOT / ".pytest_cache" / "ppnlp"))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-timeout begins to count
def pytest_runtest_protocol(item):
    """In several processes, a test that is marked `alone` waits for the others' tests, and they for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    import fcntl

    folder = ROOT / ".pytest_cache"
    folder.mkdir(exist_ok=True)
    alone = item.get_closest_marker("alone") is not None
    with (folder / "door.lock").open("w") as door, (folder / "room.lock").open("w") as room:
        # Who wants the room for himself stands in the door meanwhile: nobody enters before him.
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # closing is not enough where a child has inherited it


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


@pytest.fixture(scope="session")
def tiny_ernie_m(tmp_path_factory, sample_lines):
    """A random ERNIE-M with one layer of 48 units and a SentencePiece vocabulary of the data, as a directory."""
    import sentencepiece
    from paddlenlp.transformers import ErnieMConfig, ErnieMModel, ErnieMTokenizer

    folder, work = tmp_path_factory.mktemp("tiny_ernie_m"), tmp_path_factory.mktemp("sentencepiece")
    (work / "texts").write_text("\n".join(sample_lines["train"][:48]), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(work / "texts"),
        model_prefix=str(work / "sp"),
        vocab_size=600,
        hard_vocab_limit=False,
        model_type="unigram",
        minloglevel=2,
    )
    pieces = [line.split("\t")[0] for line in (work / "sp.vocab").read_text(encoding="utf-8").splitlines()]
    tokens = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", *pieces[3:]]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    ErnieMTokenizer(str(folder / "vocab.txt"), str(work / "sp.model")).save_pretrained(str(folder))
    config = ErnieMConfig(
        vocab_size=len(tokens),
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=64,
        max_position_embeddings=66,
    )
    ErnieMModel(config).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, sample_lines, tiny_model):
    """(data folder, checkpoint folder) of one training with evaluation and export, made once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").mkdir()
    write_data(folder / "data", sample_lines["train"], sample_lines["dev"])
    flags = train_flags(folder / "data", tiny_model, folder / "checkpoint", "--do_eval", "--do_export")
    train.main([*flags, "--save_total_limit", "1"])
    return folder / "data", folder / "checkpoint"


@pytest.fixture(scope="session")
def calibrated(trained_once, tmp_path_factory):
    """(data, checkpoint, folder): the trained model with logits three times as large, which is far too sure, exported
    in every format, with a dev set that is large enough for a temperature: all the samples."""
    import paddle

    data, trained = trained_once
    large = tmp_path_factory.mktemp("calibrated")
    checkpoint = large / "checkpoint"
    shutil.copytree(trained, checkpoint, ignore=shutil.ignore_patterns("checkpoint-*", "export"))
    state = paddle.load(str(checkpoint / "model_state.pdparams"))
    state.update({name: 3 * value for name, value in state.items() if name.startswith("classifier.")})
    paddle.save(state, str(checkpoint / "model_state.pdparams"))
    lines = [(data / f"{split}.txt").read_text(encoding="utf-8") for split in ("train", "dev")]
    (large / "dev.txt").write_text("".join(lines), encoding="utf-8")
    shutil.copy(data / "label.txt", large)
    flags = f"--do_export --device cpu --data_dir {large} --model_name_or_path {checkpoint} --output_dir {checkpoint}"
    train.main([*flags.split(), "--export_type", "onnx", "onnx_int8"])
    return large, checkpoint, checkpoint / "export"


@pytest.fixture(scope="session")
def distilled(calibrated, tmp_path_factory, sample_lines):
    """(data, checkpoint) of a model with an export in every format, and a student of n-grams beside it."""
    data = tmp_path_factory.mktemp("distilled")
    for name in ("dev.txt", "label.txt"):
        shutil.copy(calibrated[0] / name, data)
    (data / "train.txt").write_text("\n".join(sample_lines["train"]) + "\n", encoding="utf-8")
    (data / "data.txt").write_text("头疼应该吃什么药\n感冒了去哪个医院看\n头疼应该吃什么药\n", encoding="utf-8")
    checkpoint = data / "checkpoint"
    shutil.copytree(calibrated[1], checkpoint)
    train.main(distill_flags(data, checkpoint, "--cascade_loss", "3"))
    return data, checkpoint


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
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            *(["--virtual-time-budget=10000"] if address.startswith("http") else []),
            address,
        ]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True).stdout

    return render


@pytest.fixture
def taskflow():
    from paddlenlp import Taskflow

    return lambda path, **options: Taskflow("text_classification", task_path=str(path), **options)


@pytest.fixture
def log():
    """Lines that PaddleNLP's logger writes while the test runs."""
    from paddlenlp.utils.log import logger

    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    handler = Handler()
    logger.logger.addHandler(handler)
    yield lines
    logger.logger.removeHandler(handler)


@pytest.fixture(scope="session")
def tiny_utc(tmp_path_factory, sample_lines):
    """A random UTC, PaddleNLP's zero-shot model, whose answers differ from text to text."""
    from paddlenlp.transformers import UTC

    words = "".join(LABEL_WORDS.values())
    folder = tmp_path_factory.mktemp("tiny_utc")
    return save_tiny_ernie(folder, UTC, sample_lines, words, ["[O-MASK]"], initializer_range=0.5)
