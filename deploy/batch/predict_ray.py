"""Put a model over files that are too many for one machine, with Ray Data: on one machine or on a cluster.

    python deploy/batch/predict_ray.py --model_dir checkpoint/export --input texts/ --output answers/
    python deploy/batch/predict_ray.py --model_dir checkpoint/export --input s3://bucket/texts/*.parquet \\
        --output s3://bucket/answers --address auto

Files are cut into parts of --part_rows; one actor a core (or a GPU, with --num_gpus) predicts a part and writes it,
whole or not at all, under a name of its own. So a worker or machine that is lost costs the parts under way, which are
done again elsewhere, and the same command after an interruption goes on with the parts that are missing. Every row is
there once: in a part, or in _rejected/ with the reason.

The model goes to the machines by itself, with its student; --input and --output must be reachable from all of them.
Only ONNX formats, with a student before or beside them too. Needs deploy/batch/requirements.txt in an environment of
its own.
"""

import argparse
import hashlib
import json
import logging
import os
import posixpath
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import fsspec

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.answers import read_label_names
from core.arguments import parse_argv
from core.batch_output import added_names, answer_columns, name_added
from core.batch_run import confidence, share
from core.checkpoints import BLEND, CASCADE, EXPORT_FILE, FORMATS, NGRAM, STUDENT_FORMATS
from core.confidence import least_probability, limits
from core.label_paths import LabelPaths, stored_separator
from core.long_text_flags import reads_windows
from core.progress import progress_bar
from core.samples import CLEANING
from deploy.batch.parts import (
    ENDINGS,
    encode_part,
    find_files,
    first_names,
    is_there,
    kind_of,
    plan_file,
    read_part,
    write_file,
)
from utils import UsageError, exit_on_usage_error, read_json

ROOT = Path(__file__).resolve().parents[2]
# Those without Paddle.
RAY_FORMATS = ("onnx", "onnx_int8", *(name for name in STUDENT_FORMATS if not name.endswith(":paddle")))
# In --output: what it is the answer to; the rows left out, a file a part; that all is there.
PLAN_FILE, REJECTED_FOLDER, DONE_FILE = "_plan.json", "_rejected", "_SUCCESS"
# Blocks for each actor: a block is what Ray gives an actor at once, and does again when it is lost.
BLOCKS_AN_ACTOR = 20


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, required=True, help="an export folder with an ONNX format, on this machine")
    formats = "as predict.py takes it (default: auto, which is onnx where it is, else what is)"
    add("--format", default="auto", choices=("auto", *RAY_FORMATS), metavar="NAME", help=formats)
    add("--input", nargs="+", required=True, help="Parquet, CSV or JSON lines: files, folders, patterns or addresses")
    add("--output", required=True, help="a folder or address for the parts")
    add("--output_format", choices=ENDINGS, help="(default: that of --input)")
    add("--text_column", default="text", help="name of the column or field that is classified (default: %(default)s)")
    clean = "of the text that the model gets, as of predict.py (default: it gets the text as it stands)"
    add("--clean", choices=sorted(CLEANING), help=clean)
    prefix = "before the names of what is added; default: nothing, or predicted_ where the input has such a column"
    add("--prefix", help=prefix)
    add("--top_k", type=int, default=1, help="most probable labels of each text (default: %(default)s)")
    add("--min_confidence", help="0 to 1, or accuracy:0.98: below it the label is unknown, with a guess beside it")
    add(
        "--conformal",
        metavar="SHARE",
        help="0.9 or 0.95: also label_set, labels among which the right one is so often",
    )
    add("--batch_size", type=int, default=32, help="texts run together (default: %(default)s)")
    add("--part_rows", type=int, default=50_000, help="rows of a part at most (default: %(default)s)")
    add("--num_workers", type=int, help="actors (default: one a core of the cluster, or one a GPU)")
    add("--num_gpus", type=float, default=0, help="GPUs of an actor, such as 1 or 0.5 (default: %(default)s, CPU)")
    add("--address", help="of a Ray cluster, such as auto or ray://host:10001 (default: this machine alone)")
    args = parse_argv(parser, argv)
    for name in ("top_k", "batch_size", "part_rows"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.num_workers is not None and args.num_workers < 1:
        parser.error(f"--num_workers {args.num_workers}: must be at least 1")
    args.min_confidence, args.conformal = confidence(args.min_confidence), share(args.conformal)
    return args


def load_ray():
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("Ray is not installed; run: pip install -r deploy/batch/requirements.txt") from None
    return ray


class PartPredictor:
    """An actor: a part in, its file out.

    Args:
        files (list): a reference to the model's files, dict[str, bytes]; in a list, for Ray would otherwise want it
            again from whoever restarts a lost actor.
        options (dict): the flags that decide what is written.
    """

    def __init__(self, files, options):
        import ray

        from core.batch_answers import Answerer, Job

        folder = Path(tempfile.mkdtemp(prefix="model-"))
        for name, content in ray.get(files[0]).items():
            (folder / name).parent.mkdir(exist_ok=True)  # student/
            (folder / name).write_bytes(content)
        names = ("batch_size", "top_k", "min_confidence", "has_windows", "conformal")
        asked = {name: options[name] for name in names}
        device = "gpu" if options["num_gpus"] else "cpu"
        # A part is one slice: an actor answers all of it, and sorted as a whole it is padded least.
        job = Job(str(folder), options["format"], device=device, slice_texts=options["part_rows"], **asked)
        self.options, self.answerer = options, Answerer(job)
        shutil.rmtree(folder)  # all of it is read

    def __call__(self, batch):
        from deploy.batch.parts import Part

        start = time.perf_counter()
        found = [self.predict(Part(*json.loads(text))) for text in batch["part"]]
        seconds = time.perf_counter() - start
        return {
            "part": [name for name, _ in found],
            "rows": [rows for _, rows in found],
            "seconds": [seconds / len(found)] * len(found),
        }

    def predict(self, part):
        """Predict a part and write it, what is left out first; its name, and its rows."""
        output, kind = self.options["output"], self.options["output_format"]
        target = posixpath.join(output, f"{part.name}{ENDINGS[kind]}")
        if is_there(target):
            # A lost actor's block is done again as a whole; of many texts that is hundreds of parts.
            return part.name, part.rows
        added = self.options["added"]
        rows = read_part(part, self.options["text_column"], self.options["clean"], added)
        self.answerer.look(rows.texts)
        results = dict(zip(added, answer_columns(self.answerer(rows.texts), self.answerer.names)))
        if len(rows.texts) + len(rows.rejected) != part.rows:
            raise RuntimeError(
                f"{part.path}: {len(rows.texts) + len(rows.rejected)} rows from row {part.first} on instead of "
                f"{part.rows}; it changed, or has line breaks that are none of its format"
            )
        if rows.rejected:
            lines = [json.dumps({"file": part.path, "row": number, "reason": why}) for number, why in rows.rejected]
            content = "".join(f"{line}\n" for line in lines).encode()
            write_file(posixpath.join(output, REJECTED_FOLDER, f"{part.name}.jsonl"), content)
        write_file(target, encode_part(part, rows, results, kind))
        return part.name, part.rows


def new_names(args, labels, columns, kind):
    """The names of what is found, which --prefix may begin: list[str].

    Args:
        args (argparse.Namespace): the flags, with has_windows.
        labels (list[str]): of the model.
        columns (list[str]): of the input.
        kind (str): what is written.

    Raises:
        UsageError: the input has such columns even so.
    """
    top_k, is_limited = min(args.top_k, len(labels)), args.min_confidence is not None
    added = added_names(top_k, is_limited, args.has_windows, args.conformal is not None)
    found = name_added(columns, added, args.prefix, kind)
    if found != added:
        print(f"note: the input has a column of that name, so what is added is called {' '.join(found)}", flush=True)
    return found


def found_format(folder):
    """What --format auto is with an export folder: of RAY_FORMATS."""
    from core.predictor import available_formats

    found = [name for name in available_formats(folder) if name in RAY_FORMATS]
    return next(iter(found), "onnx")


def model_files(folder, format):
    """What an actor needs of an export folder, and what the folder says of the format.

    Args:
        folder (Path): of the export.
        format (str): of RAY_FORMATS.

    Returns:
        tuple[dict[str, bytes], dict]: files by name, those of a student behind student/; content as core.confidence
        reads it.

    Raises:
        UsageError: a file is missing, PaddleNLP is needed, or as core.students.read_stages.
    """
    from core.predictor import graph_name, staged_model, student_format
    from core.students import STUDENT_FOLDER, ngram_folder, read_stages

    kind, _, own = format.partition(":")
    if kind not in (CASCADE, BLEND):
        folder = ngram_folder(folder) if format == NGRAM else folder
        return files_of(folder, format), read_json(folder / EXPORT_FILE)
    own = own or staged_model(folder)
    files, content = files_of(folder, own), read_json(folder / EXPORT_FILE)
    path = folder / f"{graph_name(folder)}{FORMATS[own]}"
    facts = read_stages(SimpleNamespace(folder=folder, path=path, format=own, content=content), kind)
    student = folder / STUDENT_FOLDER
    more = files_of(student, student_format(student, facts))
    files.update((f"{STUDENT_FOLDER}/{name}", value) for name, value in more.items())
    return files, {**content, "formats": {format: facts}}


def files_of(folder, format):
    """The files of one model: dict of bytes by name; errors as of model_files."""
    from core.ngram_student import STUDENT_FILE
    from core.predictor import check_sizes, graph_name, runs_slim
    from core.students import NgramPredictor
    from core.tokenizer_json import no_runtime

    graph = STUDENT_FILE if format == NGRAM else f"{graph_name(folder)}{FORMATS[format]}"
    if not (folder / graph).is_file():
        made_by = "--do_compress --strategy distill" if format == NGRAM else f"--do_export --export_type {format}"
        raise UsageError(f"{folder / graph}: no such file; make it with train.py {made_by}")
    if format == NGRAM:
        NgramPredictor(folder)  # which reads it, and says what is wrong with it
    elif not runs_slim(folder, format):
        why = no_runtime(read_json(folder / EXPORT_FILE)) or f"format {format}"
        raise UsageError(f"{folder}: cannot run without PaddleNLP ({why}); use predict.py with the full installation")
    check_sizes(folder / graph)
    paths = [path for path in sorted(folder.iterdir()) if path.name == graph or path.suffix in (".json", ".txt")]
    return {path.name: path.read_bytes() for path in paths}


def check_promises(content, labels, args):
    """Refuse what this export has no threshold for, before Ray is started.

    Raises:
        UsageError: as core.batch_answers.Answerer.
    """
    if args.min_confidence is not None:
        limits(content, args.format, args.min_confidence)
        LabelPaths(labels, stored_separator(content)).check_answers()
    if args.conformal is not None:
        least_probability(content, args.format, args.conformal)


def check_plan(args, kind, parts, model):
    """Write what --output is the answer to, or compare it with what is there; the names of the parts that are there.

    Raises:
        UsageError: --output holds something else.
    """
    files = {}
    for part in parts:
        files[part.path] = [files.get(part.path, [0])[0] + part.rows, part.end]
    facts = {
        "input": files,
        "model": hashlib.sha256(b"".join(name.encode() + content for name, content in model.items())).hexdigest(),
        **{name: getattr(args, name) for name in ("format", "text_column", "top_k", "min_confidence", "part_rows")},
        "output_format": kind,
    }
    # Of what there was not in older versions: their plans are those of runs without it.
    if args.has_windows:
        facts["has_windows"] = True
    facts.update({name: getattr(args, name) for name in ("conformal", "clean") if getattr(args, name) is not None})
    if prefix := args.added[0].removesuffix("label"):
        facts["prefix"] = prefix
    system, folder = fsspec.core.url_to_fs(args.output)
    path = posixpath.join(folder, PLAN_FILE)
    there = [posixpath.basename(name) for name in system.ls(folder, detail=False)] if system.isdir(folder) else []
    if system.exists(path):
        old = json.loads(system.cat_file(path))
        changed = [name for name in {**facts, **old} if facts.get(name) != old.get(name)]
        if changed:
            raise UsageError(
                f"{args.output}: holds answers to another {', '.join(changed)}; choose another --output, or delete it"
            )
    elif there:
        raise UsageError(f"{args.output}: is not empty, and not from here; choose another --output")
    else:
        write_file(posixpath.join(args.output, PLAN_FILE), json.dumps(facts, ensure_ascii=False, indent=1).encode())
    return {
        posixpath.splitext(posixpath.basename(name))[0]
        for name in there
        if not posixpath.basename(name).startswith("_")
    }


def main(argv=None):
    args = parse_flags(argv)
    ray = load_ray()
    paths = [path if "://" in path else os.path.abspath(path) for path in find_files(args.input)]
    args.output = args.output if "://" in args.output else os.path.abspath(args.output)
    kind = args.output_format or kind_of(paths[0])
    if kind_of(paths[0]) == "jsonl" != kind:
        raise UsageError("--output_format: JSON lines may have other fields in each line; leave it out")
    args.format = found_format(args.model_dir) if args.format == "auto" else args.format
    model, content = model_files(args.model_dir, args.format)
    labels = read_label_names(args.model_dir)
    check_promises(content, labels, args)
    args.has_windows = args.format not in STUDENT_FORMATS and reads_windows(content)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    modules = [str(ROOT / name) for name in ("core", "deploy", "utils.py")]
    try:
        ray.init(args.address or "local", runtime_env={"py_modules": modules}, logging_level="warning")
    except (ConnectionError, ValueError) as error:
        raise UsageError(f"--address {args.address}: no Ray cluster answers there ({error}); see ray status") from None
    try:
        parts = plan(ray, args, paths)
        columns = dict.fromkeys(name for part in parts for name in part.names) or first_names(paths[0])
        args.added = new_names(args, labels, list(columns), kind)
        finished = check_plan(args, kind, parts, model)
        missing = [part for part in parts if part.name not in finished]
        total = sum(part.rows for part in parts)
        print(f"{total:,} rows in {len(parts):,} parts, {len(parts) - len(missing):,} of them finished", flush=True)
        with progress_bar(
            total=total, initial=total - sum(part.rows for part in missing), desc="rows", unit=""
        ) as bar:
            for row in predict_parts(ray, args, kind, missing, model):
                bar.update(row["rows"])
    except (ray.exceptions.RayTaskError, ray.exceptions.ActorDiedError) as error:  # of a part, or of the model
        why = str(error).strip().splitlines()[-1].removeprefix("utils.UsageError: ")
        raise UsageError(f"{why}\nParts that are finished stay; the same command goes on with the others") from None
    finally:
        ray.shutdown()
    rejected = count_rejected(args.output)
    write_file(posixpath.join(args.output, DONE_FILE), json.dumps({"rows": total, "rejected": rejected}).encode())
    print(f"The answers to {total - rejected:,} rows are in {args.output}")
    if rejected:
        print(f"{rejected:,} rows are left out; {REJECTED_FOLDER} in it says which, and why")


def plan(ray, args, paths):
    """The parts of all files, each file looked through by one task: list[Part].

    Raises:
        UsageError: a file cannot be read, or lacks the column.
    """
    task = ray.remote(plan_file)
    # In the tasks' own words: Ray wraps what they raise.
    found = ray.get([task.remote(path, number, args.part_rows, args.text_column) for number, path in enumerate(paths)])
    for problem in found:
        if isinstance(problem, str):
            raise UsageError(problem)
    parts = [part for some in found for part in some]
    if not parts:
        raise UsageError("--input: no rows; give files with texts")
    return parts


def predict_parts(ray, args, kind, parts, model):
    """Have parts predicted and written; yields what PartPredictor says of each as it is finished."""
    if not parts:
        return
    resource, share = ("GPU", args.num_gpus) if args.num_gpus else ("CPU", 1)
    workers = args.num_workers or max(1, int(ray.cluster_resources().get(resource, 0) / share))
    workers = min(workers, len(parts))
    names = "format text_column clean added top_k min_confidence conformal has_windows batch_size part_rows".split()
    names += ["output", "num_gpus"]
    options = {"output_format": kind, **{name: getattr(args, name) for name in names}}
    files = ray.put(model)
    blocks = min(len(parts), workers * BLOCKS_AN_ACTOR)
    data = ray.data.from_items([{"part": json.dumps(part)} for part in parts], override_num_blocks=blocks)
    data = data.map_batches(
        PartPredictor,
        fn_constructor_args=([files], options),
        batch_size=1,
        # Fewer may be there for a while: where a machine is lost, the others go on.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
        num_cpus=1,
        num_gpus=args.num_gpus or None,
    )
    yield from data.iter_rows()


def count_rejected(output):
    """How many rows are left out, by the files that say so."""
    system, folder = fsspec.core.url_to_fs(posixpath.join(output, REJECTED_FOLDER))
    names = system.ls(folder, detail=False) if system.isdir(folder) else []
    return sum(system.cat_file(name).count(b"\n") for name in names)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
