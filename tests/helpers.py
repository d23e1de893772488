"""What tests of more than one folder use: paths, labels, flags, small data sets and models."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from core.cpu import paddle_version

ROOT = Path(__file__).resolve().parent.parent

PADDLE_3 = paddle_version().startswith("3.")

LABELS = ["病情诊断", "医疗费用", "就医建议"]

# The words of few-shot/'s label.txt; sorted, the labels come in another order than above.
LABEL_WORDS = {"病情诊断": "诊断", "医疗费用": "费用", "就医建议": "建议"}


# Texts without a character of the tiny models' vocabulary.
UNREADABLE = ["голова болит", "сколько стоит"]


def unknown_lines(log):
    """The lines of the fixture `log` that speak of characters which a vocabulary lacks."""
    return [line for line in log if "of the tokens are [UNK]" in line]


def of_any_cpu(rows):
    """Of an export's compared formats those that every CPU has: bfloat16, which is no exact one, is not among them."""
    return [row for row in rows if row["format"] != "paddle_bf16"]


def not_installed(name):
    """In the place of importlib.metadata.version."""
    raise importlib.metadata.PackageNotFoundError(name)


def load_script(path):
    """Import a script that is not in a package, by its path from the repository's root."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_data(folder, train, dev, labels=tuple(LABELS)):
    for name, lines in {"train": train, "dev": dev, "label": labels}.items():
        (folder / f"{name}.txt").write_bytes(("\n".join(lines) + "\n").encode("utf-8"))


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


def train_flags(data, model, output, *more):
    """Flags of a short training on the CPU; later ones win."""
    return [
        *(
            f"--do_train --data_dir {data} --model_name_or_path {model} --output_dir {output} --device cpu "
            "--max_length 32 --learning_rate 5e-3 --num_train_epochs 4 --per_device_train_batch_size 8 "
            "--per_device_eval_batch_size 8 --evaluation_strategy epoch --save_strategy epoch "
            "--load_best_model_at_end --metric_for_best_model accuracy --logging_steps 2 --disable_tqdm "
            "True"
        ).split(),
        *map(str, more),
    ]


def run_python(*command, cwd, timeout):
    """Run Python on one thread in a process of its own, outside any launch; the finished process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PADDLE_")}
    options = {"capture_output": True, "text": True, "env": {**environment, "OMP_NUM_THREADS": "1"}}
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, timeout=timeout, **options)


def launched(log, script, *flags, cwd=ROOT):
    """Run a script by paddle.distributed.launch in two processes of one thread each.

    Returns:
        tuple[subprocess.CompletedProcess, list[str]]: the launcher, and what each process said: in `log` (Path).
    """
    launch = "-u -m paddle.distributed.launch --nproc_per_node 2 --log_dir".split()
    run = run_python(*launch, log, script, *flags, cwd=cwd, timeout=280)
    return run, [path.read_text(errors="replace") for path in sorted(log.glob("workerlog.*"))]


def compress_flags(data, checkpoint, output, *more):
    """The documented command, device and lengths aside."""
    return [
        *(
            f"--do_compress --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir "
            f"{output} --learning_rate 3e-5 --per_device_train_batch_size 32 --per_device_eval_batch_size 32 "
            "--num_train_epochs 1 --max_length 32 --logging_steps 5 --save_steps 100 --disable_tqdm True"
        ).split(),
        *map(str, more),
    ]


def distill_flags(data, checkpoint, *more):
    """A student, of n-grams unless `more` says otherwise, of a model with max_length 32."""
    own = "--do_compress --strategy distill --device cpu --max_length 32 --disable_tqdm True".split()
    own += [] if "--student" in more else ["--student", "ngram", "--made_texts", "1"]
    return [*own, "--data_dir", str(data), "--model_name_or_path", str(checkpoint), *map(str, more)]


def few_shot_flags(data, model, output, *more):
    """Flags of a short prompt learning on the CPU; later ones win."""
    own = (
        "--prompt 这条文本的主题是 --max_seq_length 32 --learning_rate 3e-3 --ppt_learning_rate 3e-3 "
        "--encoder_hidden_size 16"
    ).split()
    flags = train_flags(data, model, output)
    position = flags.index("--max_length")
    return [*flags[:position], *flags[position + 2 :], *own, *map(str, more)]


def write_few_shot_data(folder, lines):
    """16 texts a label for training, 21 for dev, 19 labelled ones in test.txt."""
    train = [line for label in LABELS for line in [line for line in lines["train"] if line.endswith(label)][:16]]
    write_data(folder, train, lines["dev"][:21], [f"{label}=={word}" for label, word in LABEL_WORDS.items()])
    (folder / "test.txt").write_bytes(("\n".join(lines["dev"][21:40]) + "\n").encode("utf-8"))


def overconfident_sample():
    """Logits [2,000, 4] and classes [2,000], of which the logits are three times too large for calibration."""
    import numpy as np
    from scipy.special import softmax

    random = np.random.RandomState(0)
    logits = random.randn(2000, 4)
    truth = np.array([random.choice(4, p=row) for row in softmax(logits, axis=1)])
    return 3 * logits, truth


def write_mostly_right(path, predictor, texts):
    """Data of which a model is right on four texts of five, though it may be far less sure than that."""
    guesses = enumerate(predictor.probabilities(texts).argmax(axis=1))
    labels, moves = predictor.labels, (1, 0, 0, 0, 0, 2, 0, 0, 0, 0)
    names = [labels[(guess + moves[number % 10]) % len(labels)] for number, guess in guesses]
    path.write_text("\n".join(map("\t".join, zip(texts, names))), encoding="utf-8")
