"""Where a Label Studio project has its texts and its labels, by its labelling interface."""

from typing import NamedTuple
from xml.etree import ElementTree


class LabelConfig(NamedTuple):
    """The names in a labelling interface.

    Attributes:
        from_name (str): of the <Choices>.
        to_name (str): of the <Text> that they are about.
        key (str): of the text in a task's data.
        choices (list[str]): the labels that can be chosen.
    """

    from_name: str
    to_name: str
    key: str
    choices: list


def parse_label_config(xml):
    """Read a labelling interface.

    Returns:
        LabelConfig | None: of the first <Choices> about a <Text>; None where there is none.
    """
    if len(xml) > 1 << 20 or "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        return None  # nothing that Label Studio writes, and a way to fill the memory
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None
    texts = {node.get("name"): node.get("value", "") for node in root.iter() if node.tag in ("Text", "HyperText")}
    for node in root.iter("Choices"):
        value = texts.get(node.get("toName"))
        if value is not None and node.get("name"):
            choices = [choice.get("value", "") for choice in node.iter("Choice")]
            return LabelConfig(node.get("name"), node.get("toName"), value.lstrip("$"), choices)
    return None


def label_of_result(result, config):
    """The label in the `result` of an annotation, or None where there is not exactly one.

    Args:
        result (list[dict]): as Label Studio sends it.
        config (LabelConfig): of its project.
    """
    found = [
        choice
        for part in result or ()
        if isinstance(part, dict) and part.get("from_name") == config.from_name
        for choice in (part.get("value") or {}).get("choices") or ()
    ]
    return found[0].strip() if len(found) == 1 and isinstance(found[0], str) else None


def prediction(label, score, version, config):
    """A prediction as Label Studio takes it."""
    value = {"choices": [label]}
    names = {"from_name": config.from_name, "to_name": config.to_name, "type": "choices"}
    return {"result": [{**names, "value": value, "score": score}], "score": score, "model_version": version}
