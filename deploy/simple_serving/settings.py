"""What can be set about the server, read from the environment; nothing here needs paddle."""

import dataclasses
import re
from pathlib import Path

from core.checkpoints import SERVED_FORMATS
from core.cpu import usable_cores
from core.label_paths import UNKNOWN, unknown_problem
from utils import UsageError

ROOT = Path(__file__).resolve().parents[2]

DEFAULT_NAME = "cls_multi_class"

# Threads that share the requests of one model; on more cores each of them uses several.
MAX_WORKERS = 4

# What Kubernetes sets in every container for a service called serving, or serving-something.
KUBERNETES = re.compile(
    r"SERVING_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|SERVING_(\w+_)?PORT=(tcp|udp|sctp)://.*"
)


@dataclasses.dataclass
class Settings:
    """What can be set: each field is the environment variable SERVING_<FIELD>."""

    models: str = ""  # name=folder or name=folder@format, with commas between; empty: checkpoint/export
    format: str = "auto"  # auto: onnx where the folder has it, else paddle, or ngram where it has nothing else
    device: str = "cpu"
    workers: int = min(MAX_WORKERS, usable_cores())  # requests are run on so many threads a model …
    threads: int = max(1, usable_cores() // MAX_WORKERS)  # … with so many cores each
    max_texts: int = 10_000  # a request
    max_characters: int = 10_000  # a text
    max_body_bytes: int = 8 << 20
    max_scores: int = 5_000_000  # texts of a request x classes that its answer has for each
    max_waiting_texts: int = 40_000  # a model; above it requests are answered 503
    max_connections: int = 500
    header_seconds: int = 10  # until the first lines of a request must have arrived …
    body_seconds: int = 30  # … and the rest of it
    send_seconds: int = 60  # that a client may take without reading anything of its answer
    stop_seconds: int = 110  # that requests under way get after SIGTERM
    unknown: str = UNKNOWN  # what answers below min_confidence are called, unless the request says so
    api_key: str = ""  # not empty: requests need it
    log_texts: int = 0  # 1: users' texts are logged
    prediction_log: str = ""  # a file that each answer is written to, for analysis/monitor.py; see prediction_log.py
    prediction_log_bytes: int = 64 << 20  # above it the file becomes <file>.1, and the earlier one of that name goes

    @classmethod
    def from_environment(cls, environment):
        """Read SERVING_… variables.

        Raises:
            UsageError: naming all that are wrong.
        """
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        values, problems = {}, []
        for key in sorted(environment):
            name = key[len("SERVING_") :].lower()
            if not key.startswith("SERVING_"):
                continue
            text = environment[key].strip()
            if name not in fields:
                if is_of_kubernetes(key, text):
                    continue
                known = ", ".join(f"SERVING_{field.upper()}" for field in fields)
                hint = "not known; the port is a flag: --port" if name == "port" else f"not known; use one of {known}"
                problems.append(f"{key}: {hint}")
            elif name == "api_key" and not text:
                problems.append(f"{key}: empty, which would let everybody in; give a key, or unset it")
            elif fields[name] is str:
                values[name] = text
            elif not re.fullmatch(r"[0-9]{1,15}", text) or (int(text) == 0 and name != "log_texts"):
                problems.append(f"{key}={text}: give a whole number above 0")
            else:
                values[name] = int(text)
        if values.get("format", "auto") not in ("auto", *SERVED_FORMATS):
            problems.append(f"SERVING_FORMAT={values['format']}: use auto, {', '.join(SERVED_FORMATS)}")
        if not re.fullmatch(r"cpu|gpu(:[0-9]{1,3})?", values.get("device", "cpu")):
            problems.append(f"SERVING_DEVICE={values['device'][:40]}: use cpu, gpu or gpu:<number>")
        if problem := unknown_problem(values.get("unknown", UNKNOWN)):
            problems.append(f"SERVING_UNKNOWN={values['unknown'][:40]}: {problem}")
        if problems:
            raise UsageError("\n".join(problems))
        return cls(**values)

    def folders(self):
        """name -> (folder, format) of each model.

        A folder's own commas stay: only one that a name and = follow begins another entry.

        Raises:
            UsageError: an entry without a name, a name twice or with other characters than letters, digits, _ . -
        """
        found = {}
        if not self.models:
            return {DEFAULT_NAME: (ROOT / "checkpoint" / "export", self.format)}
        for entry in re.split(r",\s*(?=[^,=/\\]*=)", self.models):
            entry = entry.strip().rstrip(", ")
            name, equals, path = entry.partition("=")
            if not equals:
                name, path = DEFAULT_NAME, entry
            path, at, format = path.rpartition("@")
            if not at or format not in SERVED_FORMATS:
                path, format = path + at + format, self.format
            is_list = "," in path and not Path(path).expanduser().is_dir()
            if not re.fullmatch(r"[\w.-]+", name, re.ASCII) or name in found or not path or is_list:
                problem = "the name is there twice" if name in found else "not a usable name"
                problem = "no such folder" if is_list else problem if path else "no folder"
                raise UsageError(
                    f"SERVING_MODELS: {entry!r}: {problem}; "
                    "write name=folder,name2=folder2 with names of letters, digits, _ . -"
                )
            found[name] = Path(path).expanduser(), format
        return found


def is_of_kubernetes(key, text):
    """Whether a variable is one that Kubernetes sets for each service; SERVING_PORT=8189 is not."""
    return KUBERNETES.fullmatch(f"{key}={text}") is not None
