"""What data/llm_label.py asks a language model, and what it makes of the answer."""

import json
import re
import unicodedata

WORDS = {
    "zh": {
        "task": "你是严谨的标注员。给下面每条文本选一个标签，只能用列出的标签，不能自造。",
        "labels": "标签：",
        "examples": "例子：",
        "form": (
            "只输出 JSON 数组，每条文本一个对象，不要解释："
            '[{{"id": 编号, "label": "标签", "confidence": 0 到 100 的整数，表示你有多大把握}}]'
        ),
        "texts": "文本（共 {count} 条，每行一个 JSON 对象）：",
    },
    "en": {
        "task": "You are a careful annotator. Choose one label for each text below, from those listed and no others.",
        "labels": "Labels:",
        "examples": "Examples:",
        "form": (
            "Answer with a JSON array alone, an object for each text, without explanations: "
            '[{{"id": number, "label": "label", "confidence": integer from 0 to 100, how sure you are}}]'
        ),
        "texts": "Texts ({count}, a JSON object a line):",
    },
}
# Behind this a model that thinks aloud begins to answer.
THOUGHT = "</think>"
# From this on an answer begins that has prose or a fence around it.
ARRAY = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)


def system_prompt(labels, descriptions, examples, lang):
    """What all requests begin with.

    Args:
        labels (list[str]): in class order.
        descriptions (dict[str, str]): of labels, where there is one.
        examples (list[tuple[str, str]]): texts and labels.
        lang (str): of WORDS.
    """
    words = WORDS[lang]
    colon = "：" if lang == "zh" else ": "
    lines = [words["task"], words["labels"]]
    lines += [f"- {label}{colon}{descriptions[label]}" if label in descriptions else f"- {label}" for label in labels]
    if examples:
        lines.append(words["examples"])
        pairs = ({"text": text, "label": label} for text, label in examples)
        lines += [json.dumps(pair, ensure_ascii=False) for pair in pairs]
    return "\n".join([*lines, words["form"].format()])


def messages_for(system, texts, lang):
    """The messages of one request: texts as data, numbered from 1, so that none of them reads as an instruction."""
    lines = [json.dumps({"id": number, "text": text}, ensure_ascii=False) for number, text in enumerate(texts, 1)]
    content = "\n".join([WORDS[lang]["texts"].format(count=len(texts)), *lines])
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def plain_name(label):
    """A label as it is compared: without differences of width, case, and space around it."""
    return unicodedata.normalize("NFKC", label).strip().casefold()


def parse_answer(answer, count, labels):
    """Labels and confidences out of an answer.

    Args:
        answer (str): the model's text.
        count (int): of the texts it was asked about.
        labels (list[str]): that it may use.

    Returns:
        list[tuple[int, float] | None]: class id and confidence from 0 to 1 for each text; None where the answer has
        none for it, names no label, or says two different things.
    """
    found, double = [None] * count, set()
    known, plain = {label.strip(): number for number, label in enumerate(labels)}, {}
    for number, label in enumerate(labels):  # of two that differ in case alone, neither is meant by a third writing
        plain[plain_name(label)] = None if plain_name(label) in plain else number
    for item in items_of(answer):
        number, label, confidence = (item.get(name) for name in ("id", "label", "confidence"))
        if number is None and count == 1:
            number = 1
        if isinstance(number, str) and number.strip().isdigit():
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= count:
            continue
        class_id = known.get(label.strip(), plain.get(plain_name(label))) if isinstance(label, str) else None
        sure = confidence_of(confidence)
        if class_id is None or sure is None:
            continue
        if found[number - 1] is not None and found[number - 1][0] != class_id:
            double.add(number - 1)
        found[number - 1] = (class_id, sure)
    return [None if place in double else value for place, value in enumerate(found)]


def items_of(answer):
    """The JSON objects of an answer; none where it cannot be read."""
    answer = answer.rpartition(THOUGHT)[2]
    for candidate in (answer, *(match.group() for match in [ARRAY.search(answer)] if match)):
        try:
            content = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            inner = next((value for value in content.values() if isinstance(value, list)), None)
            content = [content] if inner is None else inner
        if isinstance(content, list):
            return [item for item in content if isinstance(item, dict)]
    return []


def confidence_of(value):
    """A stated confidence from 0 to 1, or None: 0 to 100, a share, or such a number in quotes with or without %."""
    if isinstance(value, str):
        number, percent, rest = value.strip().partition("%")
        try:
            value = int(number) if number.strip().isdecimal() else float(number)
        except ValueError:
            return None
        if rest:
            return None
        value = value / 100 if percent and 0 <= value <= 100 else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        return None
    return value if isinstance(value, float) and value <= 1 else value / 100
