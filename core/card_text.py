"""What a model card says (core/model_card.py), in Chinese and English."""

from core.calibration import SURE
from core.card_words import Words
from core.checkpoints import NGRAM
from core.ngram_student import CHARACTERS_A_TOKEN

# A table of more rows is read by nobody; analysis/evaluate.py writes all of them.
MAX_LABELS = 200

FEW = 20


def plain_text(text):
    """Words of the user's, such as a label, without a meaning in Markdown or HTML."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~" else letter for letter in str(text))


def percent(value):
    return f"{value:.2%}"


def bounds(score):
    """The interval of a score, (value, lower, upper bound); empty where all draws were alike, which tells nothing."""
    return "" if score[1] == score[2] else f"{score[1] * 100:.1f}–{score[2] * 100:.1f}"


def with_bounds(score):
    """A score and its interval, where it has one."""
    return f"{score[0] * 100:.1f}" + (f" ({found})" if (found := bounds(score)) else "")


def table(columns, rows):
    """Lines of a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def card_lines(card, language):
    """A model card as lines of Markdown.

    Args:
        card (core.model_card.Card): what is known.
        language (str): zh or en.
    """
    words = Words(language)
    content = card.content
    parts = [[f"# {words('title')}"], [words("other")], [words("what", count=len(card.labels))]]
    if card.student:
        parts += student(card, words)
    elif content.get("weights"):
        parts.append([words("weights", digest=content["weights"][:12])])
    if "width_mult" in content:
        parts.append([words("width", width=content["width_mult"], pruner=content.get("pruner", "builtin"))])
    parts += [[f"## {words('use')}"], [f"- {line}" for line in words("fill")]]
    for section in (data, training, scores, together, classes, formats, probabilities, versions, licence):
        parts += section(card, words)
    return [line for part in parts for line in ([*part, ""] if part else [])][:-1]


def teacher_name(card):
    """The model that a student was distilled from, or None; the others of base's names are those it came from."""
    return next(iter(card.base.get("names", ())), card.base.get("name"))


def student(card, words):
    """What a student is, and what runs it."""
    own, digest = card.student, (card.content.get("weights") or "")[:12]
    name = teacher_name(card) or words("unknown")
    joint = "、" if words.place == 0 else ", "
    kind = words(f"student_{own['kind']}", layers=joint.join(map(str, own["layers"] or ())))
    parts = [[words("student", kind=kind, name=name)], [words(f"runs_{own['kind']}")]]
    return [*parts, [words("student_weights", digest=digest)]] if digest else parts


def data(card, words):
    rows = []
    for split in ("train", "dev"):
        known = card.sizes.get(split)
        unknown = [words("unknown")] * 2
        present = known and sum(1 for count in known["labels"].values() if count)
        rows.append(
            [words(split), *([f"{known['samples']:,}", f"{present}/{len(card.labels)}"] if known else unknown)]
        )
    parts = [[f"## {words('data')}"], table([words(name) for name in ("split", "samples", "labels_in")], rows)]
    if card.student:
        texts = {name: f"{count:,}" for name, count in card.student["texts"].items()}
        said = words("learnt_made", **texts) if card.student["kind"] == NGRAM else words("learnt", **texts)
        parts.append([said])
    return parts


def training(card, words):
    parts = [[f"## {words('training')}"]]
    name = card.base.get("name")
    lines = [f"- {words('base')}{f'`{name}`' if name else words('unknown')}"]
    if len(card.base.get("names", ())) > 1:
        names = " ← ".join(f"`{each}`" for each in card.base["names"])
        lines = [f"- {words('base')}`{name}`; {words('chain', names=names)}"]
    if card.student:
        teacher = teacher_name(card)
        first = f"- {words('teacher')}{f'`{teacher}`' if teacher else words('unknown')}"
        lines = [first, *(lines if name != teacher else [])]
    for title, flags in (("flags", card.flags), ("compression", card.compression)):
        if flags:
            lines.append(f"- {words(title)}" + " ".join(f"`--{flag} {value}`" for flag, value in flags))
    if not card.trained:
        lines.append(f"- {words('no_training')}")
    return [*parts, lines]


def scores(card, words):
    parts, found = [[f"## {words('metrics')}"]], card.scores
    if not found:
        return [*parts, [words("no_scores", why=words.reason(card.why_no_scores))]]
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1")
    rows = [[words(name), percent(found[name][0]), bounds(found[name])] for name in names]
    columns = ["metric", "value", "interval"]
    if card.student:
        teacher, columns = card.student["scores"], [*columns, "of_teacher", "interval"]
        rows = [[*row, percent(teacher[name][0]), bounds(teacher[name])] for row, name in zip(rows, names)]
    parts.append(table([words(name) for name in columns], rows))
    if card.student:
        parts.append([words("agreement", share=percent(card.student["agreement"]))])
    said = words("how", samples=f"{found['samples']:,}", common=percent(found["most_common"]))
    more = words("other_formats") if any(not exact(row) for row in card.rows) else ""
    parts.append([f"{said} {more}".rstrip()])
    reasons = words("by_dev")
    if card.by_dev:
        joint = "；" if words.place == 0 else "; "
        said = words("dev_used", what=joint.join(reasons[code] for code in card.by_dev))
    else:
        said = words("dev_unused") if card.trained else words("dev_unknown")
    return [*parts, [said], [words("no_test")]]


def together(card, words):
    """What a student and its teacher's export do together."""
    found = (card.student or {}).get("stages")
    if not found:
        return []
    rows, reasons = [], []
    for format, kinds in found.items():
        for kind, facts in kinds.items():
            if kind not in ("cascade", "blend"):
                continue
            if "why" in facts:
                why = words.reason(facts["why"])
                reasons.append(f"- {words('not_together', format=f'{kind}:{format}', why=why)}")
                continue
            share = percent(facts["share"]) if "share" in facts else "-"
            rows.append([f"`{kind}:{format}`", percent(facts["accuracy"]), percent(facts["model_accuracy"]), share])
    parts = [[f"### {words('together')}"], [words("together_how")]]
    if rows:
        columns = ("format", "out_of_fold", "model_alone", "student_answers")
        parts.append(table([words(name) for name in columns], rows))
    return [*parts, reasons] if reasons else parts


def classes(card, words):
    if not card.scores:
        return []
    rows, own = card.scores["classes"], card.sizes.get("train", {}).get("labels", {})
    shown = sorted(range(len(rows)), key=lambda place: -rows[place]["samples"])[:MAX_LABELS]
    cells = []
    for row in (rows[place] for place in sorted(shown)):
        given = [with_bounds(row[name]) for name in ("precision", "recall", "f1")]
        absent = ["-"] * 3
        train = own.get(row["label"], words("unknown") if not own else 0)
        cells.append([plain_text(row["label"]), train, row["samples"], *(given if row["samples"] else absent)])
    columns = ("label", "in_train", "in_dev", "precision", "recall", "f1")
    parts = [[f"## {words('classes')}"], table([words(name) for name in columns], cells)]
    notes = []
    if len(shown) < len(rows):
        notes.append(words("first", shown=len(shown), all=len(rows)))
    if few := sum(row["samples"] < FEW for row in rows):
        notes.append(words("few", least=FEW, count=few))
    if card.scores["confused"]:
        pairs = [
            words("pair", true=plain_text(true), predicted=plain_text(predicted), count=count)
            for true, predicted, count in card.scores["confused"]
        ]
        notes.append(words("confused", pairs=("、" if words.place == 0 else ", ").join(pairs)))
    return [*parts, *([note] for note in notes)]


def exact(row):
    """Whether a row of verify_export has the model's own label for every text."""
    return row["label_agreement"] == 1.0


def formats(card, words):
    parts, sizes = [[f"## {words('formats')}"]], card.content.get("files", {})
    rows = [row for row in card.rows if row["file"]]
    if not rows:
        graphs = [name for name in sizes if name.endswith((".pdmodel", ".onnx", ".npz"))]
        cells = [[f"`{name}`", megabytes(name, sizes)] for name in graphs]
        return [*parts, table([words("file"), words("size")], cells) if cells else [], [words("no_speed")]]
    cells = [
        [
            f"`{row['format']}`",
            f"`{row['file']}`",
            megabytes(row["file"], sizes),
            percent(row["accuracy"]),
            percent(row["label_agreement"]),
            "-" if row.get("ms_per_sample") is None else f"{row['ms_per_sample']:.2f}",
        ]
        for row in rows
    ]
    columns = ("format", "file", "size", "dev_accuracy", "same", "ms")
    parts.append(table([words(name) for name in columns], cells))
    if any(row.get("ms_per_sample") is not None for row in rows):
        threads = card.machine.get("threads") or words("unknown")
        parts.append([words("speed", threads=threads, cpu=card.machine.get("cpu") or words("unknown"))])
    other = [row for row in rows if not exact(row)]
    return parts + [[words("not_exact", format=row["format"], share=percent(row["label_agreement"]))] for row in other]


def megabytes(name, sizes):
    """The size of a graph with its weights, where these are in another file, or - where it is not known."""
    total = sizes.get(name, 0) + (sizes.get(f"{name[: -len('.pdmodel')]}.pdiparams", 0) if ".pdmodel" in name else 0)
    return f"{total / 1e6:.1f}" if total else "-"


def probabilities(card, words):
    parts, content = [[f"## {words('calibration')}"]], card.content
    found = content.get("calibration")
    if not found:
        return [*parts, [words("no_calibration")]]
    if found.get("temperature") is None:
        parts.append([words("not_calibrated", why=words.reason(found.get("why", words("unknown"))))])
    else:
        values = {f"error_{when}": percent(found[when]["calibration_error"]) for when in ("before", "after")}
        values.update({f"loss_{when}": f"{found[when]['log_loss']:.4f}" for when in ("before", "after")})
        known = {"temperature": f"{found['temperature']:.4g}", "samples": f"{found['samples']:,}"}
        is_ngram = card.student and card.student["kind"] == NGRAM
        divided = words("in_file" if is_ngram else "in_graphs")
        parts.append([words("calibrated", divided=divided, **known, **values)])
    if "thresholds" not in content:
        return parts
    cells = []
    for accuracy, row in content["thresholds"].items():
        level = row["levels"][-1]
        own = (
            [f"{level['threshold']:.4g}", percent(level["share"]), percent(level["accuracy"])] if level else ["-"] * 3
        )
        cells.append([f"{float(accuracy):.0%}", *own, len(row["labels"])])
    if not cells:
        parts.append([words("no_promises")])
    else:
        columns = ("promised", "threshold", "share", "reached", "by_label")
        parts.append(table([words(name) for name in columns], cells))
        parts.append([words("promises", sure=f"{SURE:.0%}")])
    sets = content.get("conformal") or {}
    lines = []
    for share, row in sets.items():
        known = {"share": f"{float(share):.0%}", "size": f"{row['mean_size']:.2f}", "single": percent(row["single"])}
        lines.append(f"- {words('conformal', **known)}")
    return [*parts, lines]


def versions(card, words):
    content = card.content
    known = ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items())
    said = [known or words("unknown")]
    if "max_length" in content:
        is_ngram = content.get("kind") == NGRAM
        count = content["max_length"] * CHARACTERS_A_TOKEN - 2 if is_ngram else content["max_length"]
        said.append(words("length_ngram" if is_ngram else "length", count=count))
    return [[f"## {words('versions')}"], ["; ".join(said)]]


def licence(card, words):
    base = card.base
    if "licence" in base:
        known = {"name": base["name"], "file": base["file"], "licence": plain_text(base["licence"])}
        said = words("stated", **known)
    else:
        why = words("why_no_licence")[base.get("why", "unknown")].format(name=base.get("name"))
        said = f"{why}{' ' * words.place}{words('ask')}"
    return [[f"## {words('licence')}"], [f"- {said}", f"- {words('yours')}"]]
