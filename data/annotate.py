"""Label texts with a model that learns while you do: one command, on this machine alone.

    python data/annotate.py --data_dir my_data
    python data/annotate.py --data_dir my_data --annotators wang li --retrain_every 30
    python data/annotate.py --data_dir my_data --text_file monitor_report/to_label.txt

my_data needs label.txt (a label a line) and data.txt (a text a line); train.txt and dev.txt, if they are there, help
from the first text on. It starts Label Studio (or doccano) and the server of deploy/annotation on 127.0.0.1, makes a
project, and says which page to open. The texts come in the order of their use: those that the model is unsure of, and
that differ from each other. After every --retrain_every labels a new model is fitted in the background.

Ctrl+C (or SIGTERM) ends everything; the same command goes on. Nothing in my_data is changed but --work_dir:
labelled.txt there has the labels so far, and at the end it says how to bring them into train.txt.
"""

import argparse
import contextlib
import os
import shlex
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from core.arguments import at_least, parse_argv, require_packages
from core.progress import progress_bar
from data.local_services import Service, ServiceError, ask, refuse_taken_port
from deploy.annotation.flags import MODEL_FLAGS, add_model_flags, min_accuracy_problems
from deploy.annotation.pool import read_pool
from utils import UsageError, exit_on_usage_error, shortened

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"label_studio": ".venv-label-studio", "doccano": ".venv-doccano"}
# Seconds between two looks at how far things are, and the least between two at all labels of the tool.
LOOK, SYNC = 1.0, 3.0
MODEL_SECONDS = 600


def parse_flags(argv):
    """The flags, checked before anything is started.

    Raises:
        UsageError: naming all that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_model_flags(parser)
    add("--tool", choices=TOOLS, default="label_studio", help="(default: %(default)s)")
    add("--tool_python", type=Path, help="python of its environment (default: .venv-label-studio or .venv-doccano)")
    add("--work_dir", type=Path, help="for labels, passwords, databases (default: <data_dir>/annotation)")
    add("--port", type=int, default=8080, help="of the tool, on 127.0.0.1 (default: %(default)s)")
    add("--model_port", type=int, default=9090, help="of the model and the page of progress (default: %(default)s)")
    add("--annotators", nargs="*", default=[], metavar="NAME", help="more people, each with a password of their own")
    add("--title", help="of the project (default: the name of --data_dir)")
    add("--queue", type=int, default=10, help="texts that wait in the tool, chosen already (default: %(default)s)")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, retrain_every=1, queue=1, max_seq_length=3, port=1, model_port=1)
    problems += min_accuracy_problems(flags)
    if flags.port == flags.model_port:
        problems.append(f"--port and --model_port {flags.port}: give two different ones")
    if problems:
        raise UsageError("\n".join(problems))
    flags.work_dir = flags.work_dir or flags.data_dir / "annotation"
    return flags


def make_site(flags):
    """The annotation tool's side, not yet started."""
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    python = flags.tool_python or ROOT / TOOLS[flags.tool] / folder
    if flags.tool == "doccano":
        from data.doccano_site import DoccanoSite as Site
    else:
        from data.label_studio_site import LabelStudioSite as Site
    return Site(flags.work_dir, flags.port, python)


def make_model(flags):
    """The server of deploy/annotation, not yet started."""
    command = [sys.executable, ROOT / "deploy" / "annotation" / "server.py", "--port", flags.model_port]
    for name in ("work_dir", *MODEL_FLAGS):
        value = getattr(flags, name)
        if value is not None:
            command += [f"--{name}", *(value if isinstance(value, list) else [value])]
    return Service("the model's server", command, flags.work_dir / "model.log")


class Session:
    """The tool and the model, kept in step.

    Args:
        flags: of parse_flags.
        site: LabelStudioSite or DoccanoSite.
        model (Service): the server of deploy/annotation.
    """

    def __init__(self, flags, site, model):
        self.flags, self.site, self.model = flags, site, model
        self.address = f"http://127.0.0.1:{flags.model_port}"
        self.next_sync, self.told, self.bar = 0.0, None, None

    def ask(self, method, path, body=None):
        """What the model's server answers."""
        return ask(method, f"{self.address}{path}", body)

    def start(self, labels):
        """Start both, and bring their labels together.

        Args:
            labels (list[str]): of label.txt.
        """
        self.model.start()
        print(f"starting {self.flags.tool}; its first start makes a database, which can take minutes …", flush=True)
        self.site.start()
        with progress_bar(total=None, desc="vectors", unit="text") as bar:
            self.model.wait_until(self._ready, MODEL_SECONDS, lambda: bar.update(self._encoded() - bar.n))
        self.site.open_project(self.flags.title or self.flags.data_dir.resolve().name, labels)
        self.synchronise()
        self.fill(self.ask("GET", "/progress"))
        self.site.connect_model(self.address)

    def _ready(self):
        with contextlib.suppress(ServiceError):
            progress = self.ask("GET", "/progress")
            if progress["problem"]:
                raise UsageError(f"the model's server: {progress['problem']}")
            return progress["version"] is not None
        return False

    def _encoded(self):
        with contextlib.suppress(ServiceError):
            return self.ask("GET", "/progress")["encoded"]
        return 0

    def synchronise(self):
        """Tell the model's server all labels of the tool; the larger they are, the less often."""
        began = time.monotonic()
        # Labels that reach the model by themselves, while the tool lists the older ones, are not taken back.
        mark = self.ask("GET", "/progress")["mark"]
        rows = self.site.annotations()
        self.ask("POST", "/labels", {"rows": rows, "people": getattr(self.site, "people", {}), "mark": mark})
        now = time.monotonic()
        self.next_sync = now + max(SYNC, 10 * (now - began))

    def fill(self, progress):
        """Give the tool texts where few wait there: they are chosen as late as can be, by the newest model."""
        wanted = self.flags.queue * (1 + len(self.flags.annotators))
        if progress["open"] >= wanted:
            return
        found = self.ask("POST", "/next", {"count": wanted - progress["open"]})
        if found["texts"]:
            pairs = [tuple(pair) for pair in found["suggestions"] if pair]
            self.site.add_texts(found["texts"], pairs if len(pairs) == len(found["texts"]) else None)
            self.ask("POST", "/given", {"texts": found["texts"]})  # only then: a text too often is no harm

    def step(self):
        """One look: labels to the model, texts to the tool, progress to the terminal."""
        self.model.check()
        self.site.check()
        if time.monotonic() >= self.next_sync:
            self.synchronise()
        progress = self.ask("GET", "/progress")
        self.fill(progress)
        self.tell(progress)
        return progress

    def tell(self, progress):
        """Show how far it is; a line where there is news of a model."""
        if self.bar is None:
            self.bar = progress_bar(total=progress["total"], initial=progress["done"], unit="text", desc="labelled")
        self.bar.total = progress["total"]
        self.bar.update(progress["done"] - self.bar.n)
        told = (progress["version"], len(progress["history"]), progress["outlook"])
        if told != self.told and progress["outlook"] is not None:
            self.told = told
            self.bar.write(progress_line(progress))

    def stop(self):
        """Bring the last labels over, and end both; how far it was in the end, or None where nothing answers."""
        progress = None
        with contextlib.suppress(ServiceError, UsageError):
            self.synchronise()
            progress = self.ask("GET", "/progress")
        if self.bar is not None:
            self.bar.close()
        self.site.stop()
        self.model.stop()
        return progress


def progress_line(progress):
    """A line on labels, accuracy, and what more labels are likely to bring."""
    parts = [f"{progress['fitted_on']:,} labels"]
    if progress["accuracy"] is not None:
        low, high = 100 * progress["accuracy_low"], 100 * progress["accuracy_high"]
        where = f"{progress['judged_by']}, {progress['judged_texts']:,} texts"
        parts.append(f"accuracy {progress['accuracy']:.1%} ({low:.1f} to {high:.1f}; {where})")
    if not progress["suggests"]:
        parts.append(f"no suggestions yet: they begin at {progress['min_accuracy']:.0%}")
    if progress["outlook"] and progress["outlook"]["more"]:
        more = progress["outlook"]["more"][-1]
        gain, low, high = (100 * more[name] for name in ("gain", "low", "high"))
        parts.append(f"{more['labels']:,} more would bring about {gain:+.1f} points ({low:.1f} to {high:.1f})")
    if strange := progress["not_in_label_txt"]:
        parts.append(f"{sum(strange.values()):,} labels are not in label.txt ({shown(strange)}), no model learns them")
    if progress["history"] and not progress["history"][-1]["took_over"]:
        parts.append("the newest model was worse, the earlier one stays")
    return "; ".join(parts)


def shown(labels):
    """A few of them."""
    return shortened(" ".join(labels), 100)


def farewell(flags, progress):
    """What there is, and what comes next: lines."""
    folder = flags.work_dir
    yield f"{progress['labelled']:,} labelled texts in {folder / 'labelled.txt'}; the same command goes on"
    if progress["disputed"]:
        yield f"{progress['disputed']:,} texts on which people disagree are left out there"
        journal = shlex.quote(str(folder / "labels.jsonl"))
        yield f"how far people agree: python data/agreement.py --doccano_file {journal}"
    if strange := progress.get("not_in_label_txt"):
        lacking = flags.data_dir / "label.txt"
        yield (
            f"{sum(strange.values()):,} texts have labels that {lacking} lacks: {shown(strange)}; "
            "no model was trained on them: add these labels there and start again, or change them in the tool"
        )
    export, into = shlex.quote(str(folder / "annotated.jsonl")), shlex.quote(str(flags.data_dir))
    if progress["labelled"] and (flags.data_dir / "train.txt").is_file():
        yield f"into {flags.data_dir}: python data/doccano.py --doccano_file {export} --merge_into {into}"
    elif progress["labelled"]:
        split = shlex.quote(f"{flags.data_dir}_labelled")
        labels = shlex.quote(str(flags.data_dir / "label.txt"))
        yield f"next: python data/doccano.py --doccano_file {export} --save_dir {split} --label_file {labels}"


def interrupt(*_):
    """SIGTERM is answered as Ctrl+C is."""
    raise KeyboardInterrupt


def main(argv=None):
    flags = parse_flags(argv)
    pool = read_pool(flags.data_dir, flags.text_file)
    require_packages("annotate.py", "fastapi", "uvicorn", requirements="deploy/requirements.txt")
    refuse_taken_port(flags.port, "--port")
    refuse_taken_port(flags.model_port, "--model_port")
    signal.signal(signal.SIGTERM, interrupt)
    session, progress = Session(flags, make_site(flags), make_model(flags)), None
    try:
        session.start(pool.labels)
        people = [(session.site.user, session.site.password), *map(session.site.add_annotator, flags.annotators)]
        print(f"open {session.site.url}", *(f"  user {user}  password {word}" for user, word in people), sep="\n")
        print(f"progress: {session.address}/  (Ctrl+C ends it; no label is lost)", flush=True)
        while True:
            progress = session.step()
            time.sleep(LOOK)
    except KeyboardInterrupt:
        print("\nending …", flush=True)
    except ServiceError as error:
        session.model.check()
        session.site.check()
        raise UsageError(f"{error}; see the logs in {flags.work_dir}") from None
    finally:
        progress = session.stop() or progress
    if progress:
        print("\n".join(farewell(flags, progress)))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
