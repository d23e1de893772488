"""settings.py: what the environment says, and what is wrong with it."""

import re

import pytest

from deploy.simple_serving.settings import Settings
from tests.deploy.running import SIMPLE_SERVING
from tests.helpers import ROOT
from utils import UsageError


def test_settings_from_the_environment():
    read = Settings.from_environment
    assert read({"PATH": "x"}) == Settings()
    assert read({"SERVING_MAX_TEXTS": " 5 ", "SERVING_API_KEY": "k", "SERVING_LOG_TEXTS": "0"}).max_texts == 5
    wrong = {"SERVING_MAX_TEXT": "5", "SERVING_WORKERS": "0", "SERVING_MAX_TEXTS": "many", "SERVING_FORMAT": "tflite"}
    with pytest.raises(UsageError) as caught:
        read(wrong)
    for part in (
        "SERVING_MAX_TEXT: not known",
        "SERVING_WORKERS=0: give",
        "SERVING_MAX_TEXTS=many: give",
        "auto, paddle",
    ):
        assert part in str(caught.value)


def test_the_readme_lists_every_setting():
    rows = re.findall(
        r"^\| `SERVING_(\w+)` \| (\S+) \|", (SIMPLE_SERVING / "README.md").read_text(encoding="utf-8"), re.M
    )
    settings = {name.upper(): value for name, value in vars(Settings()).items()}
    computed = {"MODELS", "WORKERS", "THREADS", "API_KEY"}
    assert {name for name, _ in rows} | computed == settings.keys()
    for name, default in rows:
        if name not in computed:
            assert default.strip("`") == str(settings[name])


def test_which_models_are_served():
    def folders(models, format="auto"):
        found = Settings(models=models, format=format).folders()
        return {name: (str(path), kind) for name, (path, kind) in found.items()}

    assert folders("") == {"cls_multi_class": (str(ROOT / "checkpoint" / "export"), "auto")}
    assert folders("a/b") == {"cls_multi_class": ("a/b", "auto")}
    assert folders("x=a@b, y=C:/c@onnx_int8", "paddle") == {"x": ("a@b", "paddle"), "y": ("C:/c", "onnx_int8")}
    for models, message in {
        "x=a,x=b": "the name is there twice",
        "a b=c": "not a usable name",
        ",": "SERVING_MODELS",
    }.items():
        with pytest.raises(UsageError, match=message):
            folders(models)
