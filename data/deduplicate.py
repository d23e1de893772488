"""Take near duplicates out of a file of hundreds of millions of lines, on many cores or machines, with datatrove.

    python -m venv .venv-datatrove && .venv-datatrove/bin/pip install -r data/requirements-datatrove.txt
    .venv-datatrove/bin/python data/deduplicate.py --input_file all.txt --save_dir distinct --workers 16
    cat distinct/kept/*.txt > distinct.txt

Of texts that are nearly the same one stays, whatever its label; the others are in distinct/removed. For up to ten
million lines split.py does without this: it keeps near duplicates together instead of taking them out.

The steps are datatrove's (signatures, pairs, clusters, filter) in the normal form and with the shingles of
near_duplicates.py: its own are of five words, of which a Chinese text without spaces has one, so that nothing at all
would be compared. datatrove takes pairs of equal hashes for near duplicates, and most of the short texts that it would
take out are none: here each pair is compared exactly, too. An interrupted run goes on where it was: finished parts are
not done again.
"""

import argparse
import array
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, parse_argv, require_packages
from data.near_duplicates import check_threshold, normalise, shingles, similarity
from utils import UsageError, exit_on_usage_error, read_json, staged_files, write_json

# What a run was begun with.
RUN_FILE = "run.json"


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--input_file", type=Path, required=True, help="<text>, a tab, <label> a line, or a text a line, in UTF-8")
    add("--save_dir", type=Path, required=True, help="a new folder, or that of a run that was interrupted")
    add("--workers", type=int, default=1, help="processes (default: 1)")
    add("--parts", type=int, default=16, help="parts of the file, each read by one process (default: 16)")
    add(
        "--near_duplicate_threshold", type=float, default=0.8, help="similarity, 0 to 1, that is enough (default: 0.8)"
    )
    add("--buckets", type=int, default=14, help="hashes of a text; pairs agree in one of them (default: 14)")
    add("--hashes_per_bucket", type=int, default=8, help="fewer find less similar pairs, too (default: 8)")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, workers=1, parts=1, buckets=1, hashes_per_bucket=1)
    if not flags.input_file.is_file():
        problems.append(f"{flags.input_file}: no such file; give one with a text a line")
    if problems:
        raise UsageError("\n".join(problems))
    check_threshold(flags.near_duplicate_threshold)
    return flags


def read_part(path, part, parts):
    """The lines of one of several parts of a file, all of about as many bytes.

    Yields:
        tuple[int, bytes]: where a line begins in the file, and the line with its end.
    """
    size = path.stat().st_size
    begin, end = size * part // parts, size * (part + 1) // parts
    with path.open("rb") as file:
        if begin:
            file.seek(begin - 1)
            begin += len(file.readline()) - 1  # the line that begins in the part before
        while begin < end and (line := file.readline()):
            yield begin, line
            begin += len(line)


def text_of(line):
    """The text of a line in UTF-8: without its label."""
    return line.decode("utf-8-sig", "replace").rstrip("\r\n").partition("\t")[0].strip()


def similar_pairs(path, pairs, places, threshold):
    """Which pairs of lines are nearly the same.

    Args:
        path (Path): the file.
        pairs (np.ndarray): int [pairs, 4]: part and number of a line there, and of another one.
        places (list[np.ndarray]): of each part, where in the file its lines begin.
        threshold (float): similarity of texts from which they are.

    Returns:
        np.ndarray: bool [pairs].
    """

    def form(part, number):
        file.seek(places[part][number])
        return normalise([text_of(file.readline())])[0]

    with path.open("rb") as file:
        found = [similarity(form(*pair[:2]), form(*pair[2:])) >= threshold for pair in pairs.tolist()]
    return np.array(found, dtype=bool)


def begin(flags):
    """Make --save_dir, or go on there with the same work.

    Raises:
        UsageError: something else is there, or what was begun with other flags or another file.
    """
    state = flags.input_file.stat()
    own = {"input_file": str(flags.input_file.resolve()), "size": state.st_size, "changed": state.st_mtime_ns}
    own |= {
        name: getattr(flags, name) for name in ("parts", "buckets", "hashes_per_bucket", "near_duplicate_threshold")
    }
    path = flags.save_dir / RUN_FILE
    if path.is_file():
        before = read_json(path)
        other = [name for name, value in own.items() if before.get(name) != value]
        if other:
            raise UsageError(f"{flags.save_dir}: begun with another {', '.join(other)}; give a new --save_dir")
        return
    if flags.save_dir.exists() and (not flags.save_dir.is_dir() or any(flags.save_dir.iterdir())):
        raise UsageError(f"--save_dir {flags.save_dir}: is there already and is not an empty folder; give a new one")
    with staged_files(flags.save_dir) as stage:
        write_json(stage / RUN_FILE, own)


def run(flags):
    """Run the steps; the files in --save_dir."""
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Pieces(WordTokenizer):
        """Shingles in the place of words."""

        def word_tokenize(self, text):
            return list(shingles(normalise([text])[0]))

        sent_tokenize = span_tokenize = word_tokenize

    class Removed:
        """What the filter takes out, in files."""

        def __enter__(self):
            self.file = None
            return self

        def write(self, document, rank):
            self.file = self.file or (flags.save_dir / "removed" / f"{rank:05d}.txt").open("wb")
            self.file.write(document.metadata["line"])

        def __exit__(self, *_):
            if self.file:
                self.file.close()

    def read(_, rank, world_size):
        begins = array.array("q")
        for begin, line in read_part(flags.input_file, rank, world_size):
            begins.append(begin)
            yield Document(text=text_of(line), id=str(begin), metadata={"line": line.rstrip(b"\r\n") + b"\n"})
        np.save(folders["places"] / f"{rank:05d}.npy", np.array(begins, dtype=np.int64))

    def compare(_, rank, __):
        places = [np.load(file, mmap_mode="r") for file in sorted(folders["places"].glob("*.npy"))]
        for file in folders["pairs"].glob(f"{rank:05d}_*.dups"):
            pairs = np.fromfile(file, dtype="<u4").reshape(-1, 4)
            is_similar = similar_pairs(flags.input_file, pairs, places, flags.near_duplicate_threshold)
            pairs[is_similar].tofile(folders["similar"] / file.name)
        yield from ()

    def write(documents, rank, _):
        with (flags.save_dir / "kept" / f"{rank:05d}.txt").open("wb") as file:
            for document in documents:
                file.write(document.metadata["line"])
                yield document

    as_it_is = TextNormConfig(*[False] * len(dataclasses.fields(TextNormConfig)))
    sizes = {"n_grams": 1, "num_buckets": flags.buckets, "hashes_per_bucket": flags.hashes_per_bucket}
    config = minhash.MinhashConfig(**sizes, norm_config=as_it_is)
    names = ("places", "signatures", "pairs", "similar", "clusters", "kept", "removed", "logs")
    folders = {name: flags.save_dir / name for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    signatures, pairs, similar, clusters = map(str, list(folders.values())[1:5])
    steps = (
        ("signatures", flags.parts, [read, minhash.MinhashDedupSignature(signatures, config, Pieces())]),
        ("pairs", flags.buckets, [minhash.MinhashDedupBuckets(signatures, pairs, config=config)]),
        ("similar", flags.buckets, [compare]),
        ("clusters", 1, [minhash.MinhashDedupCluster(similar, clusters, config=config)]),
        ("filter", flags.parts, [read, minhash.MinhashDedupFilter(clusters, exclusion_writer=Removed()), write]),
    )
    for name, tasks, pipeline in steps:
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=flags.workers, logging_dir=str(folders["logs"] / name)
        ).run()


def main(argv=None):
    flags = parse_flags(argv)
    require_packages("deduplicate.py", "datatrove", requirements="data/requirements-datatrove.txt")
    begin(flags)
    run(flags)
    lines = dict.fromkeys(("kept", "removed"), 0)
    for name in lines:
        for part in (flags.save_dir / name).glob("*.txt"):
            with part.open("rb") as file:
                lines[name] += sum(1 for _ in file)
    print(f"{flags.save_dir}: {lines['kept']:,} lines in kept, {lines['removed']:,} in removed")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
