"""What train.py does with a model once its flags are checked: a function for each step of a run."""

import os
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.trainer.trainer_utils import set_seed
from paddlenlp.utils.log import logger
from scipy.special import softmax

from core.batches import TextDataset, make_collator
from core.calibration import calibration_line, export_facts, without_calibration
from core.checkpoints import (
    CARD_FILES,
    EXACT_FORMATS,
    EXPORT_FILE,
    is_finished,
    trained_max_length,
    trained_ngrams,
    weights_digest,
)
from core.encoders import make_encoder
from core.export import export_classifier
from core.label_paths import SEPARATOR_KEY, LabelPaths, level_metrics, separator_facts, stored_separator, with_levels
from core.loading import MODEL_FILE, check_length, load_config_and_tokenizer, load_model, uses_token_types
from core.long_text_flags import check_long_text, long_text_facts, train_windows
from core.long_texts import KEY as LONG_TEXT_KEY
from core.long_texts import LongText
from core.model_card import OF_COMPRESSION, data_sizes, is_unchanged, shown
from core.ngram_layer import add_tower, special_ids, tower_layer
from core.ngrams import TOWER_SHARE, Tower, without_special
from core.predictor import graph_name
from core.recipe_flags import changed, wants_ngrams
from core.recipes import Recipe
from core.safetensors_files import SAFETENSORS_FILE, write_safetensors
from core.same_answers import dynamic_logits, is_exact, parity_table, verify_export
from core.trained import load_trained
from core.trained_card import COMPRESSION_KEY, describe_trained
from core.trainer import ClassificationTrainer, ResumableEarlyStopping, choose_checkpoint, compute_metrics
from core.vocabulary import UnknownWatch
from core.windows import set_long_text
from utils import evaluation_report, prediction_lines, read_json, staged_files, write_lines


def find_start(args, fingerprint):
    """Where the training that is asked for stands.

    Args:
        args (TrainingArguments): the run's.
        fingerprint (dict): from run_fingerprint.

    Returns:
        tuple[bool, str | None]: whether output_dir holds its result already; else the checkpoint to continue from.

    Raises:
        UsageError: see choose_checkpoint.
    """
    if not args.do_train:
        return False, None
    if not is_finished(args, fingerprint):
        return False, choose_checkpoint(args, fingerprint)
    logger.info(
        f"{args.output_dir} already holds the result of this training; nothing is trained again. "
        "Add --overwrite_output_dir to start over."
    )
    return True, None


def prepare(run, name, trainer_class=ClassificationTrainer, trains=False):
    """Load a model and build the Trainer on the data.

    Args:
        run (train.Run): flags and data.
        name (str): directory or name of the model.
        trainer_class (type): ClassificationTrainer, or one that is made of it.
        trains (bool): whether a training follows, which fits n-gram features anew where they are wanted.

    Returns:
        ClassificationTrainer: with train, eval and test data set.

    Raises:
        UsageError: see load_config_and_tokenizer and load_model; a --max_length that the model has no positions for.
    """
    # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
    paddle.utils.unique_name.switch()
    set_seed(run.args.seed)  # before the head is drawn
    config, tokenizer = load_config_and_tokenizer(name)
    check_length("--max_length", run.max_length, config, name)
    load = load_model if run.args.do_train else load_trained
    model = load(name, config, run.data.labels, run.recipe_flags.pooling, tower=not trains)
    if run.data_flags.label_separator != stored_separator(model.config.to_dict()):
        setattr(model.config, SEPARATOR_KEY, run.data_flags.label_separator)
    facts = long_text_facts(run.data_flags, getattr(config, LONG_TEXT_KEY, None), run.max_length, trains)
    check_long_text(facts, run.max_length)
    set_long_text(model, facts)
    return make_trainer(model, tokenizer, run, trainer_class, trains)


def make_trainer(model, tokenizer, run, trainer_class=ClassificationTrainer, trains=False):
    """Tokenise the data sets and build the Trainer with its callbacks."""
    data, flags = run.data, run.data_flags
    texts = data.train or data.test or data.dev or data.export_dev or ([], [])
    long_text = LongText(getattr(model.config, LONG_TEXT_KEY, None), run.max_length)
    encode = make_encoder(tokenizer, run.max_length, uses_token_types(model), texts[0], long_text)
    datasets = {
        split: TextDataset(*examples, encode) if examples else None
        for split, examples in {"train": data.train, "dev": data.dev or data.export_dev, "test": data.test}.items()
    }
    if data.train:
        datasets["train"].limit_windows(train_windows(flags), run.args.seed)
        watch = UnknownWatch(tokenizer, encode, run.model_flags.model_name_or_path, logger.warning)
        watch.look(flags.train_path, texts[0], datasets["train"].features)
    tower_logits = None
    if trains and wants_ngrams(run.recipe_flags, trained_ngrams(run.model_flags.model_name_or_path)):
        left_out = fit_tower(model, tokenizer, datasets["train"].features, data, run.args.seed)
        tower_logits = left_out if trainer_class.learns_both_towers else np.zeros_like(left_out)
    trainer = trainer_class(
        model=model,
        args=run.args,
        criterion=paddle.nn.CrossEntropyLoss(),
        tokenizer=tokenizer,
        data_collator=make_collator(tokenizer),
        train_dataset=datasets["train"],
        eval_dataset=datasets["dev"],
        compute_metrics=compute_metrics,
        callbacks=[ResumableEarlyStopping(flags.early_stopping_patience)] if flags.early_stopping else None,
        group_by_length=flags.group_by_length,
        max_length=run.max_length,
        fingerprint=run.fingerprint,
        recipe=make_recipe(model, run),
        tower_logits=tower_logits,
        chooses_pooling=trains and long_text.has_windows and flags.window_pooling is None,
    )
    trainer.test_dataset, trainer.encode = datasets["test"], encode
    trainer.data_sizes = data_sizes(data.labels, train=data.train, dev=data.dev)
    return trainer


def fit_tower(model, tokenizer, features, data, seed):
    """Fit a logistic regression on the n-grams of the training texts, and add it to a classifier.

    Args:
        model (PretrainedModel): changed in place.
        tokenizer: its special tokens are left out.
        features (list[dict]): the tokenised training texts.
        data (train.Data): with their class ids.
        seed (int): of the parts that are left out in turn.

    Returns:
        np.ndarray: float32 [texts, classes], what it would add to a text's logits if it had not seen the text.
    """
    special = special_ids(tokenizer)
    tower = Tower(
        [without_special(feature["input_ids"], special) for feature in features],
        data.train[1],
        len(data.labels),
        seed,
    )
    add_tower(model, tower_layer(tower, model.config, tokenizer))
    logger.info(
        f"--ngram_features: a logistic regression on {len(tower.ngrams.keys)} n-grams (C {tower.strength:g}); without "
        f"the text itself, it gives {tower.accuracy:.2%} of the training texts their label"
    )
    return np.float32(TOWER_SHARE) * tower.left_out


def make_recipe(model, run):
    """What a training does beside plain cross entropy, or None: a model's pooling and n-grams are its own matter.

    Raises:
        UsageError: a flag would do nothing on this model.
    """
    if not run.args.do_train or not changed(run.recipe_flags).keys() - {"pooling", "ngram_features"}:
        return None
    recipe = Recipe(run.recipe_flags, run.data.train[1], len(run.data.labels))
    recipe.check(model)
    return recipe


def evaluate(trainer):
    """Log and save loss, accuracy and macro averages on dev; the metrics, with eval_ before their names."""
    metrics = trainer.evaluate()
    trainer.log_metrics("eval", metrics)
    trainer.save_metrics("eval", metrics)
    return metrics


def evaluate_in_detail(trainer, run):
    """Log precision, recall and F1 of every class, and write the wrongly predicted samples with their scores.

    Returns:
        dict: accuracy and macro averages, with test_ before their names.
    """
    output = trainer.predict(trainer.test_dataset)
    if not trainer.is_world_process_zero():
        return output.metrics
    (texts, truth), labels, flags = run.data.test, run.data.labels, run.data_flags
    probabilities = softmax(output.predictions, axis=1)
    predicted = probabilities.argmax(axis=1)
    split = "dev" if os.path.realpath(flags.test_path) == os.path.realpath(flags.dev_path) else "test"
    report = evaluation_report(split, labels, truth, predicted)
    levels = LabelPaths(labels, flags.label_separator).scores(truth, predicted)
    for line in with_levels(report, split, levels):
        logger.info(line)

    trainer.save_metrics("test", {**output.metrics, **level_metrics("test_", levels)})
    wrong = [row for row, (true_id, predicted_id) in enumerate(zip(truth, predicted)) if true_id != predicted_id]
    answers = [(labels[predicted[row]], probabilities[row, predicted[row]]) for row in wrong]
    bad_cases = prediction_lines([texts[row] for row in wrong], [labels[truth[row]] for row in wrong], answers)
    path = Path(flags.bad_case_path)
    write_lines(path.parent, {path.name: bad_cases}, "--bad_case_path")
    logger.info(f"{len(bad_cases) - 1} wrongly predicted samples written to {path}")
    return output.metrics


def model_dir(run):
    """The directory of the model that a run evaluates, exports or compresses, once it is trained."""
    return Path(run.args.output_dir if run.args.do_train else run.model_flags.model_name_or_path)


def save_safetensors(run):
    """Write model.safetensors beside a checkpoint's model_state.pdparams, with the same numbers.

    Raises:
        UsageError: the directory has no such file, or its weights are in this form already.
    """
    folder = model_dir(run)
    path = folder / SAFETENSORS_FILE
    state = paddle.load(str(folder / MODEL_FILE), return_numpy=True)
    state = {name: np.asarray(value) for name, value in state.items() if hasattr(value, "dtype")}
    facts = {"weights": weights_digest(folder)}
    if known := run.max_length if run.args.do_train else trained_max_length(folder):
        facts["max_length"] = str(known)
    with staged_files(folder) as stage:
        write_safetensors(stage / SAFETENSORS_FILE, state, facts)
    logger.info(f"The weights without pickle are in {path} ({path.stat().st_size / 1e6:.0f} MB)")


def export_facts_of(run):
    """What export.json says of the model itself: whose weights they are, and what stands between parts of labels."""
    levels = separator_facts(run.data.labels, run.data_flags.label_separator)
    return {"weights": weights_digest(model_dir(run)), **levels}


def export(trainer, run):
    """Write the export folder, in the first process; where dev is at hand, all answer it, to compare its formats."""
    args, labels, dev, types = run.args, run.data.labels, trainer.eval_dataset, run.model_flags.export_type
    folder = run.model_flags.export_model_dir or os.path.join(args.output_dir, "export")
    facts = export_facts_of(run)
    compares = dev is not None
    expected = dynamic_logits(trainer, trainer.model) if compares else None
    if not args.should_save:
        return
    facts.update(confidence_facts(trainer, run, expected))
    texts = (run.data.train or run.data.dev or run.data.export_dev or ([], []))[0]
    options = {"types": types, "dev": dev, "facts": facts, "texts": texts}
    export_classifier(trainer.model, trainer.tokenizer, labels, trainer.max_length, folder, **options)
    logger.info(f"Exported model, tokenizer and labels to {folder}")
    rows = compare_formats(trainer, folder, expected) if compares else []
    describe_export(trainer, run, folder, expected, rows)


def describe_export(trainer, run, folder, logits, rows):
    """Write the model card of a finished export (core/model_card.py).

    Args:
        trainer (ClassificationTrainer): with dev, where there is one.
        run (train.Run): flags and data.
        folder: the export folder.
        logits (np.ndarray | None): of the model that was exported, on dev.
        rows (list[dict]): of verify_export.
    """
    compression = []
    if run.args.do_compress and Path(folder).resolve() != Path(run.args.output_dir, "export").resolve():
        values = vars(run.args)
        names = OF_COMPRESSION if "dynabert" in run.args.strategy else ["strategy"]
        compression = [(name, shown(values[name])) for name in names if values.get(name) is not None]
    describe_trained(folder, trainer, run, model_dir(run), logits, rows, logger.warning, compression=compression)


def refresh_card(trainer, run, folder, logits, rows):
    """Write the model card of an export anew once its formats were compared; arguments as of describe_export.

    An export without a card of ours stays without; one of other weights keeps what is known of these.
    """
    if not any(is_unchanged(Path(folder) / name) for name in CARD_FILES):
        return
    content = read_json(Path(folder) / EXPORT_FILE)
    flags = [tuple(flag) for flag in content.get(COMPRESSION_KEY, [])]
    is_of_this = content.get("weights") == weights_digest(model_dir(run)) and ("width_mult" not in content or flags)
    if not is_of_this:
        logger.info(f"{folder}: its model card stays, since it is the export of other weights than {model_dir(run)}")
        return
    describe_trained(folder, trainer, run, model_dir(run), logits, rows, logger.warning, compression=flags)


def confidence_facts(trainer, run, logits):
    """What export.json says of an export's probabilities (core/calibration.py); logged in a line.

    Args:
        trainer (ClassificationTrainer): with dev, where there is one.
        run (train.Run): flags and data.
        logits (np.ndarray | None): of the model that is exported, on dev; None where there are none.
    """
    if logits is None:
        facts = without_calibration(run.data.why_no_dev or "--calibrate False")
    else:
        truth = [feature["labels"] for feature in trainer.eval_dataset.features]
        paths = LabelPaths(run.data.labels, run.data_flags.label_separator)
        facts = export_facts(logits, truth, paths, run.args.seed, run.model_flags.calibrate)
    logger.info(calibration_line(facts))
    return facts


def check_parity(trainer, run):
    """Compare the formats of an export folder that is there already, and renew its model card.

    Returns:
        bool: whether the formats in float32 give the same labels, and logits within 1e-4.
    """
    flags = run.model_flags
    model = model_dir(run)
    folder = flags.export_model_dir or (model if any(model.glob("*.pdmodel")) else model / "export")
    graph_name(folder)  # refuse a folder without a graph before a long evaluation
    expected = dynamic_logits(trainer, trainer.model)
    rows = compare_formats(trainer, folder, expected)
    refresh_card(trainer, run, folder, expected, rows)
    return all(is_exact(row) for row in rows if row["format"] in EXACT_FORMATS)


def compare_formats(trainer, folder, expected):
    """Log how far each format of an export folder is from the model in dygraph, on dev; verify_export's rows.

    Args:
        trainer (ClassificationTrainer): with the model and dev.
        folder: the export folder.
        expected (np.ndarray): the model's logits on dev.
    """
    rows = verify_export(folder, trainer.eval_dataset, expected)
    logger.info(f"{folder}, {len(trainer.eval_dataset)} samples of dev:")
    for line in parity_table(rows):
        logger.info(line)
    return rows
