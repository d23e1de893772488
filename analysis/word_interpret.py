"""Which words of a text made the model predict its label, by four methods, and how far each can be trusted.

    cd analysis
    python word_interpret.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ \\
        --interpret_input_file bad_case.txt --interpret_num 20 --method all

Written: --result_file into --dataset_dir, and --report, a page with the words coloured by their scores. What is
explained is the logit of the predicted class; a positive score speaks for it, a negative one against it.

- integrated_gradients (Sundararajan et al. 2017, arXiv 1703.01365): from [MASK] in place of every word to the text,
  trapezoidal rule. A text's scores sum to the difference of the logits, which is checked.
- gradient_shap (Lundberg and Lee 2017, arXiv 1705.07874; as expected gradients, Erion et al. 2021, arXiv 1906.10670):
  the same from many baselines, made of random tokens of the texts, at random points of the way.
- lime (Ribeiro et al. 2016, arXiv 1602.04938): a linear model of the logit on texts with words deleted at random.
- attention: what [CLS] attends to in the last layer, mean of the heads. A baseline; it has no sign.

Faithfulness (DeYoung et al. 2020, arXiv 1911.03429): how far the class's probability falls without the best words of a
text (comprehensiveness, higher is better), and with nothing but them (sufficiency, lower is better). As there, words
are deleted (see --remove_words) and the mean of several shares of words is taken; `random` are random orders.
"""

import dataclasses
import itertools
import math
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from classifier import Classifier, check_positive, load_jieba, make_parser, read_model_labels, softmax  # noqa: E402

from report import escape, table, write_page  # noqa: E402
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    format_table,
    read_cases,
    require_packages,
    write_lines,
)

# Shares of a text's words that are deleted or kept, at least one word; means over them.
SHARES = (0.1, 0.2, 0.5)
RANDOM_ORDERS = 10
# How far the scores of integrated gradients may sum to something else than the difference of the logits.
TOLERANCE = 0.01
# A difference below this many logits is measured against it: float32 has its own errors.
MIN_DIFFERENCE = 0.1
MAX_STEPS = 512
# Width of LIME's exponential kernel on cosine distances, and its ridge penalty.
KERNEL_WIDTH, PENALTY = 0.25, 0.1

STYLE = """<style>
.case { border-top: 1px solid #ddd; padding: .6rem 0; } .case p { margin: .1rem 0; }
.method { color: #666; font-size: .8rem; display: inline-block; width: 11rem; margin-left: -11rem; }
.words { font-size: 1.05rem; line-height: 1.9; overflow-wrap: anywhere; white-space: pre-wrap; padding-left: 11rem; }
.legend { padding-left: 0; } .words span { border-radius: 3px; padding: .1rem .08rem; } .cut { color: #aaa; }
</style>"""


# --------------------------------------------------------------------------------------------------- texts and words


@dataclasses.dataclass
class Case:
    """A text whose prediction is explained.

    Attributes:
        text (str): it is the words joined.
        label (str): "" where it is not known.
        words (list[str]): from jieba; such as share a token are one word.
        feature (dict): input_ids and the like, with [CLS] and [SEP].
        owner (np.ndarray): int64 [tokens], the word of each token, -1 for [CLS] and [SEP].
        cut_off (bool): whether --max_seq_length cut off the end of the text.
        class_id (int): the class that is explained, which is the predicted one.
        logits (np.ndarray): float64 [classes].
    """

    text: str
    label: str
    words: list
    feature: dict
    owner: np.ndarray
    cut_off: bool = False
    class_id: int = -1
    logits: np.ndarray = None

    @property
    def seen(self):
        """int64 [n]: the words that have tokens; others are blank, or cut off by --max_seq_length."""
        return np.unique(self.owner[self.owner >= 0])

    @property
    def first_cut(self):
        """The number of the first word that was cut off, and all behind it; len(words) where none was."""
        return self.owner.max() + 1 if self.cut_off else len(self.words)

    @property
    def probability(self):
        return float(softmax(self.logits[None])[0, self.class_id])

    def without(self, words, mask_id=None):
        """The feature with the tokens of these words deleted, or replaced by `mask_id`."""
        keep = ~np.isin(self.owner, words)
        if mask_id is not None:
            return {**self.feature, "input_ids": np.where(keep, self.feature["input_ids"], mask_id).tolist()}
        return {name: np.asarray(values)[keep].tolist() for name, values in self.feature.items()}

    def word_scores(self, token_scores):
        """float64 [words]: the sum over each word's tokens."""
        own = self.owner >= 0
        return np.bincount(self.owner[own], weights=np.asarray(token_scores)[own], minlength=len(self.words))


def assign_tokens(words, ids, encode, cut_off=False):
    """The word of each token. Words that the tokenizer does not cut where jieba does are joined.

    Whatever the tokenizer does with case, unknown characters or word pieces: the words' own tokens, one word after the
    other, must be those of the text. Where they differ, the word is joined with the next or the one before.

    Args:
        words (list[str]): of one text.
        ids (list[int]): the text's tokens, without [CLS] and [SEP].
        encode (Callable): from list[str] to list[list[int]], likewise.
        cut_off (bool): whether `ids` may be the first of the text's tokens only.

    Returns:
        tuple[list[str], np.ndarray]: the words, and int64 [len(ids)].
    """

    def agreement(parts):
        tokens = list(itertools.chain(*parts))
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, ids)))
        return same, 0 if cut_off else min(0, len(ids) - len(tokens))

    words, parts = list(words), encode(words)
    while agreement(parts) < (len(ids), 0):
        same, owner = agreement(parts)[0], np.repeat(np.arange(len(words)), [len(part) for part in parts])
        wrong = int(owner[same]) if same < len(owner) else len(words) - 1
        options = [[*words[:n], words[n] + words[n + 1], *words[n + 2 :]]
                   for n in (wrong, wrong - 1) if 0 <= n < len(words) - 1]  # fmt: skip
        words, parts = max(((option, encode(option)) for option in options), key=lambda pair: agreement(pair[1]))
    return words, np.repeat(np.arange(len(words)), [len(part) for part in parts])[: len(ids)]


class Explainer:
    """A classifier with what the methods need of it: logits, gradients by the word embeddings, attention.

    Args:
        classifier (Classifier): its linear and embedding weights are frozen, which saves about a third of the time.

    Attributes:
        background (np.ndarray): int64, the tokens of all texts of make_cases.

    Raises:
        UsageError: the tokenizer has no [MASK], or the word embeddings cannot be found.
    """

    def __init__(self, classifier):
        self.classifier = classifier
        self.model, self.paddle = classifier.model, classifier.paddle
        name = type(self.model).__name__
        self.mask_id = getattr(classifier.tokenizer, "mask_token_id", None)
        if self.mask_id is None:
            raise UsageError(f"{name}: its tokenizer has no mask token; its words cannot be explained")
        tables = [layer for layer in self.model.sublayers() if isinstance(layer, self.paddle.nn.Embedding)]
        if not tables:
            raise UsageError(f"{name}: its word embeddings cannot be found; its words cannot be explained")
        # The one with the most rows; get_input_embeddings() is not there for every model (not for ERNIE-M).
        self.embedding = max(tables, key=lambda layer: layer.weight.shape[0])
        # Not those of LayerNorm: with a frozen scale its backward pass on a CPU (Paddle 2.6.2) leaves the scale out of
        # the gradient of its input, without a word. paddle.grad() by the inputs alone does the same.
        for layer in self.model.sublayers():
            if isinstance(layer, (self.paddle.nn.Linear, self.paddle.nn.Embedding)):
                for parameter in layer.parameters(include_sublayers=False):
                    parameter.stop_gradient = True

    def encode_words(self, words):
        """The tokens of each word, without [CLS] and [SEP]."""
        return [list(feature["input_ids"])[1:-1] for feature in self.classifier.encode(list(words))]

    def make_cases(self, rows):
        """Cases of what read_cases gives, with their predictions."""
        features = self.classifier.encode([text for _, text, *_ in rows])
        cases = []
        for (_, text, label, *_), feature in zip(rows, features):
            ids = list(feature["input_ids"])[1:-1]
            full = len(ids) + 2 >= self.classifier.max_length
            words, owner = assign_tokens(load_jieba().lcut(text), ids, self.encode_words, full)
            cut_off = full and sum(map(len, self.encode_words(words))) > len(ids)
            cases.append(Case(text, label, words, feature, np.array([-1, *owner, -1], dtype=np.int64), cut_off))
        for case, logits in zip(cases, self.logits(features)):
            case.class_id, case.logits = int(logits.argmax()), logits
        self.background = np.concatenate([np.array(case.feature["input_ids"])[case.owner >= 0] for case in cases])
        return cases

    def logits(self, features, what=None):
        """float64 [features, classes]."""
        return self.classifier.compute_encoded(features, what)[0].astype(np.float64)

    def vectors(self, ids):
        """The word embeddings of tokens: float32 [len(ids), hidden]."""
        with self.paddle.no_grad():
            return self.embedding(self.paddle.to_tensor(ids, dtype="int64")).numpy()

    def slopes(self, case, start, places):
        """How the class's logit changes with each token on the way to the text's word embeddings.

        Args:
            case (Case): its tokens decide what is not a word embedding: positions, types, length.
            start (np.ndarray): where the way starts, float32 [tokens, hidden], or [n, tokens, hidden] for n ways.
            places (np.ndarray): [n], parts of the way, 0 to 1.

        Returns:
            np.ndarray: float64 [n, tokens], the products of gradient and way.
        """
        end, result = self.vectors(case.feature["input_ids"]), []
        for first in range(0, len(places), self.classifier.batch_size):
            some = slice(first, first + self.classifier.batch_size)
            way = end - (start if start.ndim == 2 else start[some])
            points = end - (1 - places[some, None, None]).astype("float32") * way
            inputs = self.paddle.to_tensor(points, stop_gradient=False)
            hook = self.embedding.register_forward_post_hook(lambda layer, ids, output, inputs=inputs: inputs)
            try:
                logits = self.model(**self.classifier.pad([case.feature] * len(points)))
            finally:
                hook.remove()
            logits[:, case.class_id].sum().backward()
            result.append((inputs.grad.numpy().astype(np.float64) * way).sum(axis=-1))
            self.model.clear_gradients()
        return np.concatenate(result)

    def attention(self, case):
        """What [CLS] attends to in the last layer, mean of the heads: float [tokens].

        Raises:
            UsageError: the model does not give its attention.
        """
        try:
            with self.paddle.no_grad():
                output = self.model(**self.classifier.pad([case.feature]), output_attentions=True, return_dict=True)
            return output.attentions[-1].numpy()[0, :, 0].mean(axis=0)
        except (TypeError, AttributeError, IndexError):
            name = type(self.model).__name__
            raise UsageError(f"{name} does not give its attention; use another --method") from None


# ----------------------------------------------------------------------------------------------------------- methods
# Each gives float64 [words], and how far their sum is from what it should be, None where it need not be anything.


def integrated_gradients(explainer, case, args, random):
    """Integrated gradients from [MASK] to each word; the steps are doubled until the scores sum up well enough.

    The logit rises in a small part of the way, somewhere in its middle, and is flat at both ends: there equal steps
    come closer than Gauss-Legendre's (on 10 texts, 32 steps: 9 against 5 within 1 %), and doubling them wastes none.
    """
    masked = np.where(case.owner >= 0, explainer.mask_id, case.feature["input_ids"]).tolist()
    other = explainer.logits([{**case.feature, "input_ids": masked}])[0]
    difference = case.logits[case.class_id] - other[case.class_id]
    start, steps = explainer.vectors(masked), args.steps
    slopes = explainer.slopes(case, start, np.arange(steps + 1) / steps)
    total = slopes.sum(axis=0) - (slopes[0] + slopes[-1]) / 2
    while True:
        scores = case.word_scores(total / steps)
        error = abs(scores.sum() - difference) / max(abs(difference), MIN_DIFFERENCE)
        if error <= TOLERANCE or steps * 2 > MAX_STEPS:
            return scores, error
        total += explainer.slopes(case, start, (np.arange(steps) + 0.5) / steps).sum(axis=0)
        steps *= 2


def gradient_shap(explainer, case, args, random):
    """Expected gradients: baselines of random tokens, one random point of the way from each."""
    own = case.owner >= 0
    ids = np.tile(case.feature["input_ids"], (args.samples, 1))
    ids[:, own] = random.choice(explainer.background, (args.samples, own.sum()))
    # One place in each of equal parts of the way: the same mean, with less noise.
    places = (np.arange(args.samples) + random.rand(args.samples)) / args.samples
    return case.word_scores(explainer.slopes(case, explainer.vectors(ids), places).mean(axis=0)), None


def lime(explainer, case, args, random):
    """LIME: the weights of a linear model of the class's logit on which words are there."""
    from sklearn.linear_model import Ridge

    seen, scores = case.seen, np.zeros(len(case.words))
    if not len(seen):
        return scores, None
    # The text itself, and texts without any number of words, each number being as likely.
    removed = random.randint(1, len(seen) + 1, args.samples)
    there = random.rand(args.samples, len(seen)).argsort(axis=1) >= removed[:, None]
    there, counts = np.unique(np.vstack([np.ones((1, len(seen)), bool), there]), axis=0, return_counts=True)
    logits = explainer.logits([case.without(seen[~row]) for row in there])[:, case.class_id]
    distances = 1 - np.sqrt(there.mean(axis=1))  # 1 - cosine with the row of ones
    kernel = np.exp(-(distances**2) / KERNEL_WIDTH**2)
    scores[seen] = Ridge(alpha=PENALTY).fit(there, logits, sample_weight=counts * kernel).coef_
    return scores, None


def attention(explainer, case, args, random):
    """The attention of [CLS] in the last layer, which is never negative."""
    return case.word_scores(explainer.attention(case)), None


METHODS = {function.__name__: function for function in (integrated_gradients, gradient_shap, lime, attention)}
DEFAULT_METHOD = "lime"


def explain(explainer, cases, method, args):
    """The scores of all texts by one method.

    Returns:
        tuple[list[np.ndarray], float]: float64 [words] a text; seconds a text.
    """
    start, random = time.perf_counter(), np.random.RandomState(args.seed)
    found = [METHODS[method](explainer, case, args, random) for case in tqdm(cases, desc=method, disable=None)]
    scores, errors = zip(*found)
    if errors[0] is not None:
        bad = sum(error > TOLERANCE for error in errors)
        print(f"{method}: the scores of {len(errors) - bad:,} of {len(errors):,} texts sum to the difference of the "
              f"logits within {TOLERANCE:.0%} (largest error {max(errors):.2%})"
              + (f"; for the others, give --steps above {MAX_STEPS}" if bad else ""))  # fmt: skip
    return list(scores), (time.perf_counter() - start) / len(cases)


# ------------------------------------------------------------------------------------------------------ faithfulness


def faithfulness(explainer, cases, scores, mask=False, what=None):
    """Comprehensiveness and sufficiency of each text: float64 [cases, 2].

    Args:
        cases (list[Case]): the texts.
        scores (list[np.ndarray]): [words] a text.
        mask (bool): words are replaced by [MASK], not deleted.
        what (str): shown with the progress.
    """
    features, mask_id = [], explainer.mask_id if mask else None
    for case, values in zip(cases, scores):
        order = case.seen[np.argsort(-values[case.seen], kind="stable")]
        for share in SHARES:
            count = math.ceil(share * len(order))
            features += [case.without(order[:count], mask_id), case.without(order[count:], mask_id)]
    probabilities = softmax(explainer.logits(features, what)).reshape(len(cases), len(SHARES), 2, -1)
    result = np.empty((len(cases), 2))
    for row, case, values in zip(result, cases, probabilities):
        row[:] = case.probability - values[:, :, case.class_id].mean(axis=0)
    return result


def random_faithfulness(explainer, cases, seed, mask=False):
    """That of RANDOM_ORDERS random orders of the words, the mean of each text: float64 [cases, 2]."""
    random = np.random.RandomState(seed)
    orders = [[random.rand(len(case.words)) for case in cases] for _ in range(RANDOM_ORDERS)]
    rows = [row for order in orders for row in order]
    values = faithfulness(explainer, cases * RANDOM_ORDERS, rows, mask, "random")
    return values.reshape(RANDOM_ORDERS, len(cases), 2).mean(axis=0)


def faithfulness_rows(values, seconds):
    """Rows of the table, the most faithful method first; ± is half of a 95 % interval over the texts.

    Args:
        values (dict[str, np.ndarray]): method -> [cases, 2].
        seconds (dict[str, float]): method -> of one text; none for `random`.
    """
    rows = []
    for name in sorted(values, key=lambda name: -np.subtract(*values[name].mean(axis=0))):
        columns = {}
        for column, heading in enumerate(("comprehensiveness (high)", "sufficiency (low)")):
            found = values[name][:, column]
            spread = f" ± {1.96 * found.std(ddof=1) / math.sqrt(len(found)):.3f}" if len(found) > 1 else ""
            columns[heading] = f"{found.mean():.3f}{spread}"
        rows.append({"method": name, **columns, "seconds a text": f"{seconds[name]:.2f}" if name in seconds else ""})
    return rows


# ----------------------------------------------------------------------------------------------------------- results


def result_lines(cases, labels, scores):
    """The lines of the result file: a block a text, in it a line a method, in that a column `<word> <score>` a word.

    Args:
        cases (list[Case]): the texts.
        labels (list[str]): in class order.
        scores (dict[str, list[np.ndarray]]): method -> [words] a text.
    """
    for index, case in enumerate(cases):
        yield f"text: {case.text}"
        yield f"predict label: {labels[case.class_id]}\tscore: {case.probability:.4f}"
        if case.label:
            yield f"label: {case.label}"
        for method, values in scores.items():
            pairs = [f"{word} {score:+.4f}" for word, score in zip(case.words, values[index]) if word.strip()]
            yield "\t".join([f"{method}:", *pairs])
        yield ""


def coloured(case, scores):
    """HTML of a text: its words, coloured by their scores against the text's largest one; what was cut off is grey."""
    largest = max(np.abs(scores).max(initial=0), 1e-12)
    for number, (word, score) in enumerate(zip(case.words, scores)):
        if number >= case.first_cut:
            yield f'<span class="cut" title="not read: beyond --max_seq_length">{escape(word)}</span>'
            continue
        colour = "46, 125, 50" if score > 0 else "198, 40, 40"
        strength = 0.75 * abs(score) / largest
        yield f'<span style="background: rgba({colour}, {strength:.2f})" title="{score:+.4f}">{escape(word)}</span>'


def case_parts(cases, labels, scores):
    """HTML of the coloured texts, a row a method, with their style and legend; for the page and the notebook."""
    yield STYLE
    legend = Case("", "", ["speaks for the label", " ", "against it", " ", "not read"], {}, np.array([0, 3]), True)
    yield f'<p class="words legend">{"".join(coloured(legend, np.array([1, 0, -1, 0, 0])))}</p>'
    yield "<p>Colours are relative to the strongest word of each line; point at a word to see its score.</p>"
    for index, case in enumerate(cases):
        given = "" if not case.label else f", label <b>{escape(case.label)}</b>"
        mark = ' <span class="error">wrong</span>' if case.label not in ("", labels[case.class_id]) else ""
        yield (f'<div class="case"><p>{index + 1}. predicted <b>{escape(labels[case.class_id])}</b> '
               f"({case.probability:.3f}){given}{mark}</p>")  # fmt: skip
        for method, values in scores.items():
            words = "".join(coloured(case, values[index]))
            yield f'<p class="words"><span class="method">{method}</span>{words}</p>'
        yield "</div>"


def faithfulness_parts(rows, total):
    """HTML of the faithfulness table; for the page and the notebook."""
    yield table(list(rows[0]), [list(row.values()) for row in rows], numbers=(1, 2, 3))
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    yield (
        f"<p>How far the probability of the predicted label falls without the best {shares} of the words "
        "(comprehensiveness: high is good) and with nothing but them (sufficiency: low is good), mean of "
        f"{total:,} texts; ± is half of a 95 % interval. A method that is no better than random explains nothing.</p>"
    )


# -------------------------------------------------------------------------------------------------------------- main


def parse_arguments(argv=None):
    """The flags, checked as far as that goes without the model.

    Raises:
        UsageError: a flag out of range, jieba is not installed.
    """
    parser = make_parser(__doc__, batch_size=16)
    add = parser.add_argument
    add("--method", nargs="+", choices=[*METHODS, "all"], default=[DEFAULT_METHOD],
        help=f"one or more of {', '.join(METHODS)}; all (default: {DEFAULT_METHOD})", metavar="METHOD")  # fmt: skip
    add("--interpret_input_file", default="bad_case.txt", help="in --dataset_dir: texts, with or without label and "
        "prediction (default: bad_case.txt)")  # fmt: skip
    add("--interpret_num", type=int, default=20, help="texts explained, from the first one on (default: 20)")
    add("--steps", type=int, default=32, help="of integrated gradients at first; they are doubled for texts that need "
        "more (default: 32)")  # fmt: skip
    add("--samples", type=int, default=100, help="of LIME and of gradient SHAP for each text (default: 100)")
    add("--remove_words", choices=("delete", "mask"), default="delete", help="how faithfulness takes words away; LIME "
        "deletes them too, so that [MASK] in their place is the fairer judge of it (default: delete)")  # fmt: skip
    add("--result_file", default="word_interpret.txt", help="written into --dataset_dir")
    add("--report", type=Path, default=Path("word_interpret.html"), help="the page (default: word_interpret.html)")
    args = parser.parse_args(argv)
    check_positive(args, "interpret_num", "steps", "samples")
    args.method = list(METHODS if "all" in args.method else dict.fromkeys(args.method))
    require_packages("word_interpret.py", "jieba")
    return args


def load(args):
    """The model, and the texts to explain with their predictions.

    Returns:
        tuple[Explainer, list[Case]]: the first --interpret_num texts.
    """
    labels = read_model_labels(args)
    rows = read_cases(args.dataset_dir / args.interpret_input_file)
    explainer = Explainer(Classifier(args, labels))
    cases = explainer.make_cases(rows[: args.interpret_num])
    if len(rows) > len(cases):
        print(f"The first {len(cases):,} of {len(rows):,} texts are explained; for more, raise --interpret_num")
    cut = sum(case.cut_off for case in cases)
    if cut:
        print(f"{cut:,} of them are longer than {explainer.classifier.max_length} tokens: their ends are not read")
    return explainer, cases


def explain_all(explainer, cases, args):
    """The scores of each method, and the rows of the faithfulness table.

    Returns:
        tuple[dict[str, list[np.ndarray]], list[dict]]: method -> [words] a text; from faithfulness_rows.
    """
    mask = args.remove_words == "mask"
    scores, values, seconds = {}, {"random": random_faithfulness(explainer, cases, args.seed, mask)}, {}
    for method in args.method:
        try:
            scores[method], seconds[method] = explain(explainer, cases, method, args)
        except UsageError as error:
            if len(args.method) == 1:
                raise
            print(f"{method} is left out: {error}")
        else:
            values[method] = faithfulness(explainer, cases, scores[method], mask)
    return scores, faithfulness_rows(values, seconds)


def main(argv=None):
    args = parse_arguments(argv)
    explainer, cases = load(args)
    labels = explainer.classifier.labels
    scores, rows = explain_all(explainer, cases, args)
    print("\n".join(["Faithfulness:", *format_table(rows)]))
    write_lines(args.dataset_dir, {args.result_file: list(result_lines(cases, labels, scores))}, "--dataset_dir")
    parts = ["<h2>Faithfulness</h2>", *faithfulness_parts(rows, len(cases)), "<h2>Texts</h2>"]
    write_page(args.report, f"Words behind the predictions of {args.params_path}",
               [*parts, *case_parts(cases, labels, scores)])  # fmt: skip
    print(f"{len(cases):,} texts explained in {args.dataset_dir / args.result_file} and {args.report}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
