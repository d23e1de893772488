"""core/text_cleaning.py: what a person would read."""

import pytest

from core.text_cleaning import clean_text, cleaned, one_line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("头疼<br/>发烧", "头疼 发烧"),
        ("<p class='a'>头<em>疼</em></p><p>发烧</p>", "头疼 发烧"),
        ("价格&nbsp;&lt;100&gt;&#x4E2D;&amp;amp;&#20013;", "价格 <100>中&中"),
        ("<script>var a = 1;</script>好<!-- 注释 -->", "好"),
        ("vector<int> 与 AT&T &copy 3 < 5 > 2", "vector<int> 与 AT&T &copy 3 < 5 > 2"),
        ("第一行\r\n\t第二行\u3000完\u2028", "第一行 第二行 完"),
        ("零\u200b宽\ufeff字\xad符", "零宽字符"),
        ("&lt;br&gt;好", "好"),
        ("  a  b ", "a b"),
    ],
)
def test_clean_text(text, wanted):
    assert clean_text(text) == wanted


def test_one_line_keeps_the_rest():
    assert one_line(" <b>a</b>&amp;  b\r\n\tc\u2028d ") == "<b>a</b>&amp;  b c d"


@pytest.mark.parametrize("clean", [clean_text, one_line])
def test_texts_that_are_cleaned_together_are_those_that_are_cleaned_alone(clean):
    odd = ["", " ", "a b", "a  b", " a", "a ", "<b>x</b>", "1 < 2", "R&D", "&lt;", "\u3000", "x\u200b", "a\nb"]
    plain = [f"第{number}条" for number in range(300)]
    assert cleaned(plain, clean) == plain and cleaned([], clean) == []
    for one in odd:
        for place in (0, 5, 127, 128, 299):
            texts = [*plain[:place], one, *plain[place + 1 :]]
            assert cleaned(texts, clean) == list(map(clean, texts))
        for texts in ([one], [one, one], ["x", one], [one, "x"]):
            assert cleaned(texts, clean) == list(map(clean, texts))
