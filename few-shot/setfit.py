"""Classify with a sentence encoder and a linear head: for few samples a label, and quick to train.

    python setfit.py --data_dir ./data --model_name_or_path ../data/offline_encoder \\
        --output_dir ./checkpoints_setfit --do_train --do_eval --do_predict --export_type paddle onnx

1. The encoder is tuned for --max_steps so that texts of one label come close together and others apart (the idea of
   SetFit, https://arxiv.org/abs/2209.11055, here with the loss of https://arxiv.org/abs/2004.11362). --max_steps 0
   leaves it as it is. The result lies between the first and the tuned weights (https://arxiv.org/abs/2109.01903).
2. The mean of a text's token states is its vector; linear discriminant analysis on the vectors of the training texts
   and of the label words (`label==word` in label.txt) gives the head; dev.txt, where there is one, its temperature.
3. Both become one graph, <output_dir>/export, like that of the other ways: Taskflow, predictor.py and deploy/ take it.
"""

import argparse
import sys
import types
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils import (  # noqa: E402
    EXPORT_TYPES,
    UsageError,
    evaluation_report,
    exit_on_usage_error,
    fit_temperature,
    prediction_lines,
    prepare_cpu,
    read_examples,
    read_label_words,
    read_texts,
    require_onnx,
    write_lines,
)

PREDICTION_FILE = "predictions.txt"


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("./data"), help="train.txt, dev.txt, label.txt, …; default: ./data")
    add("--model_name_or_path", default="ernie-3.0-base-zh", help="the encoder (default: %(default)s)")
    add("--output_dir", type=Path, default=Path("./checkpoints_setfit"), help="(default: %(default)s)")
    for name, what in (("train", "tune, fit the head, write the export"), ("eval", "accuracy on dev.txt"),
                       ("predict", f"test.txt or data.txt -> {PREDICTION_FILE}")):  # fmt: skip
        add(f"--do_{name}", action="store_true", help=what)
    add("--export_type", nargs="+", default=["paddle"], choices=EXPORT_TYPES, help="(default: paddle)")
    add("--max_steps", type=int, default=30, help="of contrastive tuning; 0: none (default: %(default)s)")
    add("--labels_per_batch", type=int, default=16, help="at most (default: %(default)s)")
    add("--samples_per_label", type=int, default=4, help="in a batch (default: %(default)s)")
    add("--learning_rate", type=float, default=1e-4, help="its highest value (default: %(default)s)")
    add("--temperature", type=float, default=0.1, help="of the contrastive loss (default: %(default)s)")
    add("--tuned_share", type=float, default=0.5, help="of what tuning changed in the weights (default: %(default)s)")
    add("--shrinkage", type=float, default=0.9, help="of the covariance, 0 to 1 (default: %(default)s)")
    add("--max_seq_length", type=int, default=128, help="tokens kept of a text (default: %(default)s)")
    add("--per_device_eval_batch_size", type=int, default=32, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: gpu)")
    add("--seed", type=int, default=42, help="of batches and dropout (default: %(default)s)")
    args = parser.parse_args(argv)
    least = {"max_steps": 0, "labels_per_batch": 2, "samples_per_label": 2, "max_seq_length": 3,
             "per_device_eval_batch_size": 1}  # fmt: skip
    for name, smallest in least.items():
        if getattr(args, name) < smallest:
            parser.error(f"--{name} {getattr(args, name)}: give {smallest} or more")
    for name in ("tuned_share", "shrinkage"):
        if not 0 <= getattr(args, name) <= 1:
            parser.error(f"--{name} {getattr(args, name)}: give a number from 0 to 1")
    for name in ("learning_rate", "temperature"):
        if not getattr(args, name) > 0:
            parser.error(f"--{name} {getattr(args, name)}: give a number above 0")
    if not (args.do_train or args.do_eval or args.do_predict):
        parser.error("nothing to do; give --do_train, --do_eval or --do_predict")
    return args


# ---------------------------------------------------------------------------------------------------------- training


def draw_batch(label_ids, labels_per_batch, samples_per_label, random):
    """Rows of a contrastive batch: some labels, some samples of each (all of them where there are fewer)."""
    chosen = random.permutation(np.unique(label_ids))[:labels_per_batch]
    rows = [random.permutation(np.flatnonzero(label_ids == label))[:samples_per_label] for label in chosen]
    return np.concatenate(rows)


def fit_head(vectors, label_ids, num_labels, shrinkage):
    """Linear discriminant analysis with a covariance that is drawn towards a multiple of the identity.

    Args:
        vectors (np.ndarray): float [samples, hidden].
        label_ids (np.ndarray): class ids [samples]; every class is there.
        num_labels (int): 2 or more.
        shrinkage (float): 0: the covariance as it is, 1: the identity's multiple alone.

    Returns:
        tuple[np.ndarray, np.ndarray]: weight [hidden, num_labels] and bias [num_labels]; the softmax of
            vectors @ weight + bias are the classes' probabilities.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    # Every class is as likely as any other: the numbers of samples are the annotator's choice.
    priors = np.full(num_labels, 1 / num_labels)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors).fit(vectors, label_ids)
    if num_labels > 2:
        return model.coef_.T, model.intercept_
    # Of two classes scikit-learn keeps the difference.
    zeros = np.zeros_like(model.coef_[0])
    return np.stack([zeros, model.coef_[0]], axis=1), np.array([0.0, model.intercept_[0]])


class Learner:
    """The encoder and what is learnt on it.

    Args:
        args: the flags.
        label_words (dict[str, str]): label to word, in class order.

    Raises:
        UsageError: no such model, or one without room for --max_seq_length tokens.
    """

    def __init__(self, args, label_words):
        import paddle
        from paddlenlp.transformers import AutoModel

        import trainer as lib

        self.args, self.paddle, self.lib, self.labels = args, paddle, lib, list(label_words)
        self.words = list(label_words.values())
        config, self.tokenizer = lib.load_config_and_tokenizer(args.model_name_or_path)
        positions = lib.max_positions(config)
        if positions and args.max_seq_length > positions:
            problem = f"{args.model_name_or_path} has positions for {positions}; use at most that"
            raise UsageError(f"--max_seq_length {args.max_seq_length}: {problem}")
        lib.set_seed(args.seed)
        encoder = lib.load_weights(AutoModel, args.model_name_or_path)
        self.model = sentence_classifier(encoder, self.tokenizer.pad_token_id, len(self.labels))
        self.encode = lib.make_encoder(self.tokenizer, args.max_seq_length, lib.uses_token_types(type(self.model)))

    def fit(self, texts, label_ids, dev=None):
        """Tune the encoder and set the head; label words are samples like others.

        Args:
            texts, label_ids: the training data.
            dev (tuple | None): texts and class ids; on them the probabilities are made as sure as they are right.
        """
        features = self.encode([*texts, *self.words])
        label_ids = np.concatenate([label_ids, np.arange(len(self.labels))])
        if self.args.max_steps:
            self._tune(features, label_ids)
        vectors = self.vectors(features)
        center = vectors.mean(axis=0)
        weight, bias = fit_head(vectors - center, label_ids, len(self.labels), self.args.shrinkage)
        if dev:
            temperature = fit_temperature((self.vectors(self.encode(dev[0])) - center) @ weight + bias, dev[1])
            weight, bias = weight / temperature, bias / temperature
        self.model.center.set_value(center)
        self.model.head.weight.set_value(weight.astype("float32"))
        self.model.head.bias.set_value(bias.astype("float32"))

    def _tune(self, features, label_ids):
        from paddlenlp.transformers import LinearDecayWithWarmup

        args, paddle, encoder = self.args, self.paddle, self.model.encoder
        random = np.random.RandomState(args.seed)
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        schedule = LinearDecayWithWarmup(args.learning_rate, args.max_steps, 0.1)
        decayed = {weight.name for name, weight in encoder.named_parameters()
                   if "bias" not in name and "norm" not in name}  # fmt: skip
        optimizer = paddle.optimizer.AdamW(
            schedule, parameters=encoder.parameters(), weight_decay=0.01,
            apply_decay_param_fun=lambda name: name in decayed, grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
        )  # fmt: skip
        encoder.train()
        with tqdm(total=args.max_steps, desc="tuning", unit="step") as bar:
            for _ in range(args.max_steps):
                rows = draw_batch(label_ids, args.labels_per_batch, args.samples_per_label, random)
                vectors = self.model.embed(**self._batch([features[row] for row in rows]))
                loss = contrastive_loss(vectors, paddle.to_tensor(label_ids[rows]), args.temperature)
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                schedule.step()
                bar.set_postfix(loss=f"{float(loss):.3f}")
                bar.update()
        if args.tuned_share < 1:
            for name, value in encoder.state_dict().items():
                if "float" in str(value.dtype):
                    value.set_value(before[name] + args.tuned_share * (value - before[name]))

    def vectors(self, features):
        """The texts' vectors, float32 [texts, hidden]."""
        self.model.eval()
        order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
        result, size = [None] * len(features), self.args.per_device_eval_batch_size
        with self.paddle.no_grad():
            for start in range(0, len(order), size):
                chosen = order[start : start + size]
                batch = self.model.embed(**self._batch([features[index] for index in chosen])).numpy()
                for index, vector in zip(chosen, batch):
                    result[index] = vector
        return np.stack(result)

    def _batch(self, features):
        batch = self.lib.pad_batch(features, features[0], self.tokenizer.pad_token_id)
        return {name: self.paddle.to_tensor(rows) for name, rows in batch.items()}

    def export(self, folder, dev):
        """Write the export folder; `dev` (texts, class ids) gives onnx_int8 its ranges."""
        from export import export_classifier

        dataset = self.lib.TextDataset(*dev, self.encode) if dev else None
        export_classifier(
            self.model, self.tokenizer, self.labels, self.args.max_seq_length, folder, types=self.args.export_type,
            dev=dataset, facts={"model_name_or_path": self.args.model_name_or_path},
        )  # fmt: skip


def sentence_classifier(encoder, pad_token_id, num_labels):
    """Token states of an encoder, their mean, a linear layer.

    Args:
        encoder (PretrainedModel): without a head.
        pad_token_id (int): its tokens have no part in the mean.
        num_labels (int): outputs of the layer.

    Returns:
        paddle.nn.Layer: forward(input_ids, token_type_ids), or forward(input_ids) for encoders such as ERNIE-M that
            take no token types, gives logits [batch, num_labels]; embed gives the mean [batch, hidden].
    """
    import paddle

    from trainer import uses_token_types

    class SentenceClassifier(paddle.nn.Layer):
        base_model = None  # for export.first_token_only: here all tokens are read

        def __init__(self):
            super().__init__()
            self.encoder, self.pad_token_id = encoder, pad_token_id
            self.head = paddle.nn.Linear(encoder.config.hidden_size, num_labels)
            # Vectors of one encoder are much alike, and their differences, which count, would be lost in rounding.
            self.register_buffer("center", paddle.zeros([encoder.config.hidden_size]))

        def embed(self, input_ids, **more):
            states = self.encoder(input_ids, **more)[0]
            mask = (input_ids != self.pad_token_id).astype(states.dtype).unsqueeze(-1)
            return (states * mask).sum(axis=1) / mask.sum(axis=1)

        def forward(self, input_ids, token_type_ids):
            return self.head(self.embed(input_ids, token_type_ids=token_type_ids) - self.center)

    class WithoutTokenTypes(SentenceClassifier):
        def forward(self, input_ids):
            return self.head(self.embed(input_ids) - self.center)

    return SentenceClassifier() if uses_token_types(type(encoder)) else WithoutTokenTypes()


def contrastive_loss(vectors, label_ids, temperature):
    """Supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362, eq. 2).

    Args:
        vectors (paddle.Tensor): float [batch, hidden].
        label_ids (paddle.Tensor): int [batch].
        temperature (float): the smaller, the more the nearest texts count.

    Returns:
        paddle.Tensor: the mean over the texts that have another one of their label; 0 where there is none.
    """
    import paddle

    unit = paddle.nn.functional.normalize(vectors, axis=-1)
    itself = paddle.eye(len(unit), dtype=unit.dtype)
    logits = paddle.matmul(unit, unit, transpose_y=True) / temperature - 1e9 * itself
    log_share = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
    same = (label_ids.unsqueeze(0) == label_ids.unsqueeze(1)).astype(unit.dtype) - itself
    number = same.sum(axis=1)
    each = -(log_share * same).sum(axis=1) / number.clip(min=1)
    return each.sum() / (number > 0).astype(unit.dtype).sum().clip(min=1)


# -------------------------------------------------------------------------------------------------------------- main


def train(args, label_words, train_data, dev):
    from train import set_device

    set_device(types.SimpleNamespace(device=args.device, fp16=False))
    learner = Learner(args, label_words)
    learner.fit(*train_data, dev)
    learner.export(args.output_dir / "export", dev)


def load_export(args):
    from predictor import Predictor, available_formats

    folder = args.output_dir / "export"
    format = "onnx" if "onnx" in available_formats(folder) else "paddle"
    return Predictor(folder, format, batch_size=args.per_device_eval_batch_size)


def report(split, predictor, texts, truth, path=None):
    """Print the report where there are labels; write `path`: text, label, prediction and score of every text."""
    with tqdm(total=len(texts), unit="text", desc=split) as bar:
        answers = []
        for start in range(0, len(texts), 1000):
            answers += predictor.classify(texts[start : start + 1000])
            bar.update(len(answers) - bar.n)
    if truth is not None:
        predicted = [predictor.labels.index(label) for label, _ in answers]
        print("\n".join(evaluation_report(split, predictor.labels, truth, predicted)))
    if path:
        rows = prediction_lines(texts, truth and [predictor.labels[index] for index in truth], answers)
        write_lines(path.parent, {path.name: rows}, "--output_dir")
        print(f"{len(texts)} predictions are in {path}")


def main(argv=None):
    args = parse_flags(argv)
    label_words = read_label_words(args.data_dir / "label.txt")
    labels, dev_path = list(label_words), args.data_dir / "dev.txt"
    train_data = read_examples(args.data_dir / "train.txt", labels) if args.do_train else None
    dev = read_examples(dev_path, labels) if args.do_eval or dev_path.is_file() else None
    if "onnx_int8" in args.export_type and args.do_train and not dev:
        raise UsageError(f"--export_type onnx_int8: needs {dev_path} for its ranges; add it")
    to_predict = read_texts(args.data_dir, labels) if args.do_predict else None
    if args.do_train:
        require_onnx(args.export_type)
    elif not (args.output_dir / "export").is_dir():
        raise UsageError(f"{args.output_dir / 'export'}: no such directory; train first, with --do_train")

    prepare_cpu()
    if args.do_train:
        train(args, label_words, train_data, dev)
    if args.do_eval or args.do_predict:
        predictor = load_export(args)
        if predictor.labels != labels:
            raise UsageError(f"{args.data_dir / 'label.txt'}: not the labels of {predictor.path}; train again")
        if args.do_eval:
            report("dev", predictor, *dev)
        if args.do_predict:
            report("test", predictor, *to_predict, args.output_dir / PREDICTION_FILE)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
