"""core/text_cleaning.py: what a person would read."""

import pytest

from core.text_cleaning import clean_text, one_line


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
