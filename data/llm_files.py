"""What data/llm_label.py keeps in --save_dir, beside its answers: what is taken, what is not, and the examples."""

import hashlib
import json
import random

from core.origins import ORIGINS_FILE
from utils import UsageError, read_json, read_lines, staged_files, write_json

AGREEMENT_FILE, EXAMPLES_FILE = "agreement.json", "examples.json"
LABELLED_FILE, TRAIN_FILE, REST_FILE = "labelled.txt", "train.txt", "to_annotate.txt"
# What people look through, and may correct.
GUARDED = (LABELLED_FILE, TRAIN_FILE)


def write_results(flags, labels, annotator, texts, agreement):
    """Write what is taken and what is not; how many each.

    Args:
        flags: with data_dir, save_dir and model.
        labels (list[str]): in class order.
        annotator (Annotator): that has the answers.
        texts (list[str]): of data.txt.
        agreement (dict): of llm_label.measure; the digests of GUARDED are written beside it.
    """
    threshold, taken, rest = agreement["threshold"], [], []
    for text in dict.fromkeys(texts):
        one = annotator.label_of(text)
        if one and threshold is not None and one[1] >= threshold:
            taken.append((text, *one))
        else:
            rest.append((one[1] if one else -1.0, text))
    rest.sort(key=lambda pair: pair[0])  # stable: equal ones stay in the order of data.txt
    lines = [f"{text}\t{labels[class_id]}" for text, class_id, _ in taken]
    origins = [
        {"text": text, "label": labels[class_id], "origin": f"llm:{flags.model}", "confidence": round(sure, 4)}
        for text, class_id, sure in taken
    ]
    train = flags.data_dir / "train.txt"
    contents = {
        LABELLED_FILE: lines,
        TRAIN_FILE: [*(line for line in read_lines(train) if line.strip()), *lines],
        ORIGINS_FILE: [json.dumps(origin, ensure_ascii=False) for origin in origins],
        REST_FILE: [text for _, text in rest],
    }
    with staged_files(flags.save_dir) as stage:
        for name, content in contents.items():
            (stage / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8", newline="\n")
        # Both the new and the old: the files are moved one after the other, and a kill may come between.
        paths = {name: [folder / name for folder in (stage, flags.save_dir)] for name in GUARDED}
        written = {
            name: list(dict.fromkeys(digest_of(path) for path in some if path.is_file()))
            for name, some in paths.items()
        }
        write_json(stage / AGREEMENT_FILE, {**agreement, "written": written})
    return len(taken), len(rest)


def digest_of(path):
    """What a file holds, in 64 characters."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refuse_corrected(folder):
    """Refuse to write over files that somebody has changed since they were written.

    Raises:
        UsageError: naming them; or a labelled.txt is there of which nothing is known.
    """
    written = read_json(folder / AGREEMENT_FILE).get("written")
    if written is None:  # an earlier version wrote them
        there = [name for name in (LABELLED_FILE,) if (folder / name).is_file() and not is_as_origins_say(folder)]
    else:
        there = [
            name for name in GUARDED if (folder / name).is_file() and digest_of(folder / name) not in written[name]
        ]
    if there:
        raise UsageError(
            f"{folder / there[0]}: was changed since it was written here, and would be lost"
            + (f" ({there[1]}, too)" if there[1:] else "")
            + "; move it to another folder, or delete it to have it written anew; what was answered is kept"
        )


def is_as_origins_say(folder):
    """Whether labelled.txt has the labels of origins.jsonl, which is written with it."""
    try:
        rows = [json.loads(line) for line in read_lines(folder / ORIGINS_FILE) if line.strip()]
        return [f"{row['text']}\t{row['label']}" for row in rows] == read_lines(folder / LABELLED_FILE)
    except (UsageError, ValueError, KeyError, TypeError):
        return False


def choose_examples(folder, texts, ids, labels, number, seed):
    """The examples of earlier runs into this folder, while train.txt has them, so that their answers stay good.

    Args:
        folder (Path): --save_dir.
        texts, ids (list): train.txt's texts and class ids.
        labels (list[str]): in class order.
        number (int): of examples a label.
        seed (int): of the draw.

    Returns:
        tuple[list[tuple[str, str]], dict]: texts and labels; what EXAMPLES_FILE is to hold.
    """
    facts = {"labels": labels, "number": number, "seed": seed}
    kept, found = read_json(folder / EXAMPLES_FILE), []
    rows = kept.get("examples")
    if isinstance(rows, list) and {name: kept.get(name) for name in facts} == facts:
        found = [tuple(row) for row in rows if isinstance(row, list)]
    there = {(text, labels[class_id]) for text, class_id in zip(texts, ids)}
    if not found or not there.issuperset(found):
        found = draw_examples(texts, ids, labels, number, seed)
    return found, {**facts, "examples": [list(pair) for pair in found]}


def draw_examples(texts, ids, labels, number, seed):
    """A few training samples of each label: list[tuple[str, str]]; short ones, for they cost in each request."""
    order = sorted(range(len(ids)), key=lambda row: (len(texts[row]) > 200, random.Random(f"{seed}:{row}").random()))
    return [
        (texts[row], labels[class_id])
        for class_id in range(len(labels))
        for row in [row for row in order if ids[row] == class_id][:number]
    ]
