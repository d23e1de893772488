"""How far annotators agree, which labels they confuse, and what a third person should decide.

    # Exports of doccano (one file an annotator, or the zip of them) or Label Studio (JSON, JSON-MIN)
    python data/agreement.py --doccano_file export.zip
    python data/agreement.py --doccano_file alice.jsonl bob.jsonl --export_model_dir checkpoint/export

    # The texts that they disagree on, decided in the annotation tool -> the data
    python data/doccano.py --doccano_file adjudicated.jsonl --merge_into ./data

Printed, and with more detail in --report_dir's agreement.html and agreement.json: Krippendorff's alpha, Fleiss' kappa,
Cohen's kappa of each two annotators, the agreement on each label, all with 95 % intervals (bootstrap over texts), and
the pairs of labels that are confused, with examples. --export_file (default: to_adjudicate.jsonl in --report_dir) has
the texts with different labels for the import of doccano or Label Studio, the most contested label pair first: who
said what stands in `origin`, and with --export_model_dir the model's label is suggested with its score.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.report import add_language_flag
from core.arguments import parse_argv
from data.annotators import read_votes
from data.label_studio import make_interface, make_tasks
from utils import UsageError, check_save_dir, exit_on_usage_error, format_table, read_labels, write_lines

# Pairs of labels that are printed.
PRINTED_PAIRS = 10
PRE_ANNOTATED = (
    "note: these texts were imported with a model's labels. Those that nobody has ticked count as their importer's, "
    "unless the export is one of approved documents only; and who sees a suggestion agrees with it more often"
)


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--doccano_file", type=Path, nargs="+", required=True, help="exports of doccano or Label Studio")
    add("--text_key", help="Label Studio: the key of the text in the data; default: found")
    add("--choice", metavar="NAME", help="Label Studio: the name of the <Choices> to use; default: the only one")
    add("--report_dir", type=Path, default=Path("agreement_report"), help="for the page and the files")
    add("--export_file", type=Path, help="for the texts to decide (default: to_adjudicate.jsonl in --report_dir)")
    add("--export_format", choices=("doccano", "label_studio"), default="doccano", help="whose import (doccano)")
    add("--export_model_dir", type=Path, help="the exported model whose label is suggested")
    add("--label_file", type=Path, help="label.txt: labels that are not in it are refused")
    add("--seed", type=int, default=3, help="of the bootstrap (default: 3)")
    add("--force", action="store_true", help="replace an --export_file that is there")
    add_language_flag(parser)
    return parse_argv(parser, argv)


def check_labels(votes, path):
    """Refuse labels that are not in label.txt.

    Raises:
        UsageError: naming them.
    """
    known = set(read_labels(path))
    wrong = {vote.label: vote.place for vote in votes if vote.label not in known}
    if wrong:
        places = "; ".join(f"{label!r} in {place}" for label, place in wrong.items())
        raise UsageError(f"{path}: not there: {places}; add the labels, or correct the export")


def rows_to_decide(agreement):
    """The texts with different labels, those of the most frequently confused labels first.

    Returns:
        list[dict]: text, label and score (empty), given_label (empty), origin: who said what.
    """
    texts = dict.fromkeys(text for *_, some in agreement.confused for text in some)
    return [
        {
            "text": text,
            "label": "",
            "score": "",
            "given_label": "",
            "origin": " ".join(f"{who}={label}" for who, label in agreement.disagreements[text].items()),
        }
        for text in texts
    ]


def contents_to_decide(rows, labels, export_format):
    """The lines of the files that are imported: a list, or with the labelling interface two."""
    if export_format == "label_studio":
        names = {"text_key": "text", "choice": "label", "to_name": "text"}
        tasks = [json.dumps(task, ensure_ascii=False) for task in make_tasks(rows, model_version="model", **names)]
        lines = ["[", *(f"{task}," for task in tasks[:-1]), *tasks[-1:], "]"]
        return [lines, make_interface(labels, **names)]
    # All values are there and strings: doccano fills gaps between records with NaN.
    return [[json.dumps({**row, "label": [row["label"]] if row["label"] else []}, ensure_ascii=False) for row in rows]]


def told(measure):
    """A Measure in a few characters."""
    if math.isnan(measure.value):
        return "cannot be told: one label alone was given"
    return f"{measure.value:.3f} ({measure.interval[0]:.3f} to {measure.interval[1]:.3f})"


def summary_lines(agreement, left_out):
    """Lines for the terminal."""
    yield f"{len(agreement.texts):,} texts have labels of several annotators, {agreement.agreed:.1%} of them one label"
    if left_out["several_labels"]:
        yield f"{left_out['several_labels']:,} annotations with several labels are left out"
    if left_out["pre_annotated"]:
        yield PRE_ANNOTATED
    yield f"Krippendorff's alpha  {told(agreement.alpha)}"
    texts = f"{agreement.fleiss.texts:,} texts with {agreement.raters} labels"
    yield f"Fleiss' kappa         {told(agreement.fleiss)}, {texts}"
    rows = [
        {"annotators": f"{first}, {second}", "texts": kappa.texts, "same": f"{same:.1%}", "Cohen's kappa": told(kappa)}
        for first, second, kappa, same in agreement.pairs
    ]
    yield from format_table(rows)
    for first, second, number, texts in agreement.confused[:PRINTED_PAIRS]:
        yield f"confused {number:,} times: {first} / {second}, such as: {texts[0][:60]}"


def main(argv=None):
    flags = parse_flags(argv)
    votes, left_out = read_votes(flags.doccano_file, flags.text_key, flags.choice)
    if flags.label_file:
        check_labels(votes, flags.label_file)
    target = flags.export_file or flags.report_dir / "to_adjudicate.jsonl"
    files = [target.name] + ([f"{target.stem}.xml"] if flags.export_format == "label_studio" else [])
    if flags.export_file:
        check_save_dir(target.parent, files, flags.force)

    from data.agreement_measures import agreement_of  # numpy
    from data.agreement_page import write_report

    agreement = agreement_of(votes, flags.seed)
    if agreement is None:
        names = ", ".join(sorted({vote.annotator for vote in votes}))
        raise UsageError(
            f"{flags.doccano_file[0]}: no text has labels of two annotators ({names}); let some be the same"
        )
    rows = rows_to_decide(agreement)
    if flags.export_model_dir and rows:
        from core.predictor import Predictor, plain_format

        predictor = Predictor(flags.export_model_dir, plain_format(flags.export_model_dir))
        answers = predictor.classify([row["text"] for row in rows])
        for row, (label, score) in zip(rows, answers):
            row.update(label=label, score=f"{score:.4f}")
    page = write_report(agreement, rows, left_out, flags)
    print("\n".join(summary_lines(agreement, left_out)))
    if rows:
        labels = read_labels(flags.label_file) if flags.label_file else agreement.labels
        contents = contents_to_decide(rows, labels, flags.export_format)
        write_lines(target.parent, dict(zip(files, contents)), "--export_file")
        print(f"{len(rows):,} texts to decide: {target}")
        print("next: import it, decide, and python data/doccano.py --doccano_file ADJUDICATED --merge_into data")
    print(f"Report: {page}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
