"""The runtime without Paddle beside the full stack, on every text there is; run by `make bench-runtime`.

    python tests/bench/bench_runtime.py --export_dir checkpoint/export --data_dir ../shared

All texts of train.txt, dev.txt, test.txt and data.txt in the folders below --data_dir (or in itself), and --random
strings of all of Unicode (tests/random_strings.py; 500 of them are in the tests). The full stack tokenises with
PaddleNLP and runs Paddle's graph and the ONNX files; the runtime tokenises with tokenizer.json and runs the ONNX files
in a process that finds no Paddle: of --runtime_python, an environment of deploy/requirements-runtime.txt, or else of
this Python with Paddle hidden. The table is Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.checkpoints import EXPORT_FILE
from core.predictor import ONNX_FORMATS, Predictor, available_formats, runs_slim, softmax
from core.tokenizer_json import RUNTIME_KEY, TOKENIZER_FILE
from tests.bench.machine import cpu_name
from tests.random_strings import random_strings
from utils import UsageError, exit_on_usage_error, read_json, read_lines, write_json

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("train.txt", "dev.txt", "test.txt", "data.txt")
# What deploy/requirements-runtime.txt has not, of what this environment has.
HIDDEN = ("paddle", "paddlenlp", "scipy", "sklearn", "onnx", "sentencepiece")

# In the runtime's process: ids, probabilities and seconds of each format.
RUN = """
import json, sys, time
import numpy as np
from core.predictor import Predictor, softmax
folder, texts_file, target, *formats = sys.argv[1:]
texts = json.load(open(texts_file, encoding="utf-8"))
found, seconds = {}, {}
for format in formats:
    predictor = Predictor(folder, format)
    predictor.probabilities(texts[:32])
    start = time.perf_counter()
    features = predictor.encode(texts)
    middle = time.perf_counter()
    found[format] = softmax(predictor.logits(features))
    seconds[format] = [middle - start, time.perf_counter() - middle]
assert not {"paddle", "paddlenlp"} & set(sys.modules)
ids = [feature["input_ids"] for feature in features]
found.update(ids=np.concatenate(ids), lengths=[len(row) for row in ids])
found.update(seconds=[seconds[format] for format in formats])
np.savez(target, **found)
"""


def parse_flags():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export_dir", type=Path, default=Path("checkpoint/export"), help="with ONNX (default: %(default)s)")
    add("--data_dir", type=Path, default=Path("../shared"), help="(default: %(default)s)")
    add("--random", type=int, default=5000, help="random strings (default: %(default)s)")
    add("--runtime_python", help="the Python of an environment of deploy/requirements-runtime.txt")
    add("--formats", nargs="+", help="some of the export's; all by default")
    return parser.parse_args()


def all_texts(folder):
    """The texts of all data files in a folder and in those below it; what stands behind a tab is a label.

    Raises:
        UsageError: there are none.
    """
    texts = []
    for path in sorted(path for path in [*folder.glob("*.txt"), *folder.glob("*/*.txt")] if path.name in SPLITS):
        texts += [text for text in (line.split("\t")[0] for line in read_lines(path)) if text.strip()]
    if not texts:
        raise UsageError(f"{folder}: none of {', '.join(SPLITS)} there or in a folder below; give --data_dir")
    return texts


def without_twin(folder, target):
    """Links to an export's files without what the runtime needs: PaddleNLP tokenises."""
    target.mkdir()
    for path in folder.iterdir():
        if path.name not in (TOKENIZER_FILE, EXPORT_FILE):
            (target / path.name).symlink_to(path.resolve())
    content = read_json(folder / EXPORT_FILE)
    content.pop(RUNTIME_KEY, None)
    content.get("files", {}).pop(TOKENIZER_FILE, None)
    write_json(target / EXPORT_FILE, content)
    return target


def run_slim(flags, texts, formats, work):
    """What the runtime gives: an archive with each format's probabilities, ids, lengths and seconds."""
    hidden = work / "hidden"
    for name in HIDDEN:
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text("raise ImportError(f'{__name__} is hidden')\n", encoding="utf-8")
    (work / "texts").write_text(json.dumps(texts), encoding="utf-8")
    paths = [str(ROOT)] if flags.runtime_python else [str(hidden), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [flags.runtime_python or sys.executable, "-c", RUN, flags.export_dir, work / "texts", work / "slim.npz"]
    subprocess.run([*map(str, command), *formats], env=environment, check=True)
    return np.load(work / "slim.npz")


def main():
    flags = parse_flags()
    formats = flags.formats or [name for name in available_formats(flags.export_dir) if name != "paddle_bf16"]
    slim_formats = [name for name in formats if name in ONNX_FORMATS]
    if not slim_formats or not runs_slim(flags.export_dir, slim_formats[0]):
        raise UsageError(f"{flags.export_dir}: not for the runtime; export it with --export_type onnx onnx_int8")
    sets = {"data": all_texts(flags.data_dir), "random": random_strings(flags.random) if flags.random else []}
    rows = [row for name, texts in sets.items() if texts for row in compare(flags, name, texts, formats, slim_formats)]
    print(f"{flags.export_dir}, all texts below {flags.data_dir}; {cpu_name()}, OMP_NUM_THREADS {threads()}")
    columns = list(rows[0])
    for line in [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]:
        print("| " + " | ".join(str(cell).strip() for cell in line) + " |")
    bad = [row for row in rows if row["same ids"] != row["texts"] or row["same label"] != row["texts"]]
    if bad:
        sys.exit(f"not the same answers: {json.dumps([[row['of'], row['full stack']] for row in bad])}")


def compare(flags, name, texts, formats, slim_formats):
    """The runtime beside the full stack on some texts.

    Args:
        flags: of the command.
        name (str): what the texts are called.
        texts (list[str]): any.
        formats, slim_formats (list[str]): of the full stack, and those that the runtime has.

    Returns:
        list[dict]: the table's rows, one a format of the full stack.
    """
    rows = []
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        slim = run_slim(flags, texts, slim_formats, work)
        full = without_twin(flags.export_dir, work / "full")
        for format in formats:
            predictor = Predictor(full, format)
            start = time.perf_counter()
            features = predictor.encode(texts)
            middle = time.perf_counter()
            expected = softmax(predictor.logits(features))
            seconds = [middle - start, time.perf_counter() - middle]
            ids = [feature["input_ids"] for feature in features]
            starts = np.cumsum([0, *slim["lengths"][:-1]])
            same_ids = sum(
                row == slim["ids"][place : place + length].tolist()
                for row, place, length in zip(ids, starts, slim["lengths"])
            )
            own = format if format in slim_formats else "onnx"  # Paddle's graph beside the runtime's ONNX
            found, took = slim[own], dict(zip(slim_formats, slim["seconds"].tolist()))[own]
            rows.append(
                {
                    "of": name,
                    "full stack": format,
                    "runtime": own,
                    "texts": len(texts),
                    "same ids": same_ids,
                    "same label": int((found.argmax(1) == expected.argmax(1)).sum()),
                    "largest difference of a probability": f"{np.abs(found - expected).max():.1e}",
                    "ms a text, tokenising + graph, full": "{:.3f} + {:.3f}".format(
                        *(second / len(texts) * 1000 for second in seconds)
                    ),
                    "runtime ": "{:.3f} + {:.3f}".format(*(second / len(texts) * 1000 for second in took)),
                }
            )
    return rows


def threads():
    return os.environ.get("OMP_NUM_THREADS", "unset")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
