"""Time and memory of data/check.py and data/split.py on a million lines, on one core.

    python tests/bench/bench_data.py                      # or: make bench-data
    python tests/bench/bench_data.py --lines 100000 --model_name_or_path data/offline_encoder
    python tests/bench/bench_data.py --lines 10000000 --kinds pieces --data_dir ../shared/kuake_qic

The texts are the shipped sample data's with characters exchanged at random, 18 characters on average: 90 % train, 5 %
dev, 5 % test. The hard cases are files of one kind only, in which a naive linter is slow. In `pieces`, which is for
many millions, each text is the beginning, the middle and the end of three texts of --data_dir.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from tests.bench.machine import measure

ROOT = Path(__file__).resolve().parents[2]


def make_lines(count, kind, rng, data_dir=ROOT / "data"):
    """Lines of `<text>\\t<label>`."""
    lines = [line.split("\t") for line in (data_dir / "train.txt").read_text(encoding="utf-8").splitlines()]
    characters = [character for text, _ in lines for character in text]
    for _ in range(count):
        text, label = lines[rng.randrange(len(lines))]
        if kind == "pieces":
            middle, end = (lines[rng.randrange(len(lines))][0] for _ in range(2))
            begin, size = text[: (len(text) + 2) // 3], len(middle) // 3
            yield f"{begin}{middle[size : len(middle) - size]}{end[len(end) - len(end) // 3 :]}\t{label}"
        elif kind == "copies":
            yield f"{text}\t{label}"
        elif kind == "template":
            yield f"您好，请问我的编号是{rng.randrange(10**6):06d}的订单什么时候能够发货到上海市浦东新区\t{label}"
        elif kind == "swapped":
            yield f"{label}\t{''.join(rng.choices(characters, k=18))}"
        elif kind == "unknown":
            yield f"{text}\t{''.join(rng.choices(characters, k=18))}"
        else:
            text = list(text)
            for _ in range(rng.randrange(len(text))):
                text[rng.randrange(len(text))] = rng.choice(characters)
            yield f"{''.join(text)}\t{label}"


def write_folder(folder, count, kind, data_dir=ROOT / "data"):
    """Write train, dev, test and label.txt, each text made of those of `data_dir`."""
    rng = random.Random(1)
    encoding = "gb18030" if kind == "GBK" else "utf-8"
    for name, share in (("test", 0.05), ("dev", 0.05), ("train", 0.9)):
        with (folder / f"{name}.txt").open("w", encoding=encoding, newline="\n") as file:
            file.writelines(f"{line}\n" for line in make_lines(int(count * share), kind, rng, data_dir))
    (folder / "label.txt").write_bytes((data_dir / "label.txt").read_bytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--model_name_or_path", help="also count tokens with this model's tokenizer")
    parser.add_argument("--kinds", nargs="+", default=["varied", "copies", "template", "GBK", "swapped", "unknown"])
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data", help="whose texts are varied (default: data)")
    args = parser.parse_args()
    print(
        f"{args.lines:,} lines, one core\n| case | seconds | CPU seconds | MB | last line |\n|{' --- |' * 5}",
        flush=True,
    )

    def show(case, *command):
        seconds, cpu, megabytes, lines = measure(*command)
        last = [line for line in lines if not line.startswith("next: ")][-1]
        print(
            f"| {case} | {seconds:.1f} | {cpu:.1f} | {megabytes:.0f} | {last.replace(str(folder), 'DIR')} |",
            flush=True,
        )

    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            write_folder(folder, args.lines, kind, args.data_dir)
            show(f"check.py, {kind}", "data/check.py", "--dataset_dir", folder)
            if kind in ("varied", "pieces"):
                show("check.py --fix", "data/check.py", "--dataset_dir", folder, "--fix", folder / "clean")
                if args.model_name_or_path and kind == "varied":
                    tokenizer = ("--model_name_or_path", args.model_name_or_path)
                    show("check.py with a tokenizer", "data/check.py", "--dataset_dir", folder, *tokenizer)
            if kind in ("varied", "template"):
                train, parts = folder / "train.txt", folder / "parts"
                show(f"split.py, {kind}, 90 %", "data/split.py", "--input_file", train, "--save_dir", parts)
            if kind == "pieces":  # all of them
                whole, parts = folder / "all.txt", folder / "parts"
                with whole.open("wb") as file:
                    for name in ("train", "dev", "test"):
                        with (folder / f"{name}.txt").open("rb") as part:
                            shutil.copyfileobj(part, file)
                show(f"split.py, {kind}, all", "data/split.py", "--input_file", whole, "--save_dir", parts)


if __name__ == "__main__":
    main()
