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

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    load_module,
    prepare_cpu,
    read_cases,
    read_json,
    staged_files,
    write_json,
)

config = load_module("retrieval_config", HERE / "utils" / "config.py")
lib = load_module("retrieval_vote", HERE / "utils" / "vote.py")

SYSTEM_FILE = "system.json"
# What counts until --fit_threshold has found better: no text is unknown then.
DEFAULTS = {"k": 10, "temperature": 0.05, "threshold": None, "weight": 0.5, "fall_back": 0.8}
# Neighbours that --fit_threshold tries at most.
MAX_K = max(lib.KS)
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
    add("--hybrid", choices=("blend", "fall_back"), default="blend", help="a mean of both, or the index where the "
        "classifier is not sure (default: %(default)s)")  # fmt: skip
    add("--weight", type=float, help="of the classifier in the mean, 0 to 1 (default: the fitted one, else 0.5)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.examples and not args.add_label:
        parser.error("--examples: give --add_label too")
    if args.unknown_texts and not args.fit_threshold:
        parser.error("--unknown_texts: give --fit_threshold too")
    if args.top_k < 1:
        parser.error(f"--top_k {args.top_k}: give 1 or more")
    if args.weight is not None and not 0 <= args.weight <= 1:
        parser.error(f"--weight {args.weight}: give a number from 0 to 1")
    if not 0 < args.keep <= 1:
        parser.error(f"--keep {args.keep}: give a number above 0, up to 1")
    args.system_file = args.system_file or args.model_dir / SYSTEM_FILE
    return args


# --------------------------------------------------------------------------------------------------------- the system


class System:
    """Index, encoder and, where there is one, classifier.

    Args:
        index: of open_index.
        extractor (FeatureExtractor): of the index's model.
        settings (dict): as DEFAULTS; and `renamed`, from the classifier's labels to what they are called now.
        classifier (Predictor | None): the fine-tuned model.
        hybrid (str): blend or fall_back.
    """

    def __init__(self, index, extractor, settings, classifier=None, hybrid="blend"):
        self.index, self.extractor, self.classifier, self.hybrid = index, extractor, classifier, hybrid
        self.settings = {**DEFAULTS, "renamed": {}, **settings}
        if classifier:
            renamed = self.settings["renamed"]
            names = [renamed.get(label, label) for label in classifier.labels]
            # Of a label that was removed nobody wants to hear; it stays a column, which is put to 0.
            self._classifier_names = names
            self._alive = {name for name in dict.fromkeys(names) if index.has_label(name)}

    def neighbours(self, texts, top_k, labels=None):
        """list[list[Hit]] of texts."""
        return self.index.search(self.extractor.encode(texts), top_k, labels)

    def tables(self, hits, more=()):
        """Hits as vote takes them.

        Returns:
            tuple[list[str], np.ndarray, np.ndarray]: labels of the columns; scores and label ids [texts, most hits].
        """
        names = list(dict.fromkeys([*more, *(hit.label for found in hits for hit in found)]))
        column = {name: number for number, name in enumerate(names)}
        width = max((len(found) for found in hits), default=0)
        scores, ids = np.zeros((len(hits), width)), np.full((len(hits), width), -1)
        for row, found in enumerate(hits):
            scores[row, : len(found)] = [hit.score for hit in found]
            ids[row, : len(found)] = [column[hit.label] for hit in found]
        return names, scores, ids

    def probabilities(self, texts, names, labels=None):
        """The classifier's probabilities of the labels that are there and asked for, as [texts, names]."""
        column = {name: number for number, name in enumerate(names)}
        wanted = self._alive if labels is None else self._alive & set(labels)
        result = np.zeros((len(texts), len(names)))
        for values, name in zip(self.classifier.probabilities(texts).T, self._classifier_names):
            if name in wanted:
                result[:, column[name]] += values
        return result / np.maximum(result.sum(axis=1, keepdims=True), 1e-300)

    def answer(self, texts, top_k=5, labels=None):
        """Classify texts.

        Args:
            texts (list[str]): none empty.
            top_k (int): neighbours in the answer.
            labels (list[str] | None): only these are answered.

        Returns:
            list[dict]: text; label (None: unknown), score; evidence, a list of text, label and similarity; with a
                classifier also its label and probability, the index's and its share, and whether they disagree.
        """
        settings = self.settings
        hits = self.neighbours(texts, max(top_k, settings["k"]), labels)
        names, scores, ids = self.tables(hits, self._alive if self.classifier else ())
        shares = lib.vote(scores, ids, len(names), settings["k"], settings["temperature"])
        mixed, sure = shares, None
        if self.classifier:
            sure = self.probabilities(texts, names, labels)
            mixed = self.mix(sure, shares, names)
        answers = []
        for row, (text, found) in enumerate(zip(texts, hits)):
            best = int(mixed[row].argmax()) if names else 0
            threshold = settings["threshold"]
            unknown = not names or not mixed[row].any() or (
                threshold is not None and (not found or found[0].score < threshold))  # fmt: skip
            answer = {
                "text": text, "label": None if unknown else names[best],
                "score": float(mixed[row, best]) if names else 0.0,
                "evidence": [{"text": hit.text, "label": hit.label, "similarity": hit.score}
                             for hit in found[:top_k]],
            }  # fmt: skip
            if self.classifier and names:
                one, other = int(sure[row].argmax()), int(shares[row].argmax())
                answer["classifier"] = {"label": names[one], "score": float(sure[row, one])}
                answer["index"] = {"label": names[other], "score": float(shares[row, other])}
                answer["disagree"] = bool(sure[row].any() and shares[row].any() and one != other)
            answers.append(answer)
        return answers

    def mix(self, probabilities, shares, names):
        """Classifier and index together: [texts, names]."""
        known = [number for number, name in enumerate(names) if name in self._alive]
        if not known:
            return shares
        wide = lib.widened(probabilities[:, known], known, shares)
        if self.hybrid == "fall_back":
            mixed = lib.fall_back(wide, shares, self.settings["fall_back"])
        else:
            mixed = lib.blend(wide, shares, self.settings["weight"])
        # Where only one of them says something, it counts as it is.
        mixed = np.where(shares.any(axis=1, keepdims=True), mixed, wide)
        return np.where(probabilities.any(axis=1, keepdims=True), mixed, shares)

    # --------------------------------------------------------------------------------------------------------- labels

    def add_label(self, label, texts):
        """Insert examples of a label; their number."""
        count = self.index.upsert(texts, [label] * len(texts), self.extractor.encode(texts))
        self._keep_changes()
        return count

    def remove_label(self, label):
        """Delete a label with its texts; their number."""
        count = self.index.delete_label(label)
        self._keep_changes()
        return count

    def rename_label(self, old, new):
        """Rename a label; the number of its texts."""
        count = self.index.rename_label(old, new)
        self._keep_changes()
        return count

    def _keep_changes(self):
        if not self.index.is_durable:
            self.index.save()

    # -------------------------------------------------------------------------------------------------------- fitting

    def fit(self, texts, truth, unknown=None, keep=0.95):
        """Choose the settings on texts with labels that are not in the index.

        Args:
            texts, truth (list[str]): with labels that the index has. A text that is in the index is not its own
                neighbour here.
            unknown (list[str] | None): texts that have none of the labels.
            keep (float): without them, the share of the known that is kept.

        Returns:
            dict: k, temperature, threshold; with a classifier weight and fall_back.
        """

        def others(texts):
            found = self.neighbours(texts, MAX_K + 1)
            return [[hit for hit in hits if hit.text != text][:MAX_K] for text, hits in zip(texts, found)]

        hits = others(texts)
        names, scores, ids = self.tables(hits, [*dict.fromkeys(truth), *(self._alive if self.classifier else ())])
        classes = np.array([names.index(label) for label in truth])
        k, temperature = lib.choose_vote(scores, ids, classes, len(names))
        known = [found[0].score if found else -1.0 for found in hits]
        strange = [found[0].score if found else -1.0 for found in others(unknown)] if unknown else None
        fitted = {"k": int(k), "temperature": float(temperature), "threshold": lib.fit_threshold(known, strange, keep)}
        if self.classifier:
            shares = lib.vote(scores, ids, len(names), k, temperature)
            known = [number for number, name in enumerate(names) if name in self._alive]
            wide = lib.widened(self.probabilities(texts, names)[:, known], known, shares)
            fitted["weight"] = float(lib.choose_weight(wide, shares, classes))
            fitted["fall_back"] = float(lib.choose_fall_back(wide, shares, classes))
        return fitted


# ---------------------------------------------------------------------------------------------------------- the script


def read_settings(path, model_hash):
    """The content of system.json; empty where there is none.

    Raises:
        UsageError: it cannot be read, or was fitted with another model.
    """
    if not path.exists():
        return {}
    settings = read_json(path)
    if not settings:
        raise UsageError(f"{path}: cannot be read as JSON; run --fit_threshold again, or delete it")
    if settings.get("model_hash") != model_hash:
        raise UsageError(f"{path}: fitted with another model; run --fit_threshold again, or delete it")
    return settings


def write_settings(path, settings):
    with staged_files(path.parent) as stage:
        write_json(stage / path.name, settings)


def renamed_labels(renamed, old, new):
    """What the classifier's labels are called after one more renaming."""
    renamed = {**{first: new if now == old else now for first, now in renamed.items()}, old: new}
    return {first: now for first, now in renamed.items() if first != now}


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
    prepare_cpu()
    extract = load_module("retrieval_feature_extract", HERE / "utils" / "feature_extract.py")
    extractor = extract.FeatureExtractor(args.model_dir, args.device)
    settings = read_settings(args.system_file, extractor.model_hash)
    if args.weight is not None:
        settings["weight"] = args.weight
    classifier = None
    if args.classifier_dir:
        from predictor import Predictor

        classifier = Predictor(args.classifier_dir, device=args.device)
    index = config.open_index(args.uri, extractor.dim, extractor.model_hash, collection=args.collection)
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
