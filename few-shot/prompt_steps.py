"""What train.py does with a prompted model once its flags are checked: a function for each step of a run."""

from pathlib import Path

import paddle
from paddlenlp.trainer.trainer_utils import set_seed
from paddlenlp.utils.log import logger
from scipy.special import softmax

from core.arguments import load_module
from core.batches import TextDataset
from core.checkpoints import read_run_file
from core.encoders import make_encoder
from core.label_paths import SEPARATOR_KEY, LabelPaths, level_metrics, stored_separator, with_levels
from core.model_card import data_sizes
from core.pipeline import confidence_facts
from core.same_answers import parity_table, verify_export
from core.trained_card import describe_trained
from core.trainer import ResumableEarlyStopping, compute_metrics
from core.vocabulary import UnknownWatch
from utils import UsageError, evaluation_report, prediction_lines, write_lines

few_shot = load_module("few_shot_utils", Path(__file__).with_name("utils.py"))


def prepare(run, trained, checkpoint):
    """Load the model, draw the prompt's weights and build the Trainer on the data.

    Args:
        run (train.Run): flags, data and template.
        trained (str | None): the folder of a trained model; None means a new one of --model_name_or_path.
        checkpoint (str | None): where its training will be continued from.

    Returns:
        FewShotTrainer: with train, eval and test data set.

    Raises:
        UsageError: see check_weights_fit, and load_pretrained and load_trained of utils.py.
    """
    args = run.args
    # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
    paddle.utils.unique_name.switch()
    set_seed(args.seed)  # before the prompt's weights are drawn
    check_weights_fit(checkpoint, run.fingerprint)
    args.resume_from_checkpoint = None  # the checkpoint is chosen; PromptTrainer would load it a second time
    settings = (run.template, run.data.label_words, args.max_seq_length)
    if trained:
        model, tokenizer = few_shot.load_trained(trained, *settings)
    else:
        model, tokenizer = few_shot.load_pretrained(run.model_flags.model_name_or_path, *settings)
    if run.data_flags.label_separator != stored_separator(model.plm.config.to_dict()):
        setattr(model.plm.config, SEPARATOR_KEY, run.data_flags.label_separator)
    return make_trainer(model, tokenizer, run)


def check_weights_fit(checkpoint, fingerprint):
    """Refuse a checkpoint that was asked for and whose prompt or labels have other weights: they would be skipped."""
    stored = read_run_file(checkpoint).get("fingerprint", {}) if checkpoint else fingerprint
    changed = [name for name in ("template", "label_words") if fingerprint and stored.get(name) != fingerprint[name]]
    if changed:
        raise UsageError(
            f"--resume_from_checkpoint {checkpoint}: trained with another {' and another '.join(changed)}, whose "
            "weights do not fit; give the same --prompt, --soft_encoder, --encoder_hidden_size and label.txt"
        )


def make_trainer(model, tokenizer, run):
    """Tokenise the data sets and build the Trainer with its callbacks."""
    args, data, flags = run.args, run.data, run.data_flags
    if args.freeze_plm:
        few_shot.freeze(model.plm)
    encode = few_shot.make_encoder(model.template)
    datasets = {
        split: TextDataset(examples[0], examples[1] or [], encode) if examples else None
        for split, examples in {"train": data.train, "dev": data.dev or data.export_dev, "test": data.test}.items()
    }
    if args.should_log:
        warn_of_unknown(tokenizer, run)
    trainer = few_shot.FewShotTrainer(
        model=model,
        args=args,
        criterion=paddle.nn.CrossEntropyLoss(),
        tokenizer=tokenizer,
        data_collator=few_shot.make_collator(tokenizer),
        train_dataset=datasets["train"],
        eval_dataset=datasets["dev"],
        compute_metrics=compute_metrics,
        callbacks=[ResumableEarlyStopping(flags.early_stopping_patience)] if flags.early_stopping else None,
        group_by_length=False,  # few texts: grouped, a batch would have the same ones in every epoch
        max_length=args.max_seq_length,
        fingerprint=run.fingerprint,
    )
    trainer.test_dataset = datasets["test"]
    trainer.data_sizes = data_sizes(data.labels, train=data.train, dev=data.dev)
    return trainer


def warn_of_unknown(tokenizer, run):
    """Say, once, that the vocabulary cannot read the texts; of them without the template, which has its own tokens."""
    data, folder = run.data, Path(run.data_flags.data_dir)
    encode = make_encoder(tokenizer, run.args.max_seq_length, token_types=False)
    name = run.trained or run.model_flags.model_name_or_path
    watch = UnknownWatch(tokenizer, encode, name, logger.warning)
    for what, examples in {"train.txt": data.train, "dev.txt": data.dev, "texts to predict": data.test}.items():
        if examples:
            watch.look(f"{folder}: {what}", examples[0])


def evaluate(trainer, labels, separator):
    """Log and save accuracy and macro averages on dev, of each level of the labels too, and log precision, recall and
    F1 of every class."""
    output = trainer.predict(trainer.eval_dataset, metric_key_prefix="eval")
    truth = [feature["labels"] for feature in trainer.eval_dataset.features]
    predicted = output.predictions.argmax(axis=1)
    levels = LabelPaths(labels, separator).scores(truth, predicted)
    for line in with_levels(evaluation_report("dev", labels, truth, predicted), "dev", levels):
        logger.info(line)
    trainer.log_metrics("eval", output.metrics)
    trainer.save_metrics("eval", {**output.metrics, **level_metrics("eval_", levels)})


def predict(trainer, data, file_name, separator):
    """Write label and score of every text of test.txt, else of data.txt; the report where test.txt has labels.

    Args:
        trainer (FewShotTrainer): with the test data set.
        data (train.Data): the same texts, and the labels.
        file_name (str): of the predictions in output_dir.
        separator (str): between the parts of labels.
    """
    texts, truth = data.test
    output = trainer.predict(trainer.test_dataset)
    if not trainer.is_world_process_zero():
        return
    probabilities = softmax(output.predictions.astype("float64"), axis=1)
    predicted = probabilities.argmax(axis=1)
    if truth is not None:
        levels = LabelPaths(data.labels, separator).scores(truth, predicted)
        for line in with_levels(evaluation_report("test", data.labels, truth, predicted), "test", levels):
            logger.info(line)
        trainer.save_metrics("test", {**output.metrics, **level_metrics("test_", levels)})
    answers = [(data.labels[class_id], scores[class_id]) for class_id, scores in zip(predicted, probabilities)]
    lines = prediction_lines(texts, truth and [data.labels[index] for index in truth], answers)
    path = Path(trainer.args.output_dir) / file_name
    write_lines(path.parent, {file_name: lines}, "--output_dir")
    logger.info(f"{len(texts)} predictions written to {path}")


def export(trainer, run):
    """Write <output_dir>/export, in the first process; where dev is at hand, compare its formats with the model."""
    export_type, folder = run.model_flags.export_type, Path(trainer.args.output_dir) / "export"
    dev, settings = trainer.eval_dataset, (run.template, trainer.max_length)
    compares = dev is not None
    expected = trainer.predict(dev).predictions if compares else None  # by all processes
    if not trainer.args.should_save:
        return
    facts = confidence_facts(trainer, run, expected)
    few_shot.export_prompt_model(trainer.model, trainer.tokenizer, *settings, folder, export_type, facts)
    logger.info(f"Exported model, tokenizer, template and labels to {folder}")
    rows = []
    if compares:
        formats = ["paddle", "onnx"] if export_type == "onnx" else ["paddle"]
        rows = verify_export(folder, dev, expected, few_shot.PromptPredictor, formats)
        for line in parity_table(rows):
            logger.info(line)
    model, arguments = Path(run.trained or run.args.output_dir), "PromptTuningArguments"
    describe_trained(folder, trainer, run, model, expected, rows, logger.warning, arguments)
