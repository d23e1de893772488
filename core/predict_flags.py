"""train.py's flags of --do_predict, and what they lead to; nothing here needs paddle."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from core.arguments import at_least
from core.batch_run import Prediction, Wanted, cleaning_for, confidence, share
from core.checkpoints import EXPORT_FILE, weights_digest
from core.encodings import codec_of
from core.long_text_flags import reads_windows
from core.samples import Wishes
from core.tables import Reading
from utils import UsageError, read_json

OUTPUT = "predictions.csv"


@dataclass
class PredictArguments:
    """What --do_predict does with the texts of --test_path."""

    predict_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "With --do_predict: where the columns of --test_path and the answers go; ends with .csv, .tsv, "
            f".jsonl or .parquet. None means <output_dir>/{OUTPUT}."
        },
    )
    top_k: int = field(default=1, metadata={"help": "Labels that --do_predict gives of each text."})
    min_confidence: Optional[str] = field(
        default=None,
        metadata={"help": "A number from 0 to 1, or accuracy:0.98: --do_predict calls what is less sure unknown."},
    )
    conformal: Optional[str] = field(
        default=None,
        metadata={
            "help": "0.9 or 0.95: --do_predict gives each text a set of labels that holds the right one so often."
        },
    )
    text_column: list[str] = field(
        default_factory=list,
        metadata={"help": "Name or number (from 1) of the text in --test_path; several are joined."},
    )
    label_column: Optional[str] = field(
        default=None,
        metadata={"help": "Name or number of the true label in --test_path; none; None: the one with known labels."},
    )
    header: Optional[str] = field(
        default=None, metadata={"help": "yes or no: whether the first line of --test_path names the columns."}
    )
    encoding: Optional[str] = field(
        default=None, metadata={"help": "Of what is not UTF-8 in --test_path, such as gb18030; None: to be found."}
    )
    separator: Optional[str] = field(
        default=None, metadata={"help": "Between columns of --test_path: characters, or tab, comma, semicolon, none."}
    )
    sheet: Optional[str] = field(default=None, metadata={"help": "Of a spreadsheet with several."})


def predict_problems(flags, args):
    """What is wrong with the flags of --do_predict: a list of messages.

    Args:
        flags (PredictArguments): the flags.
        args: PaddleNLP's TrainingArguments, or their fields.
    """
    if not args.do_predict:
        defaults = PredictArguments()
        given = [name for name, value in vars(defaults).items() if getattr(flags, name) != value]
        return [f"--{name}: has a part in a prediction only; add --do_predict" for name in given]
    problems = at_least(flags, top_k=1)
    if flags.header not in (None, "yes", "no"):
        problems.append(f"--header {flags.header}: give yes or no")
    if flags.encoding and codec_of(flags.encoding) is None:
        problems.append(f"--encoding {flags.encoding}: not known; give one such as gb18030, big5, shift_jis or euc-kr")
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        problems.append("--do_predict works in one process only; run it without paddle.distributed.launch")
    for check, value in ((confidence, flags.min_confidence), (share, flags.conformal)):
        try:
            check(value)
        except UsageError as error:
            problems.append(str(error))
    return problems


def export_folder(model_flags, args):
    """Where the export lies that predicts."""
    return Path(model_flags.export_model_dir or Path(args.output_dir, "export"))


def lacks_export(model_flags, args):
    """Whether --do_predict needs an export that is not there: predictions are an export's, as a server's are."""
    held = read_json(export_folder(model_flags, args) / EXPORT_FILE).get("weights")
    return args.do_train or held is None or held != weights_digest(model_flags.model_name_or_path)


def tells_windows(model_flags, args, long_text):
    """Whether the export that predicts reads long texts in windows.

    Args:
        model_flags (core.run_flags.ModelArguments), args: as parsed; an export that is made in this run has do_export.
        long_text (dict | None): what such a one does; see core.long_text_flags.long_text_facts.
    """
    if args.do_export:
        return reads_windows({"long_text": long_text})
    return reads_windows(read_json(export_folder(model_flags, args) / EXPORT_FILE))


def prepare_prediction(flags, test_path, labels, output_dir, has_windows=False):
    """Look at what is to be predicted.

    Args:
        flags (PredictArguments): the flags.
        test_path (str): the texts, of any format.
        labels (list[str]): of the model.
        output_dir (str): where the answers go by default.
        has_windows (bool): see tells_windows.

    Returns:
        core.batch_run.Prediction

    Raises:
        UsageError: as Prediction.
    """
    header = None if flags.header is None else flags.header == "yes"
    reading = Reading(flags.encoding, flags.separator, header, flags.sheet)
    wishes = Wishes(reading, flags.text_column or None, flags.label_column, trust_columns=True)
    wishes.clean = cleaning_for(test_path)
    output, least = flags.predict_path or str(Path(output_dir, OUTPUT)), confidence(flags.min_confidence)
    more = {"flag": "--predict_path", "has_windows": has_windows, "conformal": share(flags.conformal)}
    return Prediction(Wanted([test_path], output, labels, wishes, flags.top_k, least, **more))


def predict(prediction, folder, device):
    """Run it with an export: the lines to tell the user.

    Args:
        prediction (core.batch_run.Prediction): of prepare_prediction.
        folder (Path): of the export.
        device (str): as of core.predictor.GraphRunner.
    """
    from core.batch_answers import Job
    from core.batch_workers import OneWorker
    from core.predictor import available_formats

    wanted = prediction.wanted
    format = "onnx" if "onnx" in available_formats(folder) else "paddle"
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    asked = {name: getattr(wanted, name) for name in ("top_k", "min_confidence", "has_windows", "conformal")}
    job = Job(str(folder), format, threads, device=device, **asked)
    return list(prediction.run(job, lambda: OneWorker(job)).lines())
