"""Have the texts that a model is asked changed since it was trained, and is it still right?

    cd analysis
    python monitor.py --reference ../data/dev.txt --export_dir ../checkpoint/export --log predictions.jsonl
    python monitor.py --reference ../data/dev.txt --export_dir ../checkpoint/export --log predicted.csv --seed 7

--log takes files of predictions (columns text, label and score in CSV, TSV, JSON lines or Parquet), or the log that
the HTTP server keeps with SERVING_PREDICTION_LOG (texts are not in it, their words as keyed hashes are). --reference
is dev.txt, which the export answers here, or older predictions or logs. Compared are the shares of the labels, the
confidence, the length, the vocabulary and, where both have a column `embedding` or a text that --params_path reads,
the vectors: permutation tests whose false alarms are together at most --alpha of all runs (Holm 1979) while the texts
are drawn independently. Where the reference has true labels and the export is calibrated, the accuracy on the log is
estimated, with an interval.

Exit code: 0 nothing, 1 an alarm, 2 a mistake in the flags or files. Written into --report_dir: monitor.html,
monitor.json, the answers to the reference (reference.json, so that they are computed once), and where the log has
texts to_label.txt, those that are most worth a label; --metrics_file: gauges for the textfile collector of Prometheus'
node_exporter, for which monitor_alerts.yml has rules.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.report import add_language_flag
from analysis.traffic import is_predictions, read_traffic
from core.arguments import at_least, parse_argv, require_packages
from core.checkpoints import EXPORT_FILE, NGRAM, SERVED_FORMATS, STUDENT_FORMATS
from core.confidence import version_of
from core.students import STAGES_FILE, STUDENT_FOLDER
from utils import UsageError, exit_on_usage_error, read_examples, read_json

# Of fewer answers no test sees anything.
LEAST_TEXTS = 30


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range, flags that need others, matplotlib is not installed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--reference", type=Path, required=True, help="dev.txt, or predictions that nothing was wrong with")
    add("--log", type=Path, nargs="+", required=True, help="predictions or server logs, the oldest file first")
    add("--export_dir", type=Path, default=Path("../checkpoint/export"), help="the export that answered")
    add(
        "--format",
        choices=("auto", *SERVED_FORMATS),
        default="auto",
        help="in which it answered (default: as the log says)",
    )
    add("--model", help="its name on the server, where the log has several")
    add("--last", type=int, help="look at the newest so many answers of the log alone (default: all)")
    add("--key_file", type=Path, help="the key of the server's log (default: beside it, <log>.key)")
    for kind in ("text", "label", "score"):
        add(
            f"--{kind}_column",
            help=f"of files of predictions, the name of the column with the {kind} (default: found)",
        )
    add("--params_path", type=Path, help="a checkpoint whose features of the texts are compared too")
    add("--device", default="cpu", help="for --params_path (default: cpu)")
    add("--alpha", type=float, default=0.01, help="the share of runs that may alarm for nothing (default: 0.01)")
    add("--least_accuracy", type=float, help="alarm where the estimated accuracy is below, interval and all")
    add("--label_num", type=int, default=100, help="texts in to_label.txt (default: 100)")
    add("--report_dir", type=Path, default=Path("monitor_report"), help="for the page and the files")
    add("--metrics_file", type=Path, help="gauges for Prometheus, such as /var/lib/node_exporter/texts.prom")
    add("--seed", type=int, default=3, help="of everything random (default: 3)")
    add_language_flag(parser)
    flags = parse_argv(parser, argv)
    problems = at_least(flags, last=LEAST_TEXTS, label_num=1)
    problems += [
        f"--{name} {value}: give a number between 0 and 1"
        for name, value in (("alpha", flags.alpha), ("least_accuracy", flags.least_accuracy))
        if value is not None and not 0 < value < 1
    ]
    if flags.metrics_file and flags.metrics_file.suffix != ".prom":
        problems.append(f"--metrics_file {flags.metrics_file}: node_exporter reads names that end in .prom alone")
    if problems:
        raise UsageError("\n".join(problems))
    require_packages("monitor.py", "matplotlib")
    return flags


def content_of(folder, format):
    """What the export.json says that answers in a format: the student's own for ngram; {} without one."""
    own = read_json(folder / STUDENT_FOLDER / EXPORT_FILE) if format == NGRAM else {}
    return own or read_json(folder / EXPORT_FILE)


def read_sets(flags):
    """The log, and the reference: answers, or texts with labels that are still to be answered.

    Returns:
        tuple[Traffic, Traffic | tuple[list[str], list[str]], str]: log; reference; the format that answered.

    Raises:
        UsageError: a file is none of that, or they do not belong together.
    """
    columns = {kind: getattr(flags, f"{kind}_column") for kind in ("text", "label", "score")}
    content, exports = read_json(flags.export_dir / EXPORT_FILE), None
    if content:
        formats = SERVED_FORMATS if flags.format == "auto" else [flags.format]
        exports = {version_of(content_of(flags.export_dir, format), format): format for format in formats}
    log = read_traffic(flags.log, columns, flags.model, exports)
    if len(log) < LEAST_TEXTS:
        raise UsageError(f"{log.name}: {len(log)} answers; nothing can be seen with fewer than {LEAST_TEXTS}")
    format = (exports or {}).get(log.version, flags.format)
    if is_predictions(flags.reference):
        reference = read_traffic([flags.reference], columns, flags.model, log.version and [log.version])
    else:
        labels = list(read_json(flags.export_dir / "id2label.json").values())
        if not content or not labels:
            raise UsageError(
                f"--export_dir {flags.export_dir}: not an export; give the one that answered, or predictions as "
                "--reference"
            )
        texts, ids = read_examples(flags.reference, labels)
        reference = texts, [labels[class_id] for class_id in ids]
    number = len(reference[0]) if isinstance(reference, tuple) else len(reference)
    if number < LEAST_TEXTS:
        raise UsageError(
            f"{flags.reference}: {number} texts; nothing can be seen with fewer than {LEAST_TEXTS}: give a larger one"
        )
    return log.newest(flags.last), reference, format


def answered(flags, texts, truth, format):
    """The export's answers to the reference, from reference.json where it has them: Traffic."""
    import numpy as np

    from analysis.traffic import Traffic
    from core.predictor import Predictor, available_formats
    from utils import staged_files, write_json

    if format == "auto":
        found = available_formats(flags.export_dir)
        format = next((name for name in ("onnx", NGRAM) if name in found), "paddle")
    version = version_of(content_of(flags.export_dir, format), format)
    if format in STUDENT_FORMATS:  # a student may be made anew, and other stages chosen
        stages = [flags.export_dir / STUDENT_FOLDER / name for name in (EXPORT_FILE, STAGES_FILE)]
        version += "-" + hashlib.sha256(json.dumps([read_json(path) for path in stages]).encode()).hexdigest()[:12]
    digest = hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
    path = flags.report_dir / "reference.json"
    kept = read_json(path)
    if kept.get("texts") != digest or kept.get("version") != version:
        print(f"Answering {len(texts):,} texts of {flags.reference} with {flags.export_dir} ({format}) …", flush=True)
        answers = Predictor(flags.export_dir, format).classify(texts)
        kept = {"texts": digest, "version": version}
        kept |= {"label": [label for label, _ in answers], "confidence": [score for _, score in answers]}
        with staged_files(flags.report_dir) as stage:
            write_json(stage / path.name, kept)
    lengths = np.array([len(text) for text in texts])
    return Traffic(
        str(flags.reference), kept["label"], np.array(kept["confidence"]), lengths, texts, truth, version=version
    )


def main(argv=None):
    flags = parse_flags(argv)
    log, reference, format = read_sets(flags)

    from analysis.monitor_page import write_report  # what takes a second
    from analysis.monitoring import add_features, metrics_lines, summary_lines, watch, worth_labelling
    from utils import staged_files, write_lines

    if isinstance(reference, tuple):
        reference = answered(flags, *reference, format)
    if flags.params_path:
        add_features(flags, reference, log)
    outcome = watch(reference, log, flags)
    chosen = worth_labelling(reference, log, flags.label_num, flags.seed)
    if chosen:
        write_lines(flags.report_dir, {"to_label.txt": chosen}, "--report_dir")
    page = write_report(outcome, reference, log, chosen, flags)
    if flags.metrics_file:
        with staged_files(flags.metrics_file.parent) as stage:
            text = "\n".join(metrics_lines(outcome, reference, log, flags)) + "\n"
            (stage / flags.metrics_file.name).write_text(text, encoding="utf-8")
    print("\n".join(summary_lines(outcome, reference, log)))
    print(f"Report: {page}")
    if chosen:
        print(f"{len(chosen):,} texts that are most worth a label: {flags.report_dir / 'to_label.txt'}")
    return 1 if outcome.alarms else 0


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
