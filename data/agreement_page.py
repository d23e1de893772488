"""The page of agreement.py in English and in Chinese, and agreement.json."""

import math

from analysis.report import escape, table, write_page
from utils import shortened, staged_files, write_json

# Rows of a table, examples of two labels, and characters of a text.
SHOWN_ROWS, SHOWN_EXAMPLES, SHOWN_CHARACTERS = 200, 3, 120

WORDS = {
    "en": {
        "title": "Agreement of {files}",
        "lead": "{texts} texts have labels of two or more annotators; on {agreed} % of them all agree. 1 is complete "
        "agreement, 0 is what chance gives; small numbers are 95 % intervals.",
        "left_out": "{number} annotations with several labels are left out.",
        "overall": "All annotators",
        "measure": "measure",
        "value": "value",
        "texts": "texts",
        "alpha": "Krippendorff's alpha",
        "fleiss": "Fleiss' kappa (texts with {raters} labels)",
        "alpha_how": "Krippendorff's rule of thumb: from 0.8 on labels are reliable, below 0.667 they are not; then "
        "describe the labels better, or join some of them, before more is labelled.",
        "pairs": "Each two annotators",
        "annotators": "annotators",
        "kappa": "Cohen's kappa",
        "same": "same label, %",
        "labels": "Each label",
        "label": "label",
        "votes": "given",
        "specific": "others too, %",
        "specific_how": "Others too: where one annotator gives the label, how often another one does. The alpha is of "
        "this label against all others.",
        "confused": "Labels that are confused",
        "two": "labels",
        "times": "pairs",
        "examples": "examples",
        "decide": "Texts to decide",
        "text": "text",
        "who": "who said what",
        "model": "the model",
        "some": "The first {shown} of {total}.",
        "none": "There is no disagreement.",
    },
    "zh": {
        "title": "{files} 的标注一致性",
        "lead": "{texts} 条文本有两位以上标注者的标签，其中 {agreed} % 完全一致。"
        "1 为完全一致，0 为随机；小字为 95 % 区间。",
        "left_out": "{number} 个给了多个标签的标注没有计入。",
        "overall": "全部标注者",
        "measure": "指标",
        "value": "值",
        "texts": "文本",
        "alpha": "Krippendorff α",
        "fleiss": "Fleiss κ（有 {raters} 个标签的文本）",
        "alpha_how": "Krippendorff 的经验：不低于 0.8 时标签可靠，低于 0.667 时不可靠；"
        "这时应先把标签的说明写清楚，或者合并一些标签，再继续标注。",
        "pairs": "每两位标注者",
        "annotators": "标注者",
        "kappa": "Cohen κ",
        "same": "标签相同，%",
        "labels": "每个标签",
        "label": "标签",
        "votes": "次数",
        "specific": "别人也给，%",
        "specific_how": "别人也给：一位标注者给了这个标签时，另一位也给它的比例。α 是这个标签与其他所有标签之间的。",
        "confused": "容易混淆的标签",
        "two": "标签",
        "times": "对",
        "examples": "例子",
        "decide": "需要裁决的文本",
        "text": "文本",
        "who": "各人的标签",
        "model": "模型",
        "some": "{total} 条中的前 {shown} 条。",
        "none": "没有分歧。",
    },
}


def cell(measure, scale=1, digits=3):
    """A Measure as a cell of analysis.report.table."""
    if math.isnan(measure.value):
        return "–"
    low, high = (f"{scale * bound:.{digits}f}" for bound in measure.interval)
    return f"{scale * measure.value:.{digits}f}", f"{low} – {high}"


def say(words, name, **values):
    return escape(words[name].format(**{key: f"{v:,}" if isinstance(v, int) else v for key, v in values.items()}))


def page_parts(agreement, rows, left_out, lang):
    """HTML of the page; `rows` are those of agreement.rows_to_decide."""
    words = WORDS[lang]
    yield f"<p>{say(words, 'lead', texts=len(agreement.texts), agreed=f'{100 * agreement.agreed:.1f}')}</p>"
    if left_out["several_labels"]:
        yield f'<p class="warning">{say(words, "left_out", number=left_out["several_labels"])}</p>'
    yield f"<h2>{escape(words['overall'])}</h2>"
    named = (("alpha", agreement.alpha), ("fleiss", agreement.fleiss))
    header = [words[name] for name in ("measure", "value", "texts")]
    found = [[words[name].format(raters=agreement.raters), cell(own), own.texts] for name, own in named]
    yield table(header, found, numbers=(1, 2)) + f"<p>{escape(words['alpha_how'])}</p>"
    yield f"<h2>{escape(words['pairs'])}</h2>"
    header = [words[name] for name in ("annotators", "kappa", "same", "texts")]
    found = [[f"{one}, {two}", cell(own), f"{100 * same:.1f}", own.texts] for one, two, own, same in agreement.pairs]
    yield table(header, found, numbers=(1, 2, 3))
    yield f"<h2>{escape(words['labels'])}</h2><p>{escape(words['specific_how'])}</p>"
    header = [words[name] for name in ("label", "votes", "specific", "alpha")]
    found = [[name, votes, cell(own, 100, 1), cell(alpha)] for name, votes, own, alpha in agreement.per_label]
    yield table(header, sorted(found, key=lambda row: -row[1]), numbers=(1, 2, 3))
    yield f"<h2>{escape(words['confused'])}</h2>"
    if not agreement.confused:
        yield f'<p class="ok">{escape(words["none"])}</p>'
        return
    found = [
        [f"{one} / {two}", number, tuple(shortened(text, SHOWN_CHARACTERS) for text in texts[:SHOWN_EXAMPLES])]
        for one, two, number, texts in agreement.confused[:SHOWN_ROWS]
    ]
    yield table([words[name] for name in ("two", "times", "examples")], found, numbers=(1,))
    yield f"<h2>{escape(words['decide'])}</h2>"
    if len(rows) > SHOWN_ROWS:
        yield f"<p>{say(words, 'some', shown=SHOWN_ROWS, total=len(rows))}</p>"
    found = [
        [shortened(row["text"], SHOWN_CHARACTERS), row["origin"], f"{row['label']} {row['score']}".strip()]
        for row in rows[:SHOWN_ROWS]
    ]
    yield table([words[name] for name in ("text", "who", "model")], found, kind="texts")


def as_json(agreement):
    """All figures, for agreement.json; null where one cannot be told."""

    def facts(own):
        if math.isnan(own.value):
            return {"value": None, "interval": None, "texts": own.texts}
        return {"value": own.value, "interval": list(own.interval), "texts": own.texts}

    return {
        "texts": len(agreement.texts),
        "agreed": agreement.agreed,
        "alpha": facts(agreement.alpha),
        "fleiss": {**facts(agreement.fleiss), "labels_a_text": agreement.raters},
        "pairs": [
            {"annotators": [one, two], "kappa": facts(kappa), "same": same}
            for one, two, kappa, same in agreement.pairs
        ],
        "labels": {
            name: {"given": votes, "others_too": facts(own), "alpha": facts(alpha)}
            for name, votes, own, alpha in agreement.per_label
        },
        "confused": [{"labels": [one, two], "pairs": number} for one, two, number, _ in agreement.confused],
    }


def write_report(agreement, rows, left_out, flags):
    """Write agreement.html and agreement.json into --report_dir; the page's path."""
    path = flags.report_dir / "agreement.html"
    with staged_files(flags.report_dir) as stage:
        write_json(stage / "agreement.json", as_json(agreement))
    title = WORDS[flags.lang]["title"].format(files=", ".join(file.name for file in flags.doccano_file))
    write_page(path, title, list(page_parts(agreement, rows, left_out, flags.lang)), flags.lang)
    return path
