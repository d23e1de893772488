"""deploy/annotation/label_config.py: interfaces as Label Studio's and our own are."""

from data.label_studio import make_interface
from deploy.annotation.label_config import label_of_result, parse_label_config, prediction


def test_our_own_interface_is_read_back():
    xml = "\n".join(make_interface(["a<b", "丙"], "text", "label", "text"))
    config = parse_label_config(xml)
    assert config == ("label", "text", "text", ["a<b", "丙"])
    made = prediction("丙", 0.75, "quick-2", config)
    assert label_of_result(made["result"], config) == "丙" and made["score"] == 0.75
    assert label_of_result([], config) is None
    assert label_of_result([{"from_name": "label", "value": {"choices": ["丙", "a<b"]}}], config) is None


def test_other_interfaces_are_none():
    picture = '<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><View/>'
    assert [parse_label_config(xml) for xml in (picture, bomb, "<View", "")] == [None] * 4
