"""A small student of a trained classifier: train.py --do_compress --strategy distill.

--student ngram learns the model's probabilities of train's texts, of texts without labels and of texts that are made
from both (core/made_texts.py), by hashed n-grams of characters (core/ngram_learner.py); --student layers:4 is four of
the model's layers (core/layer_student.py). It is written to <output_dir>/distill_ngram or distill_layers_4, and into
the model's own export beside it as student/, where core/students.py lets it answer first, or together with the model.
"""

import contextlib
import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
from paddlenlp.utils.log import logger
from scipy.special import softmax

from core.checkpoints import CARD_FILES, EXACT_FORMATS, EXPORT_FILE, NGRAM, PARITY_FILE, STAGED_MODELS
from core.confidence import temperature_of
from core.distill_flags import student_folder, student_layers
from core.export import PARITY_TEXTS, file_sizes, graph_bytes, versions
from core.label_paths import LabelPaths
from core.layer_student import distill_layers
from core.made_answers import checkpoint_answers, fast_answers, made_answers
from core.made_texts import made_number, make_texts
from core.ngram_learner import learn
from core.ngram_student import STUDENT_FILE, NgramStudent, read_characters, unread
from core.pipeline import model_dir
from core.predictor import Predictor, available_formats
from core.same_answers import dynamic_logits
from core.stage_choice import blend_facts, cascade_facts
from core.student_card import carry_cards, describe_student, ngram_rows
from core.students import STAGES_FILE, STUDENT_FOLDER, model_key, student_key
from core.sub_runs import digest
from utils import format_table, read_json, replaced_folder, staged_files, write_json

# So many of dev's texts may have fewer known n-grams than a text that the student answers.
RARE = 0.005

# In output_dir: the model's logits of the texts that a student learns from.
ANSWERS_FILE = "distill_answers.npz"


def distill(trainer, run, facts, know):
    """Make the student that --student asks for, and choose with it what cascade and blend need.

    Args:
        trainer (ClassificationTrainer): with the trained model and dev.
        run (train.Run): flags and data, texts without labels among them.
        facts (dict): for export.json, such as whose weights were distilled.
        know (Callable): from a model's logits on dev to what export.json says of its probabilities.
    """
    truth = np.array(run.data.dev[1])
    if student_layers(run.model_flags.student):
        teacher = trainer.predict(trainer.eval_dataset).predictions
        folder, formats, student, known = distill_layers(trainer, run, facts, know)
        own = {"teacher": teacher, "student": student}
        rows = [
            row_of(f"student, {row['format']}", folder / row["file"], row["accuracy"])
            for row in formats
            if row["format"] != "dynamic"
        ]
        student_format = next(name for name in ("onnx_int8", "onnx", "paddle") if name in available_formats(folder))
        if student_format not in EXACT_FORMATS:
            student = Predictor(folder, student_format).logits(trainer.eval_dataset.features) * temperature_of(known)
    else:
        folder, teacher, student, known = distill_ngrams(trainer, run, facts, know)
        own = {"teacher": teacher, "student": student}
        formats = ngram_rows(folder, run.data.dev[0], truth, student)
        rows, student_format = [row_of(NGRAM, folder / STUDENT_FILE, accuracy(student, truth))], NGRAM
    rows.insert(0, row_of("model", None, accuracy(teacher, truth)))
    results = {"teacher_accuracy": accuracy(teacher, truth), f"{folder.name}_accuracy": accuracy(student, truth)}
    export, found = own_export(run, facts["weights"]), {"formats": {}}
    if export is None:
        where = run.model_flags.export_model_dir or os.path.join(run.args.output_dir, "export")
        logger.info(
            f"{where} is no export of this model, so there is no cascade: export it (--do_export), then distil again"
        )
    else:
        found = choose_stages(export, trainer, run, teacher, student, known, student_format)
    describe_student(folder, run, model_dir(run), own, formats, found, logger.warning)
    if export is not None:
        put_beside(folder, export, found)
    logger.info(f"On {len(truth):,} samples of dev:")
    for line in [*format_table(rows + stage_rows(found)), *offers(export, found)]:
        logger.info(line)
    trainer.save_metrics("compress", results)


def distill_ngrams(trainer, run, facts, know):
    """The student of n-grams.

    Returns:
        tuple[Path, np.ndarray, np.ndarray, dict]: its folder, the model's logits and its own on dev, none divided by
        a temperature, and what its export.json says of its probabilities.
    """
    texts = list(dict.fromkeys([*run.data.train[0], *run.unlabelled.texts]))
    told = f", {len(run.unlabelled.texts):,} of {run.unlabelled.path} among them" if run.unlabelled.texts else ""
    logger.info(f"The model answers {len(texts):,} texts{told}, and dev")
    teacher = teacher_answers(trainer, run, texts, facts["weights"])
    number, held_out = made_number(len(texts), run.model_flags.made_texts), run.data.dev[0]
    made, logits = make_texts(texts, number, run.max_length, run.args.seed, held_out), teacher["texts"]
    if made:
        path, export = Path(run.args.output_dir) / ANSWERS_FILE, own_export(run, facts["weights"])
        logits = np.concatenate([logits, made_answers(path, made, *fast_answers(trainer, export))])
    new = len(run.unlabelled.texts)
    probabilities = softmax(logits.astype("float64"), axis=1)
    student, learnt = learn([*texts, *made], probabilities, run.max_length, run.args.seed, new, len(made))
    dev = student.logits(read_characters(run.data.dev[0], run.max_length))
    known, folder = know(dev), student_folder(run.args.output_dir, NGRAM)
    learnt = {**learnt, "unlabelled": len(run.unlabelled.texts)}
    size = {"max_length": run.max_length, "num_labels": len(run.data.labels)}
    content = {"kind": NGRAM, **size, **facts, "learnt": learnt, **known}
    write_ngram(folder, student, run.data.labels, content, dev, np.array(run.data.dev[1]))
    return folder, teacher["dev"], dev, known


def teacher_answers(trainer, run, texts, weights):
    """The model's logits of texts and of dev; kept in output_dir, so that another run need not wait for them.

    Args:
        trainer (ClassificationTrainer): with the trained model and dev.
        run (train.Run): flags and data.
        texts (list[str]): any.
        weights (str | None): digest of the model's.

    Returns:
        dict[str, np.ndarray]: texts and dev, float32 [samples, classes] each.
    """
    folder = Path(run.args.output_dir)
    path, key = folder / ANSWERS_FILE, digest([weights, run.data.dev, texts, run.max_length])
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as stored:
        if weights and str(stored["key"]) == key:
            logger.info(f"{path} has them already")
            return {name: stored[name] for name in ("texts", "dev")}
    found = {"texts": checkpoint_answers(trainer, texts), "dev": dynamic_logits(trainer, trainer.model)}
    with staged_files(folder) as stage:
        np.savez(stage / ANSWERS_FILE, key=key, **found)
    return found


def accuracy(logits, truth):
    return float((logits.argmax(axis=1) == truth).mean())


def write_ngram(folder, student, labels, content, logits, truth):
    """Write the student's export folder; one that is there is replaced.

    Args:
        folder (Path): see student_folder.
        student (NgramStudent): its logits not yet divided by the temperature; they are in what is written.
        labels (list[str]): in class order.
        content (dict): for export.json.
        logits (np.ndarray): on dev, without the temperature.
        truth (np.ndarray): of dev.
    """
    temperature = np.float32(temperature_of(content))
    student.table[:, :-1] /= temperature
    student.bias = student.bias / temperature
    with replaced_folder(folder, is_student) as stage:
        student.save(stage)
        write_json(stage / "id2label.json", {str(i): label for i, label in enumerate(labels)}, ascii_only=True)
        probabilities = softmax(
            student.logits(read_characters(PARITY_TEXTS, content["max_length"])).astype("float64"), axis=1
        )
        rounded = [[float(f"{value:.8g}") for value in row] for row in probabilities]
        write_json(stage / PARITY_FILE, {"texts": PARITY_TEXTS, "labels": labels, "probabilities": rounded}, True)
        metrics = {"samples": len(truth), "dev": [{"format": "ngram", "accuracy": accuracy(logits, truth)}]}
        whole = {**content, "versions": versions(), "files": file_sizes(stage), "metrics": metrics}
        write_json(stage / EXPORT_FILE, whole, ascii_only=True)
        carry_cards(folder, stage)


def is_student(folder):
    """Whether a folder was made here."""
    return read_json(Path(folder) / EXPORT_FILE).get("kind") in ("ngram", "layers")


# ------------------------------------------------------------------------------------------------ beside the model


def own_export(run, weights):
    """The export folder of the run's model, or None: Path."""
    folder = Path(run.model_flags.export_model_dir or os.path.join(run.args.output_dir, "export"))
    is_own = weights is not None and read_json(folder / EXPORT_FILE).get("weights") == weights
    return folder if is_own else None


def choose_stages(export, trainer, run, model, student, known, student_format):
    """What cascade and blend need, for each format of the model.

    Args:
        export (Path): the model's export folder.
        trainer (ClassificationTrainer): with dev.
        run (train.Run): flags and data.
        model, student (np.ndarray): logits on dev, neither divided by a temperature.
        known (dict): what the student's export.json says of its probabilities.
        student_format (str): that the student is run in.

    Returns:
        dict: for STAGES_FILE.
    """
    content, truth, seed = read_json(export / EXPORT_FILE), np.array(run.data.dev[1]), run.args.seed
    temperature, own = temperature_of(content), temperature_of(known)
    paths, found = LabelPaths(run.data.labels, run.data_flags.label_separator), {}
    is_unread, told = unread_of_dev(run) if student_format == NGRAM else (None, {})
    for format in available_formats(export):
        if format not in STAGED_MODELS:
            continue
        predictor = Predictor(export, format)
        logits = model
        if format not in EXACT_FORMATS:
            logits = predictor.logits(trainer.eval_dataset.features) * np.float32(temperature)
        is_calibrated = own != 1.0, temperature != 1.0
        loss = run.model_flags.cascade_loss
        found[format] = {
            "model": model_key(content, predictor.path.name),
            "cascade": cascade_facts(student, logits, truth, paths, loss, seed, is_calibrated, is_unread),
            "blend": blend_facts(student / own, logits / temperature, truth, paths, seed),
        }
        for facts in (found[format]["cascade"], found[format]["blend"]):
            facts["student_format"] = student_format
        found[format]["cascade"].update(told)
    return {"cascade_loss": run.model_flags.cascade_loss, "seed": seed, "formats": found}


def unread_of_dev(run):
    """Which texts of dev the student of n-grams leaves to the model whatever it thinks of them, and by which limit.

    Returns:
        tuple[np.ndarray, dict]: bool [samples]; least_known, the part of its n-grams that of 1 - RARE of dev's texts
        is known, at least.
    """
    student = NgramStudent.read(student_folder(run.args.output_dir, NGRAM))
    characters = read_characters(run.data.dev[0], run.max_length)
    known = student.known(characters)
    least = math.floor(1e4 * np.quantile(known, RARE)) / 1e4
    return unread(characters, known, run.max_length, least), {"least_known": least}


def put_beside(folder, export, stages):
    """Copy a student's export folder into that of its model, with what was chosen for both.

    Model cards go along; one that was changed in the model's folder stays as it is there.

    Raises:
        UsageError: another folder of that name is there.
    """
    with replaced_folder(export / STUDENT_FOLDER, is_student, "--export_model_dir") as stage:
        names = (*read_json(folder / EXPORT_FILE)["files"], EXPORT_FILE, *CARD_FILES)
        for name in dict.fromkeys(name for name in names if name not in CARD_FILES or os.path.lexists(folder / name)):
            shutil.copy2(folder / name, stage / name, follow_symlinks=False)
        if kept := carry_cards(export / STUDENT_FOLDER, stage):
            logger.warning(
                f"{export / STUDENT_FOLDER}: {' and '.join(kept)} kept, being changed or no model card of ours"
            )
        stages = {"student": student_key(folder), **stages}
        (stage / STAGES_FILE).write_text(json.dumps(stages, indent=2) + "\n", encoding="utf-8")


def row_of(name, path, right):
    """A row of the table; right: the share of dev."""
    size = "-" if path is None else f"{graph_bytes(path) / 1e6:.1f}"
    return {"format": name, "MB": size, "dev accuracy": f"{right:.2%}", "the student answers": "-"}


def stage_rows(stages):
    """Rows of the table: cascade and blend, out of fold."""
    rows = []
    for format, found in stages["formats"].items():
        for kind in ("cascade", "blend"):
            if "accuracy" in found[kind]:
                share = f"{found[kind]['share']:.1%}" if "share" in found[kind] else "-"
                row = {"format": f"{kind}:{format}", "MB": "-", "dev accuracy": f"{found[kind]['accuracy']:.2%}"}
                rows.append({**row, "the student answers": share})
    return rows


def offers(export, stages):
    """What can be done with the student, in lines."""
    lines = []
    for format, found in stages["formats"].items():
        cascade, blend = found["cascade"], found["blend"]
        if "why" in cascade:
            lines.append(f"{format}: no cascade: {cascade['why']}")
        else:
            lines.append(
                f'Predictor("{export}", format="cascade:{format}"): {cascade["share"]:.1%} of dev are answered by the '
                f"student, {cascade['lost']:.2f} points (± {cascade['lost_error']:.2f}) less accurate, out of fold"
            )
        if "why" in blend:
            lines.append(f"{format}: no blend: {blend['why']}")
        else:
            lines.append(
                f'Predictor("{export}", format="blend:{format}") is more accurate than the model alone: out of fold '
                f"{blend['accuracy']:.2%} against {blend['model_accuracy']:.2%} (p = {blend['chance']:.2g})"
            )
    return lines
