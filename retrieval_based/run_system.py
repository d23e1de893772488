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
import contextlib
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, parse_argv
from retrieval_based.checkpoints import read_export
from retrieval_based.lines import check_arguments, output_that_may_end, stdin_lines
from retrieval_based.settings import DEFAULTS, OLD_FILE, read_notes, read_settings, take_over, write_settings
from retrieval_based.system import System
from retrieval_based.utils import config
from retrieval_based.utils.index import check_uri, open_index
from utils import MAX_NAMES_IN_MESSAGE, UsageError, exit_on_usage_error, read_cases


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
    change.add_argument("--fit_threshold", type=Path, metavar="DEV", help="<text>, tab, <label>: settings of the vote")
    add("--examples", type=Path, help="of --add_label: a text a line")
    add("--unknown_texts", type=Path, help="for --fit_threshold: a text a line, of none of the labels")
    add("--keep", type=float, default=0.95, help="known texts kept, without --unknown_texts (default: %(default)s)")
    add("--system_file", metavar="FILE", help="--fit_threshold writes it, the others read it (default: the index)")
    add("--unknown_label", default="unknown", help="printed for a text that no label fits (default: %(default)s)")
    add("--classifier_dir", help="an export folder of train.py, to be mixed with the index")
    hybrid = "a mean of both, or the index where the classifier is not sure (default: %(default)s)"
    add("--hybrid", choices=("blend", "fall_back"), default="blend", help=hybrid)
    add("--weight", type=float, help="of the classifier in the mean, 0 to 1 (default: the fitted one, else 0.5)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parse_argv(parser, argv)
    if args.examples and args.add_label is None:
        parser.error("--examples: give --add_label too")
    if args.unknown_texts and not args.fit_threshold:
        parser.error("--unknown_texts: give --fit_threshold too")
    for problem in label_problems(args):
        parser.error(problem)
    for problem in at_least(args, top_k=1):
        parser.error(problem)
    if args.weight is not None and not 0 <= args.weight <= 1:
        parser.error(f"--weight {args.weight}: give a number from 0 to 1")
    if not 0 < args.keep <= 1:
        parser.error(f"--keep {args.keep}: give a number above 0, up to 1")
    return args


def label_problems(args):
    """What is wrong with the names and paths among the flags: a list of messages."""
    args.rename_label = args.rename_label and [args.rename_label[0], args.rename_label[1].strip()]
    args.add_label = args.add_label if args.add_label is None else args.add_label.strip()
    old, new = args.rename_label or (None, None)
    given = {"--add_label": args.add_label, "--remove_label": args.remove_label, "--rename_label": old}
    given.update({"--rename_label … NEW": new, "--unknown_label": args.unknown_label})
    given.update({"--system_file": args.system_file, "--classifier_dir": args.classifier_dir})
    given.update({f"--labels, number {number}": label for number, label in enumerate(args.labels or (), 1)})
    problems = [f"{flag}: is empty" for flag, value in given.items() if value is not None and not value.strip()]
    for flag, label in (("--add_label", args.add_label), ("--rename_label", new)):
        if label == args.unknown_label:
            problems.append(f"{flag} {label}: is printed for a text that no label fits; choose another name")
    if old is not None and old == new:
        problems.append(f"--rename_label {old} {new}: the same name")
    return problems


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


def print_answers(answers, args):
    for answer in answers:
        if args.json:
            print(json.dumps(answer, ensure_ascii=False), flush=True)
            continue
        print(f"{answer['label'] or args.unknown_label}\t{answer['score']:.4f}\t{answer['text']}")
        if answer.get("disagree"):
            parts = (f"{name} {answer[name]['label']} {answer[name]['score']:.4f}" for name in ("classifier", "index"))
            print(f"\tdisagree: {', '.join(parts)}")
        for hit in answer["evidence"]:
            print(f"\t{hit['text']}\t{hit['label']}\t{hit['similarity']:.4f}")
        sys.stdout.flush()


def say(line):
    print(line, file=sys.stderr)


def change_labels(args, system):
    """Do what --add_label, --remove_label or --rename_label says, and say so."""
    asked = tuple(args.rename_label or ())
    finish_renamings(system, but=asked)
    if args.add_label is not None:
        texts = args.texts or [args.add_label]
        if args.examples:
            texts = [text for _, text, *_ in read_cases(args.examples)]
        print(f"{args.add_label}: {system.add_label(args.add_label, texts)} texts added")
        return
    was_pending = asked in system.pending
    old = asked[0] if asked else args.remove_label
    count = system.rename_label(*asked) if asked else system.remove_label(old)
    if not count and not was_pending:
        if asked and {"renamed": list(asked)} in system.index.notes() and system.index.has_label(asked[1]):
            print(f"{old}: is {asked[1]} already")
            return
        raise UsageError(f"{args.uri}: no label {old!r}; nothing was changed")
    print(f"{old}: {count} texts are {asked[1]} now" if asked else f"{old}: {count} texts removed")


def finish_renamings(system, but=()):
    """Complete what was cut off, before something else is changed."""
    for old, new in list(system.pending):
        if (old, new) != but:
            print(f"{old}: {system.rename_label(old, new)} texts are {new} now; that had been cut off")


def fit(args, system):
    finish_renamings(system)
    texts, truth = read_dev(args.fit_threshold, system.index)
    unknown = [text for _, text, *_ in read_cases(args.unknown_texts)] if args.unknown_texts else None
    fitted = system.fit(texts, truth, unknown, args.keep)
    if args.system_file:
        path, model_hash = Path(args.system_file), system.extractor.model_hash
        stored = {}
        with contextlib.suppress(UsageError):  # another model's: it is replaced
            stored = read_settings(path, model_hash)
        write_settings(path, {**stored, **fitted, "model_hash": model_hash})
    else:
        system.index.add_note({"set": fitted})
    where = args.system_file or args.uri
    print(f"{where}: " + ", ".join(f"{name} {value:g}" for name, value in fitted.items()))
    more = f" --system_file {args.system_file}" if args.system_file else ""
    print(f"They count from now on: python retrieval_based/run_system.py --uri {args.uri}{more} --texts TEXT …")


def classify(args, system):
    """--texts, or lines of stdin until it ends."""
    index = system.index
    if not len(index):
        raise UsageError(f"{args.uri}: the index is empty; fill it by utils/vector_insert.py or --add_label")
    missing = sorted(set(args.labels or ()) - index.present(args.labels or ()) - {new for _, new in system.pending})
    if missing:
        raise UsageError(f"--labels {' '.join(missing)}: not in the index; leave it out, or correct it")
    if not args.json and index.has_label(args.unknown_label):
        raise UsageError(
            f"{args.unknown_label}: is a label of the index, and printed for a text that no label fits; give "
            "--unknown_label another name, or --json, which has null for it"
        )
    for old, new in system.pending:
        flags = ["--model_dir", args.model_dir, "--uri", args.uri, "--collection", args.collection]
        command = shlex.join(map(str, [*flags, "--rename_label", old, new]))
        say(
            f"{args.uri}: not all texts of {old} are {new} yet; it counts already. If it was cut off: "
            f"python retrieval_based/run_system.py {command}"
        )
    if system.not_in_index:
        names = " ".join(system.not_in_index[:MAX_NAMES_IN_MESSAGE])
        more = " …" if len(system.not_in_index) > MAX_NAMES_IN_MESSAGE else ""
        say(f"{args.classifier_dir}: knows labels that are not in the index, and so not answered: {names}{more}")
    if args.texts:
        print_answers(system.answer(args.texts, args.top_k, args.labels), args)
        return
    if sys.stdin.isatty():
        print("A text a line; Ctrl+D ends.", file=sys.stderr)
    for line in stdin_lines():
        system.follow()
        print_answers(system.answer([line], args.top_k, args.labels), args)


def chosen_settings(args, index, model_hash):
    """The settings that go before the index's: --system_file and --weight. An old file's are given to the index.

    Returns:
        dict: as System takes them.
    """
    path, noted, stored, chosen = Path(args.system_file or args.model_dir / OLD_FILE), index.notes(), {}, {}
    try:
        if args.system_file or not noted:
            stored = read_settings(path, model_hash)
    except UsageError as error:
        if args.system_file and not args.fit_threshold:
            raise
        say(f"{error}. It is passed over")
    if stored and not noted and len(index):
        chosen, _ = read_notes(take_over(index, path, stored, not args.system_file, say))
    if args.system_file:
        chosen.update({name: stored[name] for name in DEFAULTS if name in stored})
    if args.weight is not None:
        chosen["weight"] = args.weight
    return chosen


def main(argv=None):
    args = parse_flags(argv)
    if args.texts and not all(text.strip() for text in args.texts):
        raise UsageError("--texts: one is empty; leave it out")
    labels = [args.add_label, args.remove_label, args.unknown_label, *(args.rename_label or ()), *(args.labels or ())]
    check_arguments("--texts", args.texts)
    check_arguments("label", filter(None, labels))
    for path in (args.examples, args.fit_threshold, args.unknown_texts):
        if path:
            read_cases(path)
    check_uri(args.uri)
    model_hash = read_export(args.model_dir)["model_hash"]
    if args.system_file and not args.fit_threshold:
        read_settings(Path(args.system_file), model_hash)
    from core.predictor import Predictor  # needs paddlenlp, which takes seconds
    from retrieval_based.utils.extractor import FeatureExtractor

    extractor = FeatureExtractor(args.model_dir, args.device)
    changes = args.add_label is not None or args.remove_label is not None or args.rename_label is not None
    classifier = None
    if args.classifier_dir and not changes:
        classifier = Predictor(args.classifier_dir, device=args.device)
    writes = changes or bool(args.fit_threshold and not args.system_file)
    index = open_index(args.uri, extractor.dim, extractor.model_hash, collection=args.collection, writes=writes)
    try:
        chosen = chosen_settings(args, index, extractor.model_hash)
        system = System(index, extractor, chosen, classifier, args.hybrid)
        if changes:
            change_labels(args, system)
        elif args.fit_threshold:
            fit(args, system)
        else:
            classify(args, system)
    finally:
        index.close()


if __name__ == "__main__":
    with exit_on_usage_error(), output_that_may_end():
        main()
