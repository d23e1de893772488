"""The model card of an export whose training left a run.json: train.py's, and few-shot/train.py's."""

from pathlib import Path

from core.checkpoints import EXPORT_FILE, read_run_file
from core.model_card import (
    Card,
    base_model,
    data_sizes,
    decided_by_dev,
    dev_scores,
    training_flags,
    write_cards,
)
from utils import read_json, staged_files, write_json

# In export.json: the flags of the compression that made it, list[[name, value]].
COMPRESSION_KEY = "compression"


def describe_trained(
    folder, trainer, run, model, logits, rows, warn, arguments="CompressionArguments", compression=()
):
    """Write the card of a finished export; what is no card of ours, or was changed, is kept.

    Args:
        folder (Path): the export's.
        trainer: with dev, where there is one.
        run: with args and data: labels, train, dev, export_dev and why_no_dev.
        model (Path): the checkpoint's folder.
        logits (np.ndarray | None): of the model that was exported, on dev.
        rows (list[dict]): of verify_export.
        warn (Callable): gets a line for the files that are kept.
        arguments (str): see core.model_card.training_flags.
        compression (list[tuple[str, str]]): flags of a compression that followed the training.

    Returns:
        list[str]: the names of the files that were kept.
    """
    data, stored, scores = run.data, read_run_file(model), None
    fingerprint, content = stored.get("fingerprint") or {}, read_json(Path(folder) / EXPORT_FILE)
    if compression:
        content[COMPRESSION_KEY] = [list(flag) for flag in compression]
        with staged_files(folder) as stage:
            write_json(stage / EXPORT_FILE, content, ascii_only=True)
    if logits is not None and len(logits):
        truth = [feature["labels"] for feature in trainer.eval_dataset.features]
        scores = dev_scores(data.labels, truth, logits, run.args.seed)
    given = data_sizes(data.labels, train=data.train, dev=data.dev or data.export_dev)
    card = Card(
        labels=data.labels,
        content=content,
        sizes={**(stored.get("data") or {}), **given},
        flags=training_flags(fingerprint, arguments) if fingerprint else [],
        trained=bool(fingerprint),
        compression=list(compression),
        base=base_model(model, fingerprint),
        by_dev=decided_by_dev(fingerprint, compression),
        scores=scores,
        why_no_scores=data.why_no_dev or "no dev data, or several processes",
        rows=rows,
    )
    return write_cards(folder, card, warn)
