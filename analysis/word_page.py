"""What word_interpret.py and the notebook show: the lines of the result file, and texts with coloured words."""

import numpy as np

from analysis.explainer import Case
from analysis.faithfulness import SHARES
from analysis.report import escape, table

STYLE = """<style>
.case { border-top: 1px solid #ddd; padding: .6rem 0; } .case p { margin: .1rem 0; }
.method { color: #666; font-size: .8rem; display: inline-block; width: 11rem; margin-left: -11rem; }
.words { font-size: 1.05rem; line-height: 1.9; overflow-wrap: anywhere; white-space: pre-wrap; padding-left: 11rem; }
.legend { padding-left: 0; } .words span { border-radius: 3px; padding: .1rem .08rem; } .cut { color: #aaa; }
@media (max-width: 40rem) { .words { padding-left: 0; } .method { display: block; margin-left: 0; } }
</style>"""

WORDS = {
    "en": {
        "title": "Words behind the predictions of {}",
        "texts": "Texts",
        "faithfulness": "Faithfulness",
        "legend": ("speaks for the label", "against it", "not read"),
        "colours": "Colours are relative to the strongest word of each line; point at a word to see its score.",
        "predicted": "predicted",
        "label": ", label",
        "wrong": "wrong",
        "cut": "not read: beyond --max_seq_length",
        "columns": ("method", "comprehensiveness (high)", "sufficiency (low)", "seconds a text"),
        "explained": "How far the probability of the predicted label falls without the best {shares} of the words "
        "(comprehensiveness: high is good) and with nothing but them (sufficiency: low is good), mean of {total} "
        "texts; ± is half of a 95 % interval. A method that is no better than random explains nothing.",
    },
    "zh": {
        "title": "{} 的预测由哪些词决定",
        "texts": "文本",
        "faithfulness": "忠实度",
        "legend": ("支持该标签", "反对", "没有读到"),
        "colours": "颜色深浅相对于该行分数最大的词；鼠标指向一个词可以看到它的分数。",
        "predicted": "预测",
        "label": "，标签",
        "wrong": "错误",
        "cut": "没有读到：超出 --max_seq_length",
        "columns": ("方法", "comprehensiveness（越高越好）", "sufficiency（越低越好）", "每条秒数"),
        "explained": "删去分数最高的 {shares} 的词，预测类别的概率下降多少（comprehensiveness，越高越好）；"
        "只留下这些词，概率下降多少（sufficiency，越低越好）。{total} 条文本的平均，± 为 95 % 区间的一半。"
        "与 random 没有差别的方法不能解释模型。",
    },
}


def result_lines(cases, labels, scores):
    """The lines of the result file: a block a text, in it a line a method, in that a column `<word> <score>` a word.

    Args:
        cases (list[Case]): the texts.
        labels (list[str]): in class order.
        scores (dict[str, list[np.ndarray]]): method -> [words] a text.
    """
    for index, case in enumerate(cases):
        yield f"text: {case.text}"
        yield f"predict label: {labels[case.class_id]}\tscore: {case.probability:.4f}"
        if case.label:
            yield f"label: {case.label}"
        for method, values in scores.items():
            pairs = [f"{word} {score:+.4f}" for word, score in zip(case.words, values[index]) if word.strip()]
            yield "\t".join([f"{method}:", *pairs])
        yield ""


def coloured(case, scores, words):
    """HTML of a text: its words, coloured by their scores against the text's largest one; what was cut off is grey."""
    largest = max(np.abs(scores).max(initial=0), 1e-12)
    for number, (word, score) in enumerate(zip(case.words, scores)):
        if number >= case.first_cut:
            yield f'<span class="cut" title="{escape(words["cut"])}">{escape(word)}</span>'
            continue
        colour = "46, 125, 50" if score > 0 else "198, 40, 40"
        strength = 0.75 * abs(score) / largest
        yield f'<span style="background: rgba({colour}, {strength:.2f})" title="{score:+.4f}">{escape(word)}</span>'


def case_parts(cases, labels, scores, lang="en"):
    """HTML of the coloured texts, a row a method, with their style and legend; for the page and the notebook."""
    said = WORDS[lang]
    yield STYLE
    speaks_for, against, not_read = said["legend"]
    legend = Case("", "", [speaks_for, " ", against, " ", not_read], {}, np.array([0, 3]), True)
    yield f'<p class="words legend">{"".join(coloured(legend, np.array([1, 0, -1, 0, 0]), said))}</p>'
    yield f"<p>{escape(said['colours'])}</p>"
    for index, case in enumerate(cases):
        given = "" if not case.label else f"{said['label']} <b>{escape(case.label)}</b>"
        is_wrong = case.label not in ("", labels[case.class_id])
        mark = f' <span class="error">{said["wrong"]}</span>' if is_wrong else ""
        prediction = f"<b>{escape(labels[case.class_id])}</b> ({case.probability:.3f})"
        yield f'<div class="case"><p>{index + 1}. {said["predicted"]} {prediction}{given}{mark}</p>'
        for method, values in scores.items():
            words = "".join(coloured(case, values[index], said))
            yield f'<p class="words"><span class="method">{method}</span>{words}</p>'
        yield "</div>"


def faithfulness_parts(rows, total, lang="en"):
    """HTML of the faithfulness table; for the page and the notebook."""
    said = WORDS[lang]
    header = dict(zip(WORDS["en"]["columns"], said["columns"]))
    yield table([header[name] for name in rows[0]], [list(row.values()) for row in rows], numbers=(1, 2, 3))
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    yield f"<p>{escape(said['explained'].format(shares=shares, total=f'{total:,}'))}</p>"
