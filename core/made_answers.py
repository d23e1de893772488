"""A model's answers to texts that were made from others (core/made_texts.py): by its fastest export, and kept.

They are in the file that has its answers to the real texts, and grow there part by part, so that a killed run goes on
where it was.
"""

import contextlib
import functools
import time
import zipfile

import numpy as np
from paddlenlp.utils.log import logger

from core.batches import TextDataset
from core.checkpoints import EXPORT_FILE
from core.confidence import temperature_of
from core.encoders import make_encoder
from core.loading import uses_token_types
from core.predictor import Predictor, available_formats
from core.progress import progress_bar
from core.sub_runs import digest
from utils import read_json, staged_files

# Texts that are answered between two writes; those by which the time is told.
PART, SAMPLE = 2000, 64

# Exports that answer faster than the checkpoint does, the fastest first.
FAST_FORMATS = ("onnx_int8", "onnx")


def fast_answers(trainer, export):
    """What answers texts by the thousand: a quantised model's few other answers hardly change what a student learns.

    Args:
        trainer (ClassificationTrainer): with the trained model.
        export (Path | None): the export folder of that model.

    Returns:
        tuple[str, Callable]: its name, and what gives texts' logits, without a temperature, float32 [texts, classes].
    """
    formats = available_formats(export) if export else []
    format = next((name for name in FAST_FORMATS if name in formats), None)
    if format:
        predictor = Predictor(export, format)
        temperature = np.float32(temperature_of(read_json(export / EXPORT_FILE)))
        name = f"{format}, {predictor.path.stat().st_size:,} bytes"
        return name, lambda texts: predictor.logits(predictor.encode(texts)) * temperature

    return "the checkpoint", functools.partial(checkpoint_answers, trainer)


def checkpoint_answers(trainer, texts):
    """The logits that the trained model itself gives to texts: float32 [texts, classes]."""
    encode = make_encoder(trainer.tokenizer, trainer.max_length, uses_token_types(trainer.model), texts)
    return trainer.predict(TextDataset(texts, [0] * len(texts), encode)).predictions


def made_answers(path, texts, name, answer):
    """The logits of texts that were made, float32 [texts, classes]; what path has of them is not asked for again.

    Whole answers are taken whoever gave them; where a part is missing, all are by the same.

    Args:
        path (Path): core.distill.ANSWERS_FILE, which has the answers to the real texts of the same run.
        texts (list[str]): at least one.
        name (str): who answers.
        answer (Callable): from texts to logits.
    """
    with np.load(path) as stored:
        kept = {name: stored[name] for name in ("key", "texts", "dev")}
        key, rows = digest([str(kept["key"]), texts]), kept["texts"][:0]
        with contextlib.suppress(KeyError, ValueError, OSError, zipfile.BadZipFile):
            if str(stored["made_key"]) == key and (len(stored["made"]) == len(texts) or stored["made_by"] == name):
                rows = stored["made"]
    if len(rows) == len(texts):
        logger.info(f"{path} has the answers to {len(texts):,} made texts already")
        return rows
    done = f", {len(rows):,} of which it has answered already" if len(rows) else ""
    logger.info(
        f"The model ({name}) answers {len(texts):,} texts made from these{done}: about "
        f"{minutes(answer, texts, len(texts) - len(rows))}; --made_texts 0 does without"
    )
    with progress_bar(total=len(texts), initial=len(rows), desc="made texts", unit="text") as bar:
        for start in range(len(rows), len(texts), PART):
            some = answer(texts[start : start + PART])
            rows = np.concatenate([rows, some.astype(rows.dtype)])
            with staged_files(path.parent) as stage:
                np.savez(stage / path.name, **kept, made_key=key, made_by=name, made=rows)
            bar.update(len(some))
    return rows


def minutes(answer, texts, number):
    """How long so many texts take, as a few of them did: '3 minutes', or 'a minute'."""
    some = texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]
    answer(some[:8])  # the first call of a session makes ready
    start = time.perf_counter()
    answer(some)
    found = round((time.perf_counter() - start) / len(some) * number / 60)
    return f"{found:,} minutes" if found > 1 else "a minute"
