"""Whether the formats of an export folder give the answers of the model that they were made from, on dev."""

import time
from pathlib import Path

import numpy as np
from paddlenlp.utils.log import logger

from core.calibration import cross_fit, promises
from core.checkpoints import EXACT_FORMATS, EXPORT_FILE
from core.confidence import temperature_of
from core.predictor import Predictor, available_formats
from utils import format_table, read_json, staged_files, write_json


def dynamic_logits(trainer, model):
    """Logits of a model in dygraph on the trainer's eval_dataset: [samples, classes]."""
    kept, trainer.model = trainer.model, model
    kept_wrapped, trainer.model_wrapped = trainer.model_wrapped, model
    try:
        return trainer.predict(trainer.eval_dataset).predictions
    finally:
        trainer.model, trainer.model_wrapped = kept, kept_wrapped


def verify_export(folder, dev, expected, predictor_class=None, formats=None):
    """Run every format of an export folder over dev, and note the outcome in its export.json.

    The temperature in the graphs is taken out of their logits again. Formats that do not give the model's own answers
    get thresholds of their own, where the export has any and lacks these.

    Args:
        folder: the export folder.
        dev (TextDataset): tokenised samples with labels.
        expected (np.ndarray): the logits of the model in dygraph, [samples, classes].
        predictor_class (type | None): for what Predictor cannot run.
        formats (Iterable[str] | None): only these; None means all that are there.

    Returns:
        list[dict]: a row a format, the dynamic graph first: format, file, accuracy, label_agreement with the dynamic
            graph, max_difference of a logit, ms_per_sample without tokenisation.
    """
    truth = np.array([feature["labels"] for feature in dev.features])
    rows = [compared("dynamic", "", expected, expected, truth)]
    content, own = read_json(Path(folder) / EXPORT_FILE), {}
    temperature = temperature_of(content)
    for format in formats or available_formats(folder):
        predictor = (predictor_class or Predictor)(folder, format)
        predictor.logits(dev.features[: predictor.batch_size])
        start = time.perf_counter()
        logits = predictor.logits(dev.features) * np.float32(temperature)
        seconds = time.perf_counter() - start
        rows.append(compared(format, predictor.path.name, logits, expected, truth, seconds / len(truth) * 1000))
        if format not in EXACT_FORMATS and "thresholds" in content and format not in content.get("formats", {}):
            seed = content["calibration"]["seed"]
            temperatures = 1.0 if temperature == 1.0 else cross_fit(expected, truth, seed)[1]
            own[format] = promises(logits, truth, predictor.paths, temperatures)
    if own:
        content["formats"] = {**content.get("formats", {}), **own}
    if content:
        timeless = [{key: value for key, value in row.items() if key != "ms_per_sample"} for row in rows]
        with staged_files(folder) as stage:
            write_json(stage / EXPORT_FILE, {**content, "metrics": {"samples": len(truth), "dev": timeless}}, True)
    different = [row for row in rows if row["format"] in EXACT_FORMATS and not is_exact(row)]
    for row in different:
        logger.error(
            f"{folder}/{row['file']}: not the model it was exported from: logits differ by "
            f"{row['max_difference']:.1e}, {row['label_agreement']:.2%} of the labels agree; export it again"
        )
    return rows


def compared(format, file, logits, expected, truth, ms_per_sample=None):
    """A row of verify_export: one format's logits beside the model's own."""
    return {
        "format": format,
        "file": file,
        "accuracy": float((logits.argmax(1) == truth).mean()),
        "label_agreement": float((logits.argmax(1) == expected.argmax(1)).mean()),
        "max_difference": float(np.abs(logits - expected).max()),
        "ms_per_sample": ms_per_sample,
    }


def is_exact(row):
    """Whether a row of verify_export shows the dynamic graph's own answers."""
    return row["label_agreement"] == 1.0 and row["max_difference"] <= 1e-4


def parity_table(rows):
    """The rows of verify_export as lines to print."""
    cells = [
        {
            "format": row["format"],
            "file": row["file"] or "-",
            "dev accuracy": f"{row['accuracy']:.2%}",
            "same label": f"{row['label_agreement']:.2%}",
            "max |logit difference|": f"{row['max_difference']:.1e}",
            "ms/sample": "-" if row["ms_per_sample"] is None else f"{row['ms_per_sample']:.3f}",
        }
        for row in rows
    ]
    return format_table(cells)
