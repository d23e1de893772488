"""train.py's own flags: where the data is, and which model; nothing here needs paddle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from core.arguments import PRUNERS
from core.label_paths import SEPARATOR
from core.log import LEVELS
from core.long_text_flags import POOLINGS, TRAIN_WINDOWS, WAYS

DATA_DIR = "./data"
MAX_LENGTH = 128


@dataclass
class StoppingArguments:
    """When a training ends, and what it leaves behind; few-shot/train.py has them too."""

    early_stopping: bool = field(default=False, metadata={"help": "Stop when the metric no longer improves."})
    early_stopping_patience: int = field(
        default=4, metadata={"help": "Stop after this many evaluations without progress."}
    )
    keep_optimizer: bool = field(
        default=False,
        metadata={
            "help": "Keep the optimizer states, twice the model's size, in the checkpoints of a finished training."
        },
    )


@dataclass
class DataArguments(StoppingArguments):
    """Where the data is and how it becomes batches."""

    data_dir: str = field(default=DATA_DIR, metadata={"help": "Folder from which the paths below default."})
    train_path: str = field(default=f"{DATA_DIR}/train.txt", metadata={"help": "Training data: <text>, tab, <label>."})
    dev_path: str = field(default=f"{DATA_DIR}/dev.txt", metadata={"help": "Data to choose the best model by."})
    test_path: str = field(default=f"{DATA_DIR}/dev.txt", metadata={"help": "Data of --do_eval --debug True."})
    label_path: str = field(default=f"{DATA_DIR}/label.txt", metadata={"help": "One label a line, in class order."})
    bad_case_path: str = field(
        default=f"{DATA_DIR}/bad_case.txt", metadata={"help": "Where --debug True writes wrongly predicted samples."}
    )
    max_length: Optional[int] = field(
        default=None,
        metadata={
            "help": "Tokens kept of a text, [CLS] and [SEP] included; None means what the model was trained with, "
            f"and {MAX_LENGTH} for a training."
        },
    )
    long_text: Optional[str] = field(
        default=None,
        metadata={
            "help": f"What is read of texts of more than --max_length tokens, {', '.join(WAYS)}: the beginning, the "
            "beginning and the end, or all of it in windows of --max_length tokens. None means as the model was "
            "trained, and truncate for a new one."
        },
    )
    stride: Optional[int] = field(
        default=None,
        metadata={
            "help": "Tokens from the start of a window to that of the next; None means three quarters of a window."
        },
    )
    window_pooling: Optional[str] = field(
        default=None,
        metadata={
            "help": f"A text's logits are the {' or '.join(POOLINGS)} of its windows'; None means what is best on dev "
            "once the model is trained."
        },
    )
    train_windows: Optional[int] = field(
        default=None,
        metadata={
            "help": "Windows of a text in a step of training at most, drawn anew in each epoch by --seed; None means "
            f"{TRAIN_WINDOWS}. Evaluation and prediction read all of them."
        },
    )
    group_by_length: bool = field(
        default=True, metadata={"help": "Train on batches of texts of similar length: less padding, faster."}
    )
    debug: bool = field(
        default=False, metadata={"help": "With --do_eval: report every class and write the wrongly predicted samples."}
    )
    label_separator: Optional[str] = field(
        default=None,
        metadata={
            "help": "Between the parts of labels that are paths, such as illness##cold: the report of --debug True "
            f"tells of each level too, and the export keeps it. None means the model's own, which is {SEPARATOR} for "
            "a new one; a separator that is in no label means no levels."
        },
    )
    log_level: str = field(
        default="info", metadata={"help": f"{', '.join(LEVELS)}; debug shows all that the libraries say."}
    )

    def __post_init__(self):
        if self.data_dir != DATA_DIR:
            for name in ("train_path", "dev_path", "test_path", "label_path", "bad_case_path"):
                path = getattr(self, name)
                if path == type(self).__dataclass_fields__[name].default:
                    setattr(self, name, str(Path(self.data_dir) / Path(path).name))


@dataclass
class ModelArguments:
    """Which model to start from and where its export goes."""

    model_name_or_path: str = field(
        default="ernie-3.0-tiny-medium-v2-zh",
        metadata={
            "help": "A PaddleNLP model name, or a directory: a checkpoint, data/offline_encoder, a HuggingFace BERT."
        },
    )
    export_model_dir: Optional[str] = field(
        default=None, metadata={"help": "Folder for the static graph; None means <output_dir>/export."}
    )
    export_type: list[str] = field(
        default_factory=lambda: ["paddle"],
        metadata={
            "help": "Formats of an export or a pruned model, one or more of paddle, onnx, onnx_int8 (8-bit integers, "
            "calibrated on dev). The Paddle graph is always written."
        },
    )
    calibrate: bool = field(
        default=True,
        metadata={
            "help": "Fit a temperature on dev and put it into the exported graphs, so that whoever runs them gets "
            "calibrated probabilities; labels stay. Without dev data there is none."
        },
    )
    save_safetensors: bool = field(
        default=False,
        metadata={
            "help": "Write the checkpoint's weights as model.safetensors too, which others can load without running "
            "what a pickle brings along; with config.json and the tokenizer's files it is the whole model."
        },
    )
    pruner: str = field(
        default="builtin",
        metadata={
            "help": f"Who prunes, {' or '.join(PRUNERS)}: core/compress.py, or PaddleSlim as PaddleNLP documents it, "
            "which needs core/requirements-compress.txt."
        },
    )
    student: str = field(
        default="ngram",
        metadata={
            "help": "With --do_compress --strategy distill: ngram, n-grams of characters that learn the model's "
            "answers to train and to --unlabelled_path, and run without a neural network; or layers:<number>, so many "
            "of the model's own layers, which are trained like a model."
        },
    )
    made_texts: float = field(
        default=3.0,
        metadata={
            "help": "With --student ngram: so many texts are made from pieces of each text of train and "
            "--unlabelled_path, at most 50,000 in all, and the model answers them for the student; 0 for none."
        },
    )
    cascade_loss: float = field(
        default=0.2,
        metadata={
            "help": "Points of accuracy, of 100, that a student before the model may cost on dev; by it the threshold "
            "is chosen above which the student answers alone."
        },
    )
    do_parity: bool = field(
        default=False,
        metadata={
            "help": "Compare all formats of an export folder with the model itself on dev. The folder is "
            "--export_model_dir, <model_name_or_path>/export, or the model's own where it holds a static graph."
        },
    )
