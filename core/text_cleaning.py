"""Texts of web pages and spreadsheets as a person reads them: in one line, without HTML."""

import html
import re

# Elements of HTML; whatever else stands in <> is kept: vector<int> is no element.
BLOCKS = (
    "address article aside blockquote body br caption center dd div dl dt fieldset figcaption figure footer form "
    "h1 h2 h3 h4 h5 h6 head header hr html legend li link main meta nav ol option p pre section select table tbody td "
    "textarea tfoot th thead title tr ul iframe img input object param source video audio embed noscript"
).split()
INLINE = (
    "a abbr acronym b bdi bdo big button cite code data del dfn em font i ins kbd label mark q rp rt ruby s samp "
    "small span strike strong sub sup svg time tt u var wbr"
).split()
_ATTRIBUTES = r"(?:\s[^<>]*)?/?>"
BLOCK = re.compile(rf"</?(?:{'|'.join(BLOCKS)}){_ATTRIBUTES}", re.IGNORECASE)
ELEMENT = re.compile(rf"</?(?:{'|'.join(INLINE)}){_ATTRIBUTES}", re.IGNORECASE)
# What is not read: programs, styles, comments.
UNSEEN = re.compile(r"<(script|style)\b[^>]*>.*?</\1\s*>|<!--.*?-->|<!DOCTYPE[^>]*>", re.IGNORECASE | re.DOTALL)
# With its semicolon: R&D and AT&T are words.
ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
# Any of these; the first one has the only group.
MARKUP = re.compile("|".join(one.pattern for one in (UNSEEN, BLOCK, ELEMENT, ENTITY)), re.IGNORECASE | re.DOTALL)
# Characters that cannot stand in a line of samples, and the ones that other programs end lines with.
BREAKS = re.compile("[\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Invisible, and no part of a word: zero-width space, BOM, soft hyphen.
NOTHING = str.maketrans(dict.fromkeys("\u200b\ufeff\xad\0"))

# So many texts are looked at together: of many more, one nearly always has something to clean.
SOME = 128


def clean_text(text):
    """A text in one line, HTML entities and elements as they would be shown, runs of white space as one space."""
    if "<" in text or "&" in text:
        text = without_html(text)
    if not text.isprintable():
        text = text.translate(NOTHING)
    return " ".join(text.split())


def without_html(text):
    """The text without elements of HTML, entities as the characters that they stand for."""
    for _ in range(3):  # entities of entities come of programs that escape twice
        before = text
        if "<" in text:
            text = ELEMENT.sub("", BLOCK.sub(" ", UNSEEN.sub(" ", text)))
        if "&" in text:
            text = ENTITY.sub(lambda match: html.unescape(match[0]), text)
        if text == before:
            break
    return text


def one_line(text):
    """The text with tabs and line breaks as single spaces, and nothing else changed but white space at its ends."""
    return BREAKS.sub(" ", text).strip()


def cleaned(texts, clean):
    """[clean(text) for text in texts], sooner: where a look at some of them as one, a line each, finds nothing to
    clean, they are as they were.

    Args:
        texts (list[str]): of any number.
        clean (Callable): clean_text or one_line.
    """
    found, is_html = [], clean is clean_text
    for start in range(0, len(texts), SOME):
        some = texts[start : start + SOME]
        lines = "\n".join(some)
        is_clean = lines.count("\n") == len(some) - 1 and _is_clean(lines, is_html)
        found += some if is_clean else map(clean, some)
    return found


def _is_clean(lines, is_html):
    """Whether cleaning surely changes none of some lines: of what is printable, the only white space is the space."""
    if " " in lines and (lines[0] == " " or lines[-1] == " " or "\n " in lines or " \n" in lines):
        return False
    if is_html and ("<" in lines or "&" in lines or "  " in lines):
        return False
    return lines.replace("\n", "").isprintable()
