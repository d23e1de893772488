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


def test_what_kubernetes_injects_is_no_setting():
    injected = {
        "SERVING_PORT": "tcp://10.0.0.1:80",
        "SERVING_SERVICE_HOST": "10.0.0.1",
        "SERVING_SERVICE_PORT": "80",
        "SERVING_SERVICE_PORT_HTTP": "80",
        "SERVING_PORT_80_TCP": "tcp://10.0.0.1:80",
        "SERVING_PORT_80_TCP_PROTO": "tcp",
        "SERVING_PORT_80_TCP_PORT": "80",
        "SERVING_PORT_80_TCP_ADDR": "10.0.0.1",
        "SERVING_CANARY_PORT": "udp://10.0.0.2:53",
        "SERVING_CANARY_SERVICE_HOST": "10.0.0.2",
    }
    assert Settings.from_environment(injected) == Settings()
    with pytest.raises(UsageError, match="SERVING_PORT: not known; the port is a flag: --port"):
        Settings.from_environment({"SERVING_PORT": "8189"})


def test_a_device_that_is_not_known_and_a_blank_key_are_refused():
    for device in ("cpu", "gpu", "gpu:1"):
        assert Settings.from_environment({"SERVING_DEVICE": device}).device == device
    for device in ("cuda", "gpu:x", "", "CPU"):
        with pytest.raises(UsageError, match="use cpu, gpu or gpu:<number>"):
            Settings.from_environment({"SERVING_DEVICE": device})
    for key in ("", "  "):
        with pytest.raises(UsageError, match="SERVING_API_KEY: empty, which would let everybody in"):
            Settings.from_environment({"SERVING_API_KEY": key})


def test_a_name_for_what_is_unknown():
    assert Settings.from_environment({"SERVING_UNKNOWN": " 其他 "}).unknown == "其他"
    for name in ("", "x" * 101):
        with pytest.raises(UsageError, match="SERVING_UNKNOWN=.*: give a name of at most 100 printable characters"):
            Settings.from_environment({"SERVING_UNKNOWN": name})


def test_the_readme_lists_every_setting():
    rows = re.findall(
        r"^\| `SERVING_(\w+)` \| (\S+) \|", (SIMPLE_SERVING / "README.md").read_text(encoding="utf-8"), re.M
    )
    settings = {name.upper(): value for name, value in vars(Settings()).items()}
    computed = {"MODELS", "WORKERS", "THREADS", "API_KEY", "PREDICTION_LOG"}
    assert {name for name, _ in rows} | computed == settings.keys()
    for name, default in rows:
        if name not in computed:
            assert default.strip("`") == str(settings[name])


def test_which_models_are_served(tmp_path):
    def folders(models, format="auto"):
        found = Settings(models=models, format=format).folders()
        return {name: (str(path), kind) for name, (path, kind) in found.items()}

    assert folders("") == {"cls_multi_class": (str(ROOT / "checkpoint" / "export"), "auto")}
    assert folders("a/b") == {"cls_multi_class": ("a/b", "auto")}
    assert folders("x=a@b, y=C:/c@onnx_int8", "paddle") == {"x": ("a@b", "paddle"), "y": ("C:/c", "onnx_int8")}
    assert folders("x=a,y=b,") == {"x": ("a", "auto"), "y": ("b", "auto")}
    (tmp_path / "one,two").mkdir()
    folder = str(tmp_path / "one,two")
    assert folders(folder) == {"cls_multi_class": (folder, "auto")}
    assert folders(f"x={folder}@onnx,y=b") == {"x": (folder, "onnx"), "y": ("b", "auto")}
    for models, message in {
        "a,b": "'a,b': no such folder; write name=folder,name2=folder2",
        "x=": "no folder",
        "x=a,x=b": "the name is there twice",
        "a b=c": "not a usable name",
        ",": "SERVING_MODELS",
    }.items():
        with pytest.raises(UsageError, match=message):
            folders(models)
