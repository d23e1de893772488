"""Classify with a sentence encoder and a linear head: for few samples a label, and quick to train.

    python setfit.py --data_dir ./data --model_name_or_path ../data/offline_encoder \\
        --output_dir ./checkpoints_setfit --do_train --do_eval --do_predict --export_type paddle onnx

1. The encoder is tuned for --max_steps so that texts of one label come close together and others apart (the idea of
   SetFit, https://arxiv.org/abs/2209.11055, here with the loss of https://arxiv.org/abs/2004.11362). --max_steps 0
   leaves it as it is. The result lies between the first and the tuned weights (https://arxiv.org/abs/2109.01903).
2. The mean of a text's token states is its vector; linear discriminant analysis on the vectors of the training texts
   and of the label words (`label==word` in label.txt) gives the head. Where the folder has data.txt, unlabelled texts,
   they are given labels, and the head is fitted again with them (--unlabelled_weight), several times. Without
   train.txt, the label words say how they begin.
3. The same is done with the texts' tokens and pairs of tokens in place of vectors: which words are there, next to what
   a text means. dev.txt gives the two logits their weights, and the probabilities their sureness.
4. All become one graph, <output_dir>/export, like that of the other ways: Taskflow, predictor.py and deploy/ take it.
"""

import argparse
import sys
import types
from collections import Counter
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
    prediction_lines,
    prepare_cpu,
    read_cases,
    read_examples,
    read_label_words,
    read_texts,
    require_onnx,
    write_lines,
)

PREDICTION_FILE = "predictions.txt"
UNLABELLED_ROUNDS = 10
# With thousands of texts the covariance needs less of a crutch than with a few hundred.
UNLABELLED_SHRINKAGE = 0.5
# Of cosines between texts and label words.
WORD_TEMPERATURE = 0.1
NGRAM_SLOTS, NGRAM_FACTOR, NGRAM_DIMENSIONS = 2**18, 48271, 256


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
    add("--unlabelled_weight", type=float, default=0.1,
        help="of a text of data.txt against a labelled one; 0: without data.txt (default: %(default)s)")  # fmt: skip
    add("--ngram_weight", type=float, default=None,
        help="of the n-grams' logits against the vectors'; 0: without n-grams (default: fitted on dev.txt, else 0.5)",
    )  # fmt: skip
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
    for name in ("unlabelled_weight", "ngram_weight"):
        if (getattr(args, name) or 0) < 0:
            parser.error(f"--{name} {getattr(args, name)}: give 0 or more")
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


def fit_head_with_unlabelled(vectors, label_ids, unlabelled, num_labels, shrinkage, weight):
    """The same with texts that have no labels, by expectation maximisation: they take the classes' probabilities as
    labels, means and covariance are fitted to all texts, and so on (Nigam et al., 2000,
    https://doi.org/10.1023/A:1007692713085, section 5.3.1, here with Gaussians of one covariance).

    Args:
        vectors, label_ids, num_labels, shrinkage: as in `fit_head`, whose head is the start.
        unlabelled (np.ndarray): float [texts, hidden].
        weight (float): of an unlabelled text against a labelled one.

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    from scipy.special import softmax

    head, bias = fit_head(vectors, label_ids, num_labels, shrinkage)
    shares = softmax(unlabelled @ head + bias, axis=1)
    return refine_head(unlabelled, shares, vectors, np.eye(num_labels)[label_ids], weight)


def fit_head_from_words(words, unlabelled):
    """The same without any labelled text: each unlabelled text begins with the labels whose words are near it.

    Args:
        words (np.ndarray): the label words' vectors, float [num_labels, hidden].
        unlabelled (np.ndarray): float [texts, hidden].

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    from scipy.special import softmax

    # Words and texts lie apart, as short and long texts do; around their own centers they can be compared.
    near, far = (rows - rows.mean(axis=0) for rows in (unlabelled, words))
    near, far = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (near, far))
    return refine_head(unlabelled, softmax(near @ far.T / WORD_TEMPERATURE, axis=1))


def refine_head(unlabelled, shares, vectors=None, given=None, weight=1.0):
    """Fit Gaussians of one covariance to texts whose labels are shares, give them new shares, and so on.

    Args:
        unlabelled (np.ndarray): float [texts, hidden].
        shares (np.ndarray): the classes' probabilities to start with [texts, classes].
        vectors, given (np.ndarray | None): labelled texts [samples, hidden] and their shares, which stay.
        weight (float): of an unlabelled text against a labelled one.

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    from scipy.special import softmax

    if vectors is None:
        vectors, given = unlabelled[:0], shares[:0]
    everything = np.concatenate([vectors, unlabelled]).astype(np.float64)
    for _ in range(UNLABELLED_ROUNDS):
        both = np.concatenate([given, weight * shares])
        counts = both.sum(axis=0)
        means = both.T @ everything / counts[:, None]
        # The sum of share * (text - mean)(text - mean)' over texts and classes.
        scatter = (everything.T * both.sum(axis=1)) @ everything - (means.T * counts) @ means
        covariance = scatter / counts.sum()
        mean_variance = np.trace(covariance) / len(covariance)
        covariance *= 1 - UNLABELLED_SHRINKAGE
        covariance[np.diag_indices_from(covariance)] += UNLABELLED_SHRINKAGE * mean_variance
        head = np.linalg.solve(covariance, means.T)
        bias = -0.5 * (means.T * head).sum(axis=0)
        shares = softmax(unlabelled @ head + bias, axis=1)
    return head, bias


def ngram_keys(ids):
    """Whole numbers for a text's tokens and pairs of neighbours: a pair's is a hash below NGRAM_SLOTS.

    Args:
        ids (list[int]): without padding.
    """
    ids = np.asarray(ids, dtype=np.int64)
    return np.concatenate([(ids[:-1] * NGRAM_FACTOR + ids[1:]) % NGRAM_SLOTS, NGRAM_SLOTS + ids])


class Ngrams:
    """Texts as latent semantic vectors of their tokens and pairs of tokens (tf-idf, then a truncated SVD).

    Args:
        token_ids (list[list[int]]): of the texts to fit on; n-grams of one text alone are left out. [CLS] and [SEP]
            are n-grams too, so some are always left.
        seed (int): of the SVD.
    """

    def __init__(self, token_ids, seed):
        from sklearn.decomposition import TruncatedSVD

        counts = Counter(key for ids in token_ids for key in set(ngram_keys(ids).tolist()))
        self.keys = np.array(sorted(key for key, count in counts.items() if count > 1), dtype=np.int64)
        frequency = np.array([counts[key] for key in self.keys.tolist()])
        self.idf = np.log((1 + len(token_ids)) / (1 + frequency)) + 1
        rows = self.rows(token_ids)
        size = min(NGRAM_DIMENSIONS, min(rows.shape) - 1)
        self.components = TruncatedSVD(size, random_state=seed).fit(rows).components_

    def rows(self, token_ids):
        """Sparse matrix [texts, n-grams]. The squares of the idf of a text's n-grams, each time it is there, add up
        to 1 after the division: a sum over places, as the graph can form it."""
        from scipy.sparse import csr_matrix

        found = [self._find(ids) for ids in token_ids]
        ends = np.cumsum([0, *map(len, found)])
        columns = np.concatenate(found)
        lengths = np.array([max((self.idf[places] ** 2).sum(), 1e-9) ** 0.5 for places in found])
        values = self.idf[columns] / np.repeat(lengths, np.diff(ends))
        return csr_matrix((values, columns, ends), shape=(len(found), len(self.keys)))

    def _find(self, ids):
        keys = ngram_keys(ids)
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return places[self.keys[places] == keys]

    def vectors(self, token_ids):
        """Float [texts, NGRAM_DIMENSIONS at most]."""
        return self.rows(token_ids) @ self.components.T

    def table(self, head):
        """What each n-gram adds: float32 [1 + n-grams, classes + 1]; row 0 is for the unknown ones, and the last
        column the square of the idf."""
        weights = np.hstack([self.idf[:, None] * (self.components.T @ head), self.idf[:, None] ** 2])
        return np.vstack([np.zeros_like(weights[:1]), weights]).astype("float32")


def fit_weights(logits, truth, share=None):
    """Weights of several logits whose sum makes the true classes most likely.

    Args:
        logits (list[np.ndarray]): each [samples, classes].
        truth: class ids [samples].
        share (float | None): of the second against the first where it is given, so that only the scale is fitted.

    Returns:
        np.ndarray: as many weights as logits, none below 0.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    if share is not None:
        logits = [logits[0] + share * logits[1]]

    def loss(weights):
        total = sum(weight * each for weight, each in zip(weights, logits))
        return -log_softmax(total, axis=1)[np.arange(len(truth)), truth].mean()

    result = minimize(loss, np.full(len(logits), 0.5), bounds=[(1e-3, 10)] * len(logits)).x
    return result if share is None else result[0] * np.array([1, share])


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

    def fit(self, texts, label_ids, dev=None, unlabelled=()):
        """Tune the encoder and set the head; label words are samples like others.

        Args:
            texts, label_ids: the training data; none, and the head comes from the label words and `unlabelled`.
            dev (tuple | None): texts and class ids; on them the probabilities are made as sure as they are right.
            unlabelled (list[str]): texts of data.txt.
        """
        args = self.args
        features = self.encode([*texts, *self.words])
        label_ids = np.concatenate([label_ids, np.arange(len(self.labels))]).astype(int)
        unlabelled = self.encode(unlabelled) if args.unlabelled_weight else []
        if args.max_steps and len(texts):
            self._tune(features, label_ids)
        center = self.vectors(features).mean(axis=0)

        def centered(some):
            return self.vectors(some) - center

        if len(texts):
            views = [self._fit_view(centered, features, label_ids, unlabelled)]
        else:
            views = [(centered, *fit_head_from_words(centered(features), centered(unlabelled)))]
        if args.ngram_weight != 0 and len(texts):
            ngrams = Ngrams([feature["input_ids"] for feature in [*features, *unlabelled]], args.seed)

            def counted(some):
                return ngrams.vectors([feature["input_ids"] for feature in some])

            views.append(self._fit_view(counted, features, label_ids, unlabelled))
        weights = [1, 0.5 if args.ngram_weight is None else args.ngram_weight][: len(views)]
        if dev:
            dev_features = self.encode(dev[0])
            logits = [embed(dev_features) @ head + bias for embed, head, bias in views]
            weights = fit_weights(logits, dev[1], args.ngram_weight if len(views) > 1 else None)
        heads = [(weight * head, weight * bias) for weight, (_, head, bias) in zip(weights, views)]
        self.model.center.set_value(center)
        self.model.head.weight.set_value(heads[0][0].astype("float32"))
        self.model.head.bias.set_value(sum(bias for _, bias in heads).astype("float32"))
        if len(views) > 1:
            vocab_size = self.model.encoder.config.vocab_size
            self.model.ngrams = ngram_layer(ngrams, heads[1][0], vocab_size, self.tokenizer.pad_token_id)

    def _fit_view(self, embed, features, label_ids, unlabelled):
        """Fit a head on one view of the texts; `embed` makes its vectors from tokenised texts."""
        vectors, settings = embed(features), (len(self.labels), self.args.shrinkage)
        if not unlabelled:
            return embed, *fit_head(vectors, label_ids, *settings)
        others = embed(unlabelled)
        return embed, *fit_head_with_unlabelled(vectors, label_ids, others, *settings, self.args.unlabelled_weight)

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
            for start in tqdm(range(0, len(order), size), desc="vectors", unit="batch", leave=False):
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
            self.ngrams = None

        def embed(self, input_ids, **more):
            states = self.encoder(input_ids, **more)[0]
            mask = (input_ids != self.pad_token_id).astype(states.dtype).unsqueeze(-1)
            return (states * mask).sum(axis=1) / mask.sum(axis=1)

        def classify(self, input_ids, **more):
            logits = self.head(self.embed(input_ids, **more) - self.center)
            return logits if self.ngrams is None else logits + self.ngrams(input_ids)

        def forward(self, input_ids, token_type_ids):
            return self.classify(input_ids, token_type_ids=token_type_ids)

    class WithoutTokenTypes(SentenceClassifier):
        def forward(self, input_ids):
            return self.classify(input_ids)

    return SentenceClassifier() if uses_token_types(type(encoder)) else WithoutTokenTypes()


def ngram_layer(ngrams, head, vocab_size, pad_token_id):
    """A layer that gives the n-grams' part of the logits, [batch, classes], for input_ids [batch, tokens].

    Args:
        ngrams (Ngrams): as fitted.
        head (np.ndarray): [dimensions, classes].
        vocab_size (int): ids are below it.
        pad_token_id (int): no part of an n-gram.
    """
    import paddle

    class NgramLayer(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            rows = np.zeros([NGRAM_SLOTS + vocab_size], dtype="int64")
            rows[ngrams.keys] = np.arange(1, len(ngrams.keys) + 1)
            self.pad_token_id = pad_token_id
            self.register_buffer("row_of_key", paddle.to_tensor(rows))
            self.register_buffer("table", paddle.to_tensor(ngrams.table(head)))

        def forward(self, input_ids):
            # Not by a number: ONNX would get a multiplication of float32, too coarse for these products.
            factor = paddle.full_like(input_ids, NGRAM_FACTOR)
            pairs = (input_ids * factor)[:, :-1] + input_ids[:, 1:]
            keys = paddle.concat([pairs % paddle.full_like(pairs, NGRAM_SLOTS), input_ids + NGRAM_SLOTS], axis=1)
            is_text = input_ids != self.pad_token_id
            is_ngram = paddle.concat([is_text[:, 1:], is_text], axis=1).astype(self.table.dtype).unsqueeze(-1)
            rows = paddle.gather(self.row_of_key, keys.flatten())
            values = paddle.gather(self.table, rows).reshape([keys.shape[0], keys.shape[1], self.table.shape[1]])
            total = (values * is_ngram).sum(axis=1)
            return total[:, :-1] / total[:, -1:].clip(min=1e-9).sqrt()

    return NgramLayer()


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


def train(args, label_words, train_data, dev, unlabelled):
    from train import set_device

    set_device(types.SimpleNamespace(device=args.device, fp16=False))
    learner = Learner(args, label_words)
    learner.fit(*train_data, dev, unlabelled)
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


def read_training(args, labels):
    """Read train.txt and, where it has a part, data.txt; without train.txt, data.txt and the label words have to do.

    Returns:
        tuple: texts and class ids of train.txt; texts of data.txt.
    """
    train_path, data_path = args.data_dir / "train.txt", args.data_dir / "data.txt"
    unlabelled, role = [], "have a part in the head (--unlabelled_weight 0: none)"
    if args.unlabelled_weight and data_path.is_file():
        unlabelled = [text for _, text, *_ in read_cases(data_path)]
    train_data = [], []
    if unlabelled and not train_path.exists():
        role = f"and the label words alone make the head: there is no {train_path}"
    else:
        train_data = read_examples(train_path, labels)
    if unlabelled:
        print(f"{data_path}: {len(unlabelled)} unlabelled texts {role}")
    return train_data, unlabelled


def main(argv=None):
    args = parse_flags(argv)
    label_words = read_label_words(args.data_dir / "label.txt")
    labels, dev_path = list(label_words), args.data_dir / "dev.txt"
    dev = read_examples(dev_path, labels) if args.do_eval or dev_path.is_file() else None
    if "onnx_int8" in args.export_type and args.do_train and not dev:
        raise UsageError(f"--export_type onnx_int8: needs {dev_path} for its ranges; add it")
    train_data, unlabelled = read_training(args, labels) if args.do_train else (None, None)
    to_predict = read_texts(args.data_dir, labels) if args.do_predict else None
    if args.do_train:
        require_onnx(args.export_type)
    elif not (args.output_dir / "export").is_dir():
        raise UsageError(f"{args.output_dir / 'export'}: no such directory; train first, with --do_train")

    prepare_cpu()
    if args.do_train:
        train(args, label_words, train_data, dev, unlabelled)
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
