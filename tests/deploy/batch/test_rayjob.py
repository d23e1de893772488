"""rayjob.yaml and its Dockerfile: what predict_ray.py has and pins, and fields that KubeRay knows."""

import re
import shlex

import pytest

from deploy.batch import predict_ray
from tests.helpers import ROOT

yaml = pytest.importorskip("yaml")
FOLDER = ROOT / "deploy" / "batch"
# Of ray.io/v1 RayJob, and its rayClusterSpec.
FIELDS = set(
    "entrypoint runtimeEnvYAML jobId metadata entrypointNumCpus entrypointNumGpus entrypointResources backoffLimit "
    "submissionMode submitterPodTemplate submitterConfig shutdownAfterJobFinishes ttlSecondsAfterFinished "
    "activeDeadlineSeconds suspend clusterSelector rayClusterSpec".split()
)
CLUSTER_FIELDS = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling"}
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


@pytest.fixture(scope="module")
def spec():
    content = yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    assert (content["apiVersion"], content["kind"]) == ("ray.io/v1", "RayJob")
    return content["spec"]


@pytest.fixture(scope="module")
def steps():
    """(keyword, rest) of the instructions of the Dockerfile."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def groups(spec):
    cluster = spec["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pinned(name):
    """The version of a package in constraints.txt, for the Python of the image."""
    lines = (FOLDER / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==")[1].split(" ;")[0] for line in lines if line.startswith(f"{name}==")]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def test_the_command_is_predict_ray_s(spec):
    python, script, *flags = shlex.split(spec["entrypoint"])
    assert (python, script) == ("python", "/srv/classify/deploy/batch/predict_ray.py")
    args = predict_ray.parse_flags(flags)
    assert args.address == "auto" and not args.num_gpus and args.format == "onnx_int8"
    # What the README says of GPUs.
    assert predict_ray.parse_flags([*flags, "--num_gpus", "1", "--format", "onnx"]).num_gpus == 1
    # All machines see what it names.
    for group in groups(spec):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        mounted = {one["name"]: f"{one['mountPath']}/" for one in container["volumeMounts"]}
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
        for path in (str(args.model_dir), *args.input, args.output):
            assert path.startswith(tuple(mounted.values()))


def test_fields_and_resources(spec):
    assert set(spec) <= FIELDS and set(spec["rayClusterSpec"]) <= CLUSTER_FIELDS
    assert spec["backoffLimit"] > 0 and spec["shutdownAfterJobFinishes"]
    head, *workers = groups(spec)
    assert set(head) == {"rayStartParams", "template"} and head["rayStartParams"] == {"num-cpus": "0"}
    assert workers and all(set(worker) == GROUP_FIELDS for worker in workers)
    containers = [group["template"]["spec"]["containers"][0] for group in groups(spec)]
    assert len({container["image"] for container in containers}) == 1
    for container in containers:
        # Ray takes its cores from the limits, and a pod that asks for less than it takes is the first to be ended.
        assert container["resources"]["limits"] == container["resources"]["requests"]


def test_versions_are_those_that_are_pinned(spec, steps):
    version = pinned("ray")
    assert spec["rayClusterSpec"]["rayVersion"] == version
    assert f"ray[data]=={version}" in (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    installed = next(rest for _, rest in steps if "pip install" in rest)
    assert re.findall(r"ray\[default\]==([\d.]+)", installed) == [version]
    assert "-r deploy/batch/requirements.txt" in installed
    assert steps[0] == ["FROM", "python:3.11-slim"]


def test_the_image_has_what_the_script_needs(steps):
    copied = [rest.split() for keyword, rest in steps if keyword == "COPY"]
    sources = {source for *some, _ in copied for source in some}
    assert all((ROOT / source).exists() for source in sources)
    assert {"utils.py", "core", "deploy/__init__.py", "deploy/batch/__init__.py"} <= sources
    for path in ("predict_ray.py", "parts.py"):
        assert f"deploy/batch/{path}" in sources
        text = (FOLDER / path).read_text(encoding="utf-8")
        for name in re.findall(r"^\s*from ((?:core|deploy)[\w.]*) import", text, re.MULTILINE):
            module = f"{name.replace('.', '/')}.py"
            assert name.startswith("core") or module in sources, f"{path} needs {module}"
    # A requirements file reads others beside it.
    for keyword, rest in steps:
        if keyword == "COPY" and "requirements" in rest:
            *some, target = rest.split()
            assert all(source.startswith(target) for source in some)
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{source.split('/')[0]}" for source in sources} <= set(ignored) and "*" in ignored
    assert ["USER", "1000"] in steps
