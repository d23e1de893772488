"""Let a doccano that already runs suggest labels by a model: sets up its auto-labelling through doccano's API.

    # A model served by deploy/simple_serving; the password is asked for, or taken from DOCCANO_PASSWORD
    python data/doccano_model.py --doccano_url http://127.0.0.1:8000 --project my_project --username admin \\
        --model_url http://127.0.0.1:8189/models/cls_multi_class

    # Labels of other names, and suggestions only where the model is sure
    python data/doccano_model.py --doccano_url http://127.0.0.1:8000 --project my_project --username admin \\
        --model_url http://127.0.0.1:8189 --rename 费用=医疗费用 --min_score 0.6

--model_url may also be a server that answers POST …/suggest {"text": …} with {"label": …, "score": …}. doccano, not
this program, asks the model: give the address as doccano's machine or container sees it. If it needs an API key, set
SERVING_API_KEY; doccano then keeps it where the project's administrators can read it.

Before anything is written, doccano is let ask the model about one text. The same command again replaces the
configuration that it made before, and leaves others alone.

Then, on the page: open a text, click the robot in the row of buttons, and enable auto labeling. Each text that is
opened from then on and has no label gets the model's.
"""

import argparse
import getpass
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from core.arguments import parse_argv
from data.doccano_api import Doccano, find_model, is_share, make_config, make_mapping
from utils import UsageError, exit_on_usage_error, shortened

PASSWORD, KEY = "DOCCANO_PASSWORD", "SERVING_API_KEY"


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--doccano_url", default="http://127.0.0.1:8000", help="(default: http://127.0.0.1:8000)")
    add("--project", required=True, help="its name, or its number")
    add("--username", default="admin", help="an administrator of the project (default: admin)")
    add("--model_url", required=True, help="such as http://127.0.0.1:8189/models/cls_multi_class")
    add("--rename", nargs="+", default=[], metavar="MODEL=PROJECT", help="labels that the project calls otherwise")
    add("--add_labels", action="store_true", help="add the model's labels that the project does not have")
    add("--min_score", type=float, default=0.0, help="of the model, below which nothing is suggested (default: 0)")
    add("--text", help="that the model is tried with (default: the project's first)")
    flags = parse_argv(parser, argv)
    if not is_share(flags.min_score):
        raise UsageError(f"--min_score {flags.min_score}: give a number from 0 to 1")
    flags.renames = {}
    for pair in flags.rename:
        name, equals, target = (part.strip() for part in pair.partition("="))
        if not name or not target or "=" in target:
            raise UsageError(f"--rename {pair}: write <the model's label>=<the project's label>")
        flags.renames[name] = target
    return flags


def read_password(user):
    """The password, from the environment or the terminal.

    Raises:
        UsageError: neither has one.
    """
    password = os.environ.get(PASSWORD)
    if password is None and sys.stdin.isatty():
        password = getpass.getpass(f"doccano's password of {user}: ")
    if not password:
        raise UsageError(f"no password; set {PASSWORD}, or run this in a terminal and type it")
    return password


def find_mapping(doccano, project, model, flags):
    """Which of the project's labels each of the model's becomes; with --add_labels, they are added.

    Raises:
        UsageError: the project lacks some: doccano would drop these suggestions without a word.
    """
    there = doccano.labels(project)
    mapping, missing = make_mapping(model.labels, there, flags.renames)
    if missing and flags.add_labels:
        doccano.add_labels(project, [flags.renames.get(name, name) for name in missing])
        mapping, missing = make_mapping(model.labels, doccano.labels(project), flags.renames)
    unknown = set(flags.renames) - set(model.labels or flags.renames)
    if unknown:
        raise UsageError(f"--rename: the model has no label {' '.join(sorted(unknown))}; it has {names(model.labels)}")
    if missing:
        raise UsageError(
            f"--project {flags.project}: no label {names(missing)}, which the model answers with; add it "
            f"(--add_labels does), or name the project's in its place: --rename {missing[0]}=…"
        )
    if not mapping:
        raise UsageError(f"--project {flags.project}: has no labels; add them, or let --add_labels do it")
    return mapping


def names(labels):
    return shortened(" ".join(labels), 200)


def main(argv=None):
    flags = parse_flags(argv)
    key = os.environ.get(KEY) or None
    model = find_model(flags.model_url, key)
    doccano = Doccano(flags.doccano_url, flags.username, read_password(flags.username))
    row = doccano.project(flags.project)
    project = row["id"]
    mapping = find_mapping(doccano, project, model, flags)
    config = make_config(model, mapping, flags.min_score, key)
    text = flags.text
    if text is None:
        first = doccano.call("GET", f"projects/{project}/examples", params={"limit": 1})["results"]
        text = first[0]["text"] if first else "text"
    answer, label = doccano.try_auto_labelling(project, config, text)
    if isinstance(answer, dict) and "error" in answer:
        raise UsageError(f"{model.url}: refuses doccano's request: {shortened(str(answer['error']), 300)}")
    number = doccano.set_auto_labelling(project, config)
    known = f"{len(model.labels)} labels" if model.labels else "labels that it does not list"
    print(f"{model.url}: {known}; {len(mapping)} become the project's")
    print(f"tried through doccano with {shortened(text)!r}: {label if label is not None else 'no suggestion'}")
    print(f"project {row['name']} ({project}): auto-labelling is set up, configuration {number}")
    print(f"next: {doccano.url}/projects/{project}/text-classification?page=1 - click the robot, enable auto labeling")
    if not row["single_class_classification"]:
        print("note: the project allows several labels a text; doccano.py needs exactly one")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
