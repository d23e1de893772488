"""analysis/word_page.py: colours, the wrong label, the lines of the result file."""

import numpy as np

from analysis.explainer import Case
from analysis.word_page import WORDS, case_parts, faithfulness_parts, result_lines


def test_colours_and_the_wrong_label():
    words, owner = ["头痛", "，", "<b>"], np.array([-1, 0, 0, 1, 2, -1])
    case = Case("头痛，<b>", "甲", words, {}, owner, class_id=1, logits=np.array([0.0, 1.0]))
    page = "".join(case_parts([case], ["甲", "乙"], {"lime": [np.array([2.0, 0, -1.0])]}))
    assert 'predicted <b>乙</b> (0.731), label <b>甲</b> <span class="error">wrong</span>' in page
    assert '<span style="background: rgba(46, 125, 50, 0.75)" title="+2.0000">头痛</span>' in page
    assert '<span style="background: rgba(198, 40, 40, 0.38)" title="-1.0000">&lt;b&gt;</span>' in page


def test_the_lines_of_the_result_file():
    words, owner = ["头痛", " ", "吗"], np.array([-1, 0, 0, 2, -1])
    case = Case("头痛 吗", "", words, {}, owner, class_id=0, logits=np.array([1.0, 0.0]))
    assert list(result_lines([case], ["甲", "乙"], {"lime": [np.array([0.5, 0, -0.25])]})) == [
        "text: 头痛 吗",
        "predict label: 甲\tscore: 0.7311",
        "lime:\t头痛 +0.5000\t吗 -0.2500",
        "",
    ]


def test_the_table_of_faithfulness():
    page = "".join(faithfulness_parts([{"method": "lime", "comprehensiveness (high)": "0.500"}], 1234))
    assert "<td>lime</td>" in page and "the best 10%, 20%, 50% of the words" in page and "mean of 1,234 texts" in page


def test_both_languages_say_the_same():
    assert list(WORDS["zh"]) == list(WORDS["en"]) and len(WORDS["zh"]["columns"]) == len(WORDS["en"]["columns"])
    row = {"method": "lime", "comprehensiveness (high)": "0.500", "sufficiency (low)": "", "seconds a text": ""}
    page = "".join(faithfulness_parts([row], 1234, "zh"))
    assert "<th>方法</th>" in page and "1,234 条文本的平均" in page and "10%, 20%, 50% 的词" in page
    case = Case("头痛", "甲", ["头痛"], {}, np.array([-1, 0, 0, -1]), class_id=1, logits=np.array([0.0, 1.0]))
    page = "".join(case_parts([case], ["甲", "乙"], {"lime": [np.array([2.0])]}, "zh"))
    assert '预测 <b>乙</b> (0.731)，标签 <b>甲</b> <span class="error">错误</span>' in page and "支持该标签" in page
