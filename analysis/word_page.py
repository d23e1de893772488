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
</style>"""


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


def coloured(case, scores):
    """HTML of a text: its words, coloured by their scores against the text's largest one; what was cut off is grey."""
    largest = max(np.abs(scores).max(initial=0), 1e-12)
    for number, (word, score) in enumerate(zip(case.words, scores)):
        if number >= case.first_cut:
            yield f'<span class="cut" title="not read: beyond --max_seq_length">{escape(word)}</span>'
            continue
        colour = "46, 125, 50" if score > 0 else "198, 40, 40"
        strength = 0.75 * abs(score) / largest
        yield f'<span style="background: rgba({colour}, {strength:.2f})" title="{score:+.4f}">{escape(word)}</span>'


def case_parts(cases, labels, scores):
    """HTML of the coloured texts, a row a method, with their style and legend; for the page and the notebook."""
    yield STYLE
    legend = Case("", "", ["speaks for the label", " ", "against it", " ", "not read"], {}, np.array([0, 3]), True)
    yield f'<p class="words legend">{"".join(coloured(legend, np.array([1, 0, -1, 0, 0])))}</p>'
    yield "<p>Colours are relative to the strongest word of each line; point at a word to see its score.</p>"
    for index, case in enumerate(cases):
        given = "" if not case.label else f", label <b>{escape(case.label)}</b>"
        mark = ' <span class="error">wrong</span>' if case.label not in ("", labels[case.class_id]) else ""
        prediction = f"<b>{escape(labels[case.class_id])}</b> ({case.probability:.3f})"
        yield f'<div class="case"><p>{index + 1}. predicted {prediction}{given}{mark}</p>'
        for method, values in scores.items():
            words = "".join(coloured(case, values[index]))
            yield f'<p class="words"><span class="method">{method}</span>{words}</p>'
        yield "</div>"


def faithfulness_parts(rows, total):
    """HTML of the faithfulness table; for the page and the notebook."""
    yield table(list(rows[0]), [list(row.values()) for row in rows], numbers=(1, 2, 3))
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    yield (
        f"<p>How far the probability of the predicted label falls without the best {shares} of the words "
        "(comprehensiveness: high is good) and with nothing but them (sufficiency: low is good), mean of "
        f"{total:,} texts; ± is half of a 95 % interval. A method that is no better than random explains nothing.</p>"
    )
