"""What setfit.py needs paddle for: the sentence classifier, its contrastive tuning, and the fit of its head."""

from pathlib import Path

import numpy as np
import paddle
from paddlenlp.trainer.trainer_utils import set_seed
from paddlenlp.transformers import AutoModel
from paddlenlp.utils.log import logger

from core import linear_heads as heads
from core import ngram_layer
from core.batches import TextDataset
from core.calibration import MIN_SAMPLES, calibration_line, export_facts, without_calibration
from core.checkpoints import EXPORT_FILE, MODEL_WEIGHTS, weights_digest
from core.encoders import make_encoder, pad_batch, run_sorted
from core.export import export_classifier
from core.label_paths import SEPARATOR, LabelPaths, separator_facts
from core.loading import check_length, load_config_and_tokenizer, load_weights, uses_token_types
from core.model_card import Card, base_model, data_sizes, dev_scores, told_flags, write_cards
from core.pooling import PooledEncoder
from core.progress import progress_bar
from core.quick_training import adamw
from core.same_answers import parity_table, verify_export
from core.vocabulary import UnknownWatch
from utils import read_json

# ----------------------------------------------------------------------------------------------------------- the model


class SentenceClassifier(PooledEncoder):
    """The mean of an encoder's token states, a linear layer, and the n-grams' part where there is one.

    Args:
        encoder (PretrainedModel): without a head.
        pad_token_id (int): its tokens have no part in the mean.
        num_labels (int): outputs of the layer.
    """

    def __init__(self, encoder, pad_token_id, num_labels):
        super().__init__(encoder, pad_token_id)
        self.head = paddle.nn.Linear(encoder.config.hidden_size, num_labels)
        # Vectors of one encoder are much alike, and their differences, which count, would be lost in rounding.
        self.register_buffer("center", paddle.zeros([encoder.config.hidden_size]))
        self.ngrams = None

    def forward(self, input_ids, token_type_ids=None):
        """Logits [batch, num_labels] from int64 [batch, tokens]."""
        logits = self.head(self.pooled(input_ids, token_type_ids) - self.center)
        return logits if self.ngrams is None else logits + self.ngrams(input_ids)


class NgramLayer(ngram_layer.NgramLayer):
    """The n-grams' part of the logits, [batch, classes], for input_ids [batch, tokens].

    Args:
        ngrams (heads.Ngrams): as fitted.
        head (np.ndarray): [dimensions, classes].
        vocab_size (int): ids are below it.
        pad_token_id (int): no part of an n-gram.
    """

    def __init__(self, ngrams, head, vocab_size, pad_token_id):
        super().__init__(ngrams.keys, ngrams.table(head), vocab_size, [pad_token_id], by_place=True)


# ------------------------------------------------------------------------------------------------- contrastive tuning


def draw_batch(label_ids, labels_per_batch, samples_per_label, random):
    """Rows of a contrastive batch: some labels, some samples of each (all of them where there are fewer)."""
    chosen = random.permutation(np.unique(label_ids))[:labels_per_batch]
    rows = [random.permutation(np.flatnonzero(label_ids == label))[:samples_per_label] for label in chosen]
    return np.concatenate(rows)


def contrastive_loss(vectors, label_ids, temperature):
    """Supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362, eq. 2).

    Args:
        vectors (paddle.Tensor): float [batch, hidden].
        label_ids (paddle.Tensor): int [batch].
        temperature (float): the smaller, the more the nearest texts count.

    Returns:
        paddle.Tensor: the mean over the texts that have another one of their label; 0 where there is none.
    """
    unit = paddle.nn.functional.normalize(vectors, axis=-1)
    itself = paddle.eye(len(unit), dtype=unit.dtype)
    logits = paddle.matmul(unit, unit, transpose_y=True) / temperature - 1e9 * itself
    log_share = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
    same = (label_ids.unsqueeze(0) == label_ids.unsqueeze(1)).astype(unit.dtype) - itself
    number = same.sum(axis=1)
    each = -(log_share * same).sum(axis=1) / number.clip(min=1)
    return each.sum() / (number > 0).astype(unit.dtype).sum().clip(min=1)


# ------------------------------------------------------------------------------------------------------------ learning


class Learner:
    """The encoder and what is learnt on it.

    Args:
        flags (argparse.Namespace): setfit.py's.
        label_words (dict[str, str]): label to word, in class order.

    Attributes:
        watch (UnknownWatch): of the texts that it learns from.

    Raises:
        UsageError: no such model, or one without room for --max_seq_length tokens.
    """

    def __init__(self, flags, label_words):
        self.flags, self.labels, self.words = flags, list(label_words), list(label_words.values())
        config, self.tokenizer = load_config_and_tokenizer(flags.model_name_or_path)
        check_length("--max_seq_length", flags.max_seq_length, config, flags.model_name_or_path)
        set_seed(flags.seed)
        encoder = load_weights(AutoModel, flags.model_name_or_path)
        self.model = SentenceClassifier(encoder, self.tokenizer.pad_token_id, len(self.labels))
        self.encode = make_encoder(self.tokenizer, flags.max_seq_length, uses_token_types(self.model))
        self.watch = UnknownWatch(self.tokenizer, self.encode, flags.model_name_or_path, logger.warning)
        self.sizes, self.out_of_fold = {}, None

    def fit(self, texts, label_ids, dev=None, unlabelled=()):
        """Tune the encoder and set the head; label words are samples like others.

        Args:
            texts, label_ids: the training data; none, and the head comes from the label words and `unlabelled`.
            dev (tuple | None): texts and class ids; on them the probabilities are made as sure as they are right.
                Without them the training texts have to do, each with a head that has not seen it, and without these
                the fit itself; `calibration` says which.
            unlabelled (list[str]): texts of data.txt.
        """
        flags = self.flags
        self.sizes = data_sizes(self.labels, train=(texts, label_ids) if len(texts) else None, dev=dev)
        features = self.encode([*texts, *self.words])
        self.watch.look("the training texts and label words", [*texts, *self.words], features)
        label_ids = np.concatenate([label_ids, np.arange(len(self.labels))]).astype(int)
        unlabelled_texts = unlabelled if flags.unlabelled_weight else []
        unlabelled = self.encode(unlabelled_texts)
        self.watch.look("data.txt", unlabelled_texts, unlabelled)
        if flags.max_steps and len(texts):
            self._tune(features, label_ids)
        center = self.vectors(features).mean(axis=0)

        def centered(some):
            return self.vectors(some) - center

        count = 0 if dev else len(texts)  # of texts that are left out in turn
        if len(texts):
            views = [self._fit_view(centered, features, label_ids, unlabelled, count)]
        else:
            vectors = centered(features), centered(unlabelled)
            views = [(centered, *heads.fit_head_from_words(*vectors), None)]
        if flags.ngram_weight != 0 and len(texts):
            ngrams = heads.Ngrams([feature["input_ids"] for feature in [*features, *unlabelled]], flags.seed)

            def counted(some):
                return ngrams.vectors([feature["input_ids"] for feature in some])

            views.append(self._fit_view(counted, features, label_ids, unlabelled, count))
        weights = [1, 0.5 if flags.ngram_weight is None else flags.ngram_weight][: len(views)]
        if dev:
            dev_features = self.encode(dev[0])
            logits = [embed(dev_features) @ head + bias for embed, head, bias, _ in views]
            share = flags.ngram_weight if len(views) > 1 else None
            weights = heads.fit_weights(logits, dev[1], share)
            self.calibration = {"on": "dev.txt", "texts": len(dev[1])}
            if len(dev[1]) >= MIN_SAMPLES:
                self.out_of_fold = heads.out_of_fold(logits, dev[1], share, flags.seed)
        elif len(texts):
            left_out = sum(weight * logits for weight, (*_, logits) in zip(weights, views))
            accuracy = float((left_out.argmax(axis=1) == label_ids[:count]).mean())
            factor = heads.temper(left_out, accuracy)
            weights = [factor * weight for weight in weights]
            self.calibration = {"on": "train.txt", "texts": count, "left_out_accuracy": round(accuracy, 4)}
        else:
            factor, expected = heads.temper_without_labels(*vectors, *views[0][1:3], flags.seed)
            weights = [factor]
            self.calibration = {"on": None, "expected_accuracy": round(expected, 4)}
        weighted = [(weight * head, weight * bias) for weight, (_, head, bias, _) in zip(weights, views)]
        self.model.center.set_value(center)
        self.model.head.weight.set_value(weighted[0][0].astype("float32"))
        self.model.head.bias.set_value(sum(bias for _, bias in weighted).astype("float32"))
        if len(views) > 1:
            vocab_size = self.model.encoder.config.vocab_size
            self.model.ngrams = NgramLayer(ngrams, weighted[1][0], vocab_size, self.tokenizer.pad_token_id)

    def _fit_view(self, embed, features, label_ids, unlabelled, count):
        """Fit a head on one view of the texts; `embed` makes its vectors from tokenised texts.

        Returns:
            tuple: `embed`, weight, bias; logits of the first `count` texts from heads without them, or None.
        """
        vectors, settings = embed(features), (len(self.labels), self.flags.shrinkage)
        others = embed(unlabelled) if unlabelled else None

        def fit(vectors, label_ids):
            if others is None:
                return heads.fit_head(vectors, label_ids, *settings)
            return heads.fit_head_with_unlabelled(vectors, label_ids, others, *settings, self.flags.unlabelled_weight)

        left_out = heads.left_out_logits(fit, vectors, label_ids, count, self.flags.seed) if count else None
        return embed, *fit(vectors, label_ids), left_out

    def _tune(self, features, label_ids):
        """Bring texts of one label together, then go back some of the way to the first weights."""
        flags, encoder = self.flags, self.model.encoder
        random = np.random.RandomState(flags.seed)
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        optimizer, schedule = adamw(encoder.parameters(), flags.learning_rate, flags.max_steps, warmup_share=0.1)
        encoder.train()
        with progress_bar(total=flags.max_steps, desc="tuning", unit="step") as bar:
            for _ in range(flags.max_steps):
                rows = draw_batch(label_ids, flags.labels_per_batch, flags.samples_per_label, random)
                vectors = self.model.pooled(**self._batch([features[row] for row in rows]))
                loss = contrastive_loss(vectors, paddle.to_tensor(label_ids[rows]), flags.temperature)
                loss.backward()
                optimizer.step()
                optimizer.clear_grad()
                schedule.step()
                bar.set_postfix(loss=f"{float(loss):.3f}")
                bar.update()
        if flags.tuned_share < 1:
            for name, value in encoder.state_dict().items():
                if "float" in str(value.dtype):
                    value.set_value(before[name] + flags.tuned_share * (value - before[name]))

    def vectors(self, features):
        """The texts' vectors, float32 [texts, hidden]."""

        def run(some):
            return self.model.pooled(**self._batch(some)).numpy()

        self.model.eval()
        with paddle.no_grad():
            return run_sorted(features, self.flags.per_device_eval_batch_size, run, progress="vectors")

    def _batch(self, features):
        batch = pad_batch(features, features[0], self.tokenizer.pad_token_id)
        return {name: paddle.to_tensor(rows) for name, rows in batch.items()}

    def export(self, folder, dev):
        """Write the export folder with its model card; compare its formats where there is dev.

        Args:
            folder (Path): where to.
            dev (tuple | None): texts and class ids; they give onnx_int8 its ranges, and the export its temperature and
                what can be promised of it (core/calibration.py).
        """
        flags = self.flags
        facts = {"model_name_or_path": flags.model_name_or_path, **self.confidence_facts(dev)}
        facts.update(separator_facts(self.labels, flags.label_separator or SEPARATOR))
        options = {"types": flags.export_type, "facts": facts}
        options["dev"] = dataset = TextDataset(*dev, self.encode) if dev else None
        export_classifier(self.model, self.tokenizer, self.labels, flags.max_seq_length, folder, **options)
        rows, scores = [], None
        if dev:
            expected = self.logits(dataset.features)
            rows, scores = (
                verify_export(folder, dataset, expected),
                dev_scores(self.labels, dev[1], expected, flags.seed),
            )
            logger.info(f"{folder}, {len(dataset)} samples of dev:")
            for line in parity_table(rows):
                logger.info(line)
        self.describe(folder, rows, scores)

    def confidence_facts(self, dev):
        """What export.json says of the probabilities: as core.calibration.export_facts, and what `fit` knows.

        The logits are out of fold: the weights of a half of dev are those that the other half asks for.
        """
        if not dev:
            where = self.flags.data_dir / "dev.txt"
            facts = without_calibration(f"there is no {where} to fit a temperature on; add one of {MIN_SAMPLES} texts")
        else:
            logits = self.out_of_fold if self.out_of_fold is not None else np.zeros((len(dev[1]), len(self.labels)))
            paths = LabelPaths(self.labels, self.flags.label_separator or SEPARATOR)
            facts = export_facts(logits, dev[1], paths, self.flags.seed, self.flags.calibrate)
        logger.info(calibration_line(facts))
        return {**facts, "calibration": {**self.calibration, **facts["calibration"]}}

    def logits(self, features):
        """The model's logits, float32 [texts, classes], without the temperature of its export."""

        def run(some):
            return self.model(**self._batch(some)).numpy()

        self.model.eval()
        features = [{name: row for name, row in feature.items() if name != "labels"} for feature in features]
        with paddle.no_grad():
            return run_sorted(features, self.flags.per_device_eval_batch_size, run)

    def describe(self, folder, rows, scores):
        """Write the model card (core/model_card.py); rows and scores of dev, empty and None without it."""
        flags, name = self.flags, self.flags.model_name_or_path
        fingerprint = {"model_name_or_path": name}
        if Path(name).is_dir():
            fingerprint[MODEL_WEIGHTS] = weights_digest(name)
        untold = ("data_dir", "output_dir", "device", "export_type", "calibrate", "defaults")
        values = {key: value for key, value in vars(flags).items() if key not in untold and not key.startswith("do_")}
        card = Card(
            labels=self.labels,
            content=read_json(Path(folder) / EXPORT_FILE),
            sizes=self.sizes,
            flags=told_flags(values, getattr(flags, "defaults", {})),
            trained=True,
            base=base_model(flags.output_dir, fingerprint),
            by_dev=["weights"] if scores else [],
            scores=scores,
            why_no_scores="there is no dev.txt",
            rows=rows,
        )
        write_cards(folder, card, logger.warning)
