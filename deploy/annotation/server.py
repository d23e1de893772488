"""A model that labels along with people: an ML backend for Label Studio, and a REST service for doccano.

    python deploy/annotation/server.py --data_dir my_data --encoder data/offline_encoder

data/annotate.py starts it together with an annotation tool; it can as well be connected to a Label Studio of yours
(Settings, Model, Connect Model, http://127.0.0.1:9090). The page at / shows how far you are.

    GET  /           progress: labels, accuracy, what more labels are likely to bring; /progress: the same as JSON
    GET  /health     200 when there is a model, else 503
    POST /setup /predict /train /webhook /validate, GET /versions    Label Studio's protocol
    POST /suggest    {"text": "…"} -> {"label": "…", "score": 0.87}; "" and 0 while no model is good enough
    POST /next       {"count": 10} -> {"texts": […], "suggestions": […]}, the texts most worth a label
    POST /given      {"texts": […]}: the tool has them
    POST /labels     {"rows": [[text, label, annotator], …]}: all labels of the tool

After every --retrain_every new labels a model is fitted in the background, in seconds: linear heads on frozen vectors
of the texts and on n-grams. It takes over where its accuracy, on dev.txt or else cross-validated, is no worse.
Labels are in <work_dir>/labels.jsonl before a request is answered; labelled.txt and annotated.jsonl follow at once.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import at_least, parse_argv, require_packages
from deploy.annotation.flags import add_model_flags, min_accuracy_problems
from deploy.annotation.pool import read_pool
from utils import UsageError, exit_on_usage_error


def parse_flags(argv):
    """The flags, checked before any heavy import.

    Raises:
        UsageError: naming all that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_model_flags(parser)
    add("--work_dir", type=Path, help="for labels, vectors and state (default: <data_dir>/annotation)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=9090, help="(default: %(default)s)")
    add("--allowed_host", nargs="*", default=[], help="other names that the server may be asked by")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, retrain_every=1, max_seq_length=3, port=1)
    problems += min_accuracy_problems(flags)
    if problems:
        raise UsageError("\n".join(problems))
    flags.work_dir = flags.work_dir or flags.data_dir / "annotation"
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    pool = read_pool(flags.data_dir, flags.text_file)
    require_packages("server.py", "fastapi", "uvicorn", requirements="deploy/requirements.txt")

    from deploy.annotation.journal import Journal

    journal = Journal(flags.work_dir)

    import uvicorn  # what takes seconds

    from deploy.annotation.application import create_app
    from deploy.annotation.loop import Loop
    from deploy.annotation.vectors import Encoder

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    loop = Loop(pool, journal, flags.work_dir, flags, lambda: Encoder(flags.encoder, flags.max_seq_length))
    app = create_app(loop, [name.lower() for name in flags.allowed_host])
    try:
        uvicorn.run(app, host=flags.host, port=flags.port, log_level="warning", access_log=False)
    finally:
        journal.close()


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
