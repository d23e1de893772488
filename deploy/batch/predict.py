"""Put a trained model over a file: any format in, all its columns and the answers out. No Paddle is needed.

    python deploy/batch/predict.py --model_dir checkpoint/export --input texts.csv --output answers.csv
    python deploy/batch/predict.py --model_dir checkpoint/export --input 'part-*.json.gz' --output answers.parquet
    python deploy/batch/predict.py --model_dir checkpoint/export --input tickets.xlsx --output answers.tsv \\
        --text_column title body --top_k 3 --min_confidence accuracy:0.98 --format onnx_int8

Read is what data/convert.py reads: CSV and TSV, JSON, JSON lines, Parquet, spreadsheets, plain lines, gzip and zip of
these, in any encoding. The text's column is found, and told; where two would do, the message has the flags to choose.
Written are, by the ending of --output, .csv, .tsv, .jsonl or .parquet: the input's columns as they are, then label and
score; rows that cannot be used go to <output>.rejected.csv with line and reason. Where a column has labels of the
model, accuracy and macro-F1 are told, and <output>.report.txt tells of each class.

Memory does not grow with the file. After a kill -9 the same command goes on from the last part that is done
(<output>.parts/), and ends with the same bytes.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from core.arguments import at_least, parse_argv
from core.batch_run import PART_ROWS, Prediction, Wanted, cleaning_for, confidence, share
from core.checkpoints import EXPORT_FILE, NGRAM, STUDENT_FORMATS
from core.encodings import codec_of
from core.long_text_flags import reads_windows
from core.samples import CLEANING, Wishes
from core.tables import Reading, add_reading_flags
from utils import UsageError, exit_on_usage_error, read_json


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, required=True, metavar="FOLDER", help="an export folder, such as checkpoint/export")
    add("--input", nargs="+", required=True, metavar="FILE", help="files, folders, zips or patterns of one kind")
    add("--output", required=True, metavar="FILE", help="ends with .csv, .tsv, .jsonl or .parquet")
    add("--format", default="auto", help="of the model, as Predictor takes it; auto: onnx where it is, else what is")
    add("--top_k", type=int, default=1, help="also label_1, score_1 … of so many labels (default: 1, none)")
    limit = "a number from 0 to 1, or accuracy:0.98: what is less sure is unknown, with the best guess beside it"
    add("--min_confidence", metavar="LEAST", help=limit)
    sets = "0.9 or 0.95: also label_set, labels among which the right one is so often; as export.json has it"
    add("--conformal", metavar="SHARE", help=sets)
    add("--text_column", nargs="+", metavar="COLUMN", help="name or number (from 1) of the text; several are joined")
    truth = "of the true labels, for a report; none: there are none; default: the column that has the model's labels"
    add("--label_column", metavar="COLUMN", help=truth)
    names = "names of class ids in that column: a file such as class.txt, names in the order of ids, or id=name …"
    add("--label_names", nargs="+", metavar="NAME", help=names)
    add_reading_flags(add)
    clean = "of the text that the model gets; html: without tags and entities, as training on such a file reads it "
    clean += "(default, but for plain .txt and .tsv); none: line breaks and tabs become spaces"
    add("--clean", choices=sorted(CLEANING), help=clean)
    prefix = "before the names of what is added; default: nothing, or predicted_ where the input has such a column"
    add("--prefix", help=prefix)
    add("--overwrite", action="store_true", help="replace an --output that is there, and parts of another run")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: cpu)")
    add(
        "--workers",
        type=int,
        help="processes, which have a model each (default: 1; for ngram, 2 pay from a million rows)",
    )
    add("--threads", type=int, help="cores of each process (default: all, shared by the processes; ngram: 1)")
    add("--batch_size", type=int, default=32, help="texts that the model gets at once (default: 32)")
    add("--part_rows", type=int, default=PART_ROWS, help=f"rows that are kept together (default: {PART_ROWS})")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, top_k=1, workers=1, threads=1, batch_size=1, part_rows=1)
    if flags.encoding and codec_of(flags.encoding) is None:
        problems.append(f"--encoding {flags.encoding}: not known; give one such as gb18030, big5, shift_jis or euc-kr")
    if flags.label_names and not flags.label_column:
        problems.append("--label_names: names of the ids in which column? Add --label_column")
    if problems:
        raise UsageError("\n".join(problems))
    return flags


def wishes_of(flags):
    """How the files are to be read."""
    header = None if flags.header is None else flags.header == "yes"
    reading = Reading(flags.encoding, flags.separator, header, flags.sheet)
    columns = flags.text_column, flags.label_column, flags.label_names
    return Wishes(reading, *columns, flags.join, flags.clean or cleaning_for(flags.input[0]), trust_columns=True)


def labels_of(folder):
    """The labels of an export folder, in class order.

    Raises:
        UsageError: it is none.
    """
    names = read_json(folder / "id2label.json")
    if not names or set(names) != {str(index) for index in range(len(names))}:
        what = "has no usable id2label.json" if folder.is_dir() else "no such folder"
        raise UsageError(f"--model_dir {folder}: {what}; give an export, such as checkpoint/export")
    return [names[str(index)] for index in range(len(names))]


def main(argv=None):
    flags = parse_flags(argv)
    least, labels = confidence(flags.min_confidence), labels_of(flags.model_dir)
    conformal = share(flags.conformal)
    top_k, shown = min(flags.top_k, len(labels)), ("prefix", "overwrite", "part_rows")
    is_staged = flags.format in STUDENT_FORMATS
    has_windows = not is_staged and reads_windows(read_json(flags.model_dir / EXPORT_FILE))
    wanted = Wanted(
        flags.input,
        flags.output,
        labels,
        wishes_of(flags),
        top_k,
        least,
        has_windows=has_windows,
        conformal=conformal,
        **{name: getattr(flags, name) for name in shown},
    )
    prediction = Prediction(wanted)

    from core.batch_answers import Job
    from core.batch_workers import make_workers
    from core.cpu import usable_cores
    from core.predictor import available_formats, runs_onnx

    format = flags.format
    if format == "auto":
        found = available_formats(flags.model_dir)
        format = "onnx" if "onnx" in found else next(iter(found), "paddle")
    workers = flags.workers or 1
    # The student of n-grams is much Python, of which a process runs one thread at a time: two get in each other's way.
    threads = flags.threads or (1 if format == NGRAM else max(1, usable_cores() // workers))
    # In one process on CPU cores, texts are shared out among threads, and not the work on one of them.
    is_shared = workers == 1 and flags.device == "cpu" and runs_onnx(flags.model_dir, format)
    one = 1 if is_shared else threads
    asked = {"top_k": top_k, "min_confidence": least, "has_windows": has_windows, "conformal": conformal}
    job = Job(str(flags.model_dir), format, one, flags.batch_size, device=flags.device, **asked)
    try:
        summary = prediction.run(job, lambda: make_workers(job, workers, threads if is_shared else 1))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on from the last part that is done") from None
    print("\n".join(summary.lines()))
    if not summary.has_labels and summary.predicted:
        print(f"next: look at some of them: head {shlex.quote(flags.output)}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
