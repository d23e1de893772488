"""The running system: a text in; its label, the score and the nearest texts out. Labels come and go without training.

    python retrieval_based/run_system.py --model_dir checkpoint/retrieval/export --uri ./milvus.db \\
        --texts 黑苦荞茶的功效与作用及食用方法 幼儿挑食的生理原因是
    python retrieval_based/run_system.py --uri ./milvus.db                                # a text a line from stdin
    python retrieval_based/run_system.py --uri ./milvus.db --add_label 挂号 --examples new.txt
    python retrieval_based/run_system.py --uri ./milvus.db --rename_label 挂号 就诊挂号
    python retrieval_based/run_system.py --uri ./milvus.db --remove_label 就诊挂号
    python retrieval_based/run_system.py --uri ./milvus.db --fit_threshold data/dev.txt   # settings of the vote

Printed for each text: label, score and text, then, a tab to the right, its nearest texts with label and similarity.
Texts are put into the index by utils/vector_insert.py; --uri is as there. --classifier_dir joins an export folder of
train.py: its probabilities are mixed with the index's votes, and where the two disagree, that is said.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least
from retrieval_based.checkpoints import read_export
from retrieval_based.system import System, read_settings, renamed_labels, write_settings
from retrieval_based.utils import config
from retrieval_based.utils.index import open_index
from utils import UsageError, exit_on_usage_error, read_cases

SYSTEM_FILE = "system.json"
UNKNOWN = "unknown"


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--uri", default=config.URI, help="of the index (default: %(default)s)")
    add("--collection", default=config.COLLECTION, help="in Milvus (default: %(default)s)")
    add("--texts", nargs="+", help="to classify, or the examples of --add_label; default: lines from stdin")
    add("--labels", nargs="+", help="only these labels are answered")
    add("--top_k", type=int, default=5, help="nearest texts that are shown (default: %(default)s)")
    add("--json", action="store_true", help="a JSON object a line instead")
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--add_label", metavar="LABEL", help="with --examples or --texts; alone: its name is its text")
    change.add_argument("--remove_label", metavar="LABEL", help="with all its texts")
    change.add_argument("--rename_label", nargs=2, metavar=("OLD", "NEW"), help="NEW may be there already")
    change.add_argument("--fit_threshold", type=Path, metavar="DEV", help="<text>, tab, <label>: write --system_file")
    add("--examples", type=Path, help="of --add_label: a text a line")
    add("--unknown_texts", type=Path, help="for --fit_threshold: a text a line, of none of the labels")
    add("--keep", type=float, default=0.95, help="known texts kept, without --unknown_texts (default: %(default)s)")
    add("--system_file", type=Path, help=f"settings of the system (default: {SYSTEM_FILE} in --model_dir)")
    add("--classifier_dir", type=Path, help="an export folder of train.py, to be mixed with the index")
    hybrid = "a mean of both, or the index where the classifier is not sure (default: %(default)s)"
    add("--hybrid", choices=("blend", "fall_back"), default="blend", help=hybrid)
    add("--weight", type=float, help="of the classifier in the mean, 0 to 1 (default: the fitted one, else 0.5)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.examples and not args.add_label:
        parser.error("--examples: give --add_label too")
    if args.unknown_texts and not args.fit_threshold:
        parser.error("--unknown_texts: give --fit_threshold too")
    for problem in at_least(args, top_k=1):
        parser.error(problem)
    if args.weight is not None and not 0 <= args.weight <= 1:
        parser.error(f"--weight {args.weight}: give a number from 0 to 1")
    if not 0 < args.keep <= 1:
        parser.error(f"--keep {args.keep}: give a number above 0, up to 1")
    args.system_file = args.system_file or args.model_dir / SYSTEM_FILE
    return args


def read_dev(path, index):
    """Texts and labels of a file; a label that the index lacks is an error with its line."""
    texts, truth, known = [], [], {}
    for number, text, label, *_ in read_cases(path):
        if label not in known:
            known[label] = bool(label) and index.has_label(label)
        if not known[label]:
            what = f"the index has no label {label!r}" if label else "no label"
            raise UsageError(f"{path}:{number}: {what}; write <text>, a tab, <label>, or add the label first")
        texts.append(text)
        truth.append(label)
    return texts, truth


def print_answers(answers, as_json):
    for answer in answers:
        if as_json:
            print(json.dumps(answer, ensure_ascii=False), flush=True)
            continue
        print(f"{answer['label'] or UNKNOWN}\t{answer['score']:.4f}\t{answer['text']}")
        if answer.get("disagree"):
            parts = (f"{name} {answer[name]['label']} {answer[name]['score']:.4f}" for name in ("classifier", "index"))
            print(f"\tdisagree: {', '.join(parts)}")
        for hit in answer["evidence"]:
            print(f"\t{hit['text']}\t{hit['label']}\t{hit['similarity']:.4f}")
        sys.stdout.flush()


def change_labels(args, system):
    """Do what --add_label, --remove_label or --rename_label says, and say so."""
    if args.add_label:
        texts = args.texts or [args.add_label]
        if args.examples:
            texts = [text for _, text, *_ in read_cases(args.examples)]
        print(f"{args.add_label}: {system.add_label(args.add_label, texts)} texts added")
        return
    old = args.remove_label or args.rename_label[0]
    if args.remove_label:
        count = system.remove_label(old)
    else:
        new = args.rename_label[1]
        count = system.rename_label(old, new)
    if not count:
        raise UsageError(f"{args.uri}: no label {old!r}; nothing was changed")
    if args.rename_label:
        renamed = renamed_labels(system.settings["renamed"], old, new)
        stored = read_settings(args.system_file, system.extractor.model_hash)
        write_settings(args.system_file, {**stored, "model_hash": system.extractor.model_hash, "renamed": renamed})
    print(f"{old}: {count} texts removed" if args.remove_label else f"{old}: {count} texts are {new} now")


def fit(args, system):
    texts, truth = read_dev(args.fit_threshold, system.index)
    unknown = [text for _, text, *_ in read_cases(args.unknown_texts)] if args.unknown_texts else None
    fitted = system.fit(texts, truth, unknown, args.keep)
    stored = read_settings(args.system_file, system.extractor.model_hash)
    write_settings(args.system_file, {**stored, **fitted, "model_hash": system.extractor.model_hash})
    print(f"{args.system_file}: " + ", ".join(f"{name} {value:g}" for name, value in fitted.items()))
    print(f"They count from now on: python retrieval_based/run_system.py --uri {args.uri} --texts TEXT …")


def classify(args, system):
    """--texts, or lines of stdin until it ends."""
    if not system.classifier and not len(system.index):
        raise UsageError(f"{args.uri}: the index is empty; fill it by utils/vector_insert.py or --add_label")
    if args.texts:
        print_answers(system.answer(args.texts, args.top_k, args.labels), args.json)
        return
    if sys.stdin.isatty():
        print("A text a line; Ctrl+D ends.", file=sys.stderr)
    for line in sys.stdin:
        if line.strip():
            print_answers(system.answer([line.strip()], args.top_k, args.labels), args.json)


def main(argv=None):
    args = parse_flags(argv)
    if args.texts and not all(text.strip() for text in args.texts):
        raise UsageError("--texts: one is empty; leave it out")
    for path in (args.examples, args.fit_threshold, args.unknown_texts):
        if path:
            read_cases(path)
    settings = read_settings(args.system_file, read_export(args.model_dir)["model_hash"])
    from core.predictor import Predictor  # needs paddlenlp, which takes seconds
    from retrieval_based.utils.extractor import FeatureExtractor

    extractor = FeatureExtractor(args.model_dir, args.device)
    if args.weight is not None:
        settings["weight"] = args.weight
    classifier = Predictor(args.classifier_dir, device=args.device) if args.classifier_dir else None
    index = open_index(args.uri, extractor.dim, extractor.model_hash, collection=args.collection)
    try:
        system = System(index, extractor, settings, classifier, args.hybrid)
        if args.add_label or args.remove_label or args.rename_label:
            change_labels(args, system)
        elif args.fit_threshold:
            fit(args, system)
        else:
            classify(args, system)
    finally:
        index.close()


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
