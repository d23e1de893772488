"""Predicting masked words, which an encoder learns from texts without labels.

data/mlm_head.py gives an ERNIE encoder a head with it, core/pretraining.py trains an encoder and its head on. A model
is here what core.masked_heads.load_masked gives, an encoder of any family with a head of BERT's shape.
"""

import math

import numpy as np
import paddle

from core.batches import LengthGroupedBatchSampler
from core.divergence import Diverged
from core.encoders import make_encoder, pad_batch
from core.masked_heads import token_states
from core.processes import average_gradients, is_first, own_rows, share_of_mean
from core.progress import progress_bar
from core.quick_training import adamw
from core.unlabelled import MIN_TEXTS
from utils import UsageError

# Of a text's tokens; of these 80 % become [MASK], 10 % another token, 10 % stay, as in BERT.
MASKED_SHARE = 0.15
# Of the texts: they are not trained on.
HELD_OUT_SHARE = 0.05
# Times that each held-out text is masked anew.
HELD_OUT_MASKINGS = 4
# Texts of a step of the encoder; masked places of a step of the head alone, which costs far less.
BATCH_SIZE, HEAD_BATCH_SIZE = 32, 256
WARMUP_SHARE = 0.1
# The head's activation is nearly the identity this many standard deviations above 0.
LINEAR_FROM = 4
# Of the scores that the head starts with, in cosines: about as sharp as a trained head is.
START_SCALE = 12


class MaskedTexts:
    """Tokenised texts, masked anew each time they are asked for.

    Args:
        features (list[dict]): each with input_ids, [CLS] and [SEP] included.
        tokenizer: PaddleNLP's.
        seed (int): with the number of the pass, fixes what is masked, and the order.
        share (float): of a text's tokens, that are masked.
    """

    def __init__(self, features, tokenizer, seed, share=MASKED_SHARE):
        self.features, self.tokenizer, self.seed, self.share = features, tokenizer, seed, share
        self.ordinary = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)

    def batches(self, number, only_masks=False):
        """Pass `number` over the texts, in batches of similar length.

        Args:
            number (int): 0, 1, …
            only_masks (bool): all chosen tokens become [MASK], as prompts have it.

        Yields:
            tuple of int64 arrays: ids [texts, longest]; masked places [n] in the flattened ids; tokens there [n].
        """
        sampler = LengthGroupedBatchSampler([len(row["input_ids"]) for row in self.features], BATCH_SIZE, self.seed)
        sampler.set_epoch(number)
        random = np.random.default_rng([self.seed, number, 1])
        for rows in sampler.global_batches():
            batch = [self.features[row] for row in rows]
            ids = pad_batch(batch, ["input_ids"], self.tokenizer.pad_token_id)["input_ids"]
            yield self._mask(ids, random, only_masks)

    def own_batches(self, number):
        """As batches, of each this process's share of the texts: what all processes get together is the batch."""
        for ids, places, targets in self.batches(number):
            rows, width = own_rows(np.arange(len(ids))), ids.shape[1]
            own = np.isin(places // width, rows)
            new = np.searchsorted(rows, places[own] // width) * width + places[own] % width
            yield ids[rows], new, targets[own]

    def _mask(self, ids, random, only_masks):
        is_token = np.isin(ids, self.ordinary)
        number = np.ceil(self.share * is_token.sum(axis=1, keepdims=True))
        ranks = np.where(is_token, random.random(ids.shape), 2).argsort(axis=1).argsort(axis=1)
        places = np.flatnonzero(ranks < number)
        targets = ids.ravel()[places]
        others = random.choice(self.ordinary, len(places))
        kind = random.random(len(places)) * (0 if only_masks else 1)
        mask = self.tokenizer.mask_token_id
        ids.ravel()[places] = np.select([kind < 0.8, kind < 0.9], [mask, others], targets)
        return ids, places, targets

    def __len__(self):
        """Batches of a pass."""
        return math.ceil(len(self.features) / BATCH_SIZE)


def states_at(model, ids, places):
    """The encoder's states at masked places: Tensor [places, hidden]."""
    states = token_states(model.base_model, paddle.to_tensor(ids))
    return paddle.gather(states.reshape([-1, states.shape[-1]]), paddle.to_tensor(places))


def collect_states(model, texts, passes, desc, only_masks=False):
    """The encoder's states at masked places, and the tokens that were there: float32 [n, hidden], int64 [n]."""
    model.eval()
    states, targets = [], []
    with paddle.no_grad(), progress_bar(total=passes * len(texts), desc=desc) as bar:
        for number in range(passes):
            for ids, places, tokens in texts.batches(number, only_masks):
                states.append(states_at(model, ids, places).numpy())
                targets.append(tokens)
                bar.update()
    return np.concatenate(states), np.concatenate(targets)


def fit_masked_words(states, targets, embeddings):
    """Ridge regression from a model's states at masked places to the unit embeddings of the tokens that were there.

    Args:
        states (np.ndarray): [places, hidden].
        targets (np.ndarray): token ids, [places].
        embeddings (np.ndarray): the model's word embeddings, [vocabulary, embedding size].

    Returns:
        np.ndarray: weights [hidden + 1, embedding size], the last row being the bias.
    """
    embeddings = embeddings - embeddings.mean(axis=0)
    embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    states = np.pad(states.astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    squares = states.T @ states + np.eye(states.shape[1])
    return np.linalg.solve(squares, states.T @ embeddings[targets])


def start_head(model, states, targets, counts):
    """Set the head to the ridge regression from states to embeddings, and its bias to how frequent the tokens are.

    The head is LayerNorm(activation(states @ W + b)), its scores are products with the word embeddings. Far above 0
    the activation is the identity, and LayerNorm takes the shift off again: so the head starts as a linear map.

    Args:
        model (see core.masked_heads.load_masked): its head is changed.
        states, targets: see collect_states.
        counts (np.ndarray): see count_tokens.
    """
    head, embeddings = model.cls.predictions, model.get_input_embeddings().weight.numpy()
    weights = fit_masked_words(states, targets, embeddings)
    weights -= weights.mean(axis=1, keepdims=True)
    weights /= (states @ weights[:-1] + weights[-1]).std()
    head.transform.weight.set_value(weights[:-1].astype("float32"))
    head.transform.bias.set_value((weights[-1] + LINEAR_FROM).astype("float32"))
    length = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1)[targets].mean()
    size = embeddings.shape[1]
    scale = START_SCALE / length / math.sqrt(size)
    head.layer_norm.weight.set_value(np.full(size, scale, "float32"))
    smoothed = counts + 0.1
    head.decoder.bias.set_value(np.log(smoothed / smoothed.sum()).astype("float32"))


def train_on(model, parameters, batches, steps, learning_rate, desc, start=None, after_step=None):
    """AdamW with a linear warm-up and decay on batches of states and tokens.

    The word embeddings stay as they are: they are the decoder too, and the rows of tokens that these texts lack would
    only be pushed away. No LayerNorm is frozen above what is trained: Paddle's gradient would be wrong (it leaves the
    scale out).

    Args:
        model (see core.masked_heads.load_masked): changed; in eval mode afterwards.
        parameters (Iterable): those that are trained, where they are not frozen.
        batches (Iterable): of states [places, hidden] and tokens [places], for the steps that are left.
        steps (int): of the whole training.
        learning_rate (float): its highest value.
        desc (str): names the progress bar.
        start (tuple[int, dict] | None): steps that were done before, and the optimizer's state after them.
        after_step (Callable[[int, Optimizer], None] | None): told the steps that are done.
    """
    model.get_input_embeddings().weight.stop_gradient = True
    trained = [parameter for parameter in parameters if not parameter.stop_gradient]
    optimizer, schedule = adamw(trained, learning_rate, steps, WARMUP_SHARE, weight_decay=0.01)
    done, state = start or (0, None)
    if state is not None:
        optimizer.set_state_dict(state)
    model.train()
    with progress_bar(total=steps, desc=desc, initial=done) as bar:
        for step, (states, tokens) in enumerate(batches, done + 1):
            loss = paddle.nn.functional.cross_entropy(model.cls.predictions(states), tokens)
            (loss * share_of_mean(len(tokens))).backward()
            average_gradients(trained)
            optimizer.step()
            optimizer.clear_grad()
            schedule.step()
            bar.set_postfix(loss=f"{float(loss):.2f}", refresh=False)
            bar.update()
            if after_step is not None:
                after_step(step, optimizer)
    model.eval()


def learn_masked_words(model, trained, held_out, train, start_from=None, before=None, told=("", "before", "after")):
    """The steps of learning masked words, in their order: start the head, measure, train, measure again.

    Args:
        model (see core.masked_heads.load_masked): changed; in eval mode afterwards.
        trained, held_out (MaskedTexts): see split_texts.
        train (Callable[[tuple | None, dict], None]): does the training; gets what the head was started from (see
            collect_states; None where it was not), and what was measured before.
        start_from (MaskedTexts | None): texts from whose masked places the head starts; None: it has learnt already.
        before (dict | None): what was measured before by a run that is continued: nothing is started then.
        told (tuple[str, str, str]): in front of what is printed of the texts; what before and after are called.

    Returns:
        tuple[dict, dict]: before and after, see measure.

    Raises:
        Diverged: nothing of the result may be used.
    """
    counts, started = count_tokens(trained, model.config.vocab_size), None
    if before is None:
        if start_from is not None:
            started = collect_states(model, start_from, 1, "states at masked places")
            start_head(model, *started, counts)
        model.eval()
        before = measure(model, held_out, counts)
    if is_first():
        print(
            f"{told[0]}{len(trained.features):,} texts to train on, {len(held_out.features):,} held out, in which "
            f"{before['places']:,} tokens are masked; the most frequent token of all is {before['floor']:.1%} of these"
        )
    report(told[1], before)
    train(started, before)
    after = measure(model, held_out, counts)
    if not math.isfinite(after["perplexity"]):
        raise Diverged(
            "the masked-language training has diverged, its answers are no finite numbers any more, and nothing of it "
            "is kept; give a smaller rate (train.py: --pretrain_learning_rate; data/build_encoder.py: "
            "--mlm_learning_rate)"
        )
    report(told[2], after)
    return before, after


def measure(model, texts, counts):
    """Accuracy and loss at the masked places of held-out texts, all of which are [MASK].

    Args:
        model (see core.masked_heads.load_masked): in eval mode.
        texts (MaskedTexts): held out.
        counts (np.ndarray): see count_tokens, of the texts to train on.

    Returns:
        dict[str, float]: top1 and top5, shares of the masked tokens that are found; perplexity; places, their number;
        floor, the top1 of saying the most frequent token everywhere.
    """
    states, targets = collect_states(model, texts, HELD_OUT_MASKINGS, "held-out texts", only_masks=True)
    ranks, losses = [], []
    with paddle.no_grad():
        for start in range(0, len(targets), HEAD_BATCH_SIZE):
            rows = slice(start, start + HEAD_BATCH_SIZE)
            scores = model.cls.predictions(paddle.to_tensor(states[rows]))
            tokens = paddle.to_tensor(targets[rows])
            losses.append(paddle.nn.functional.cross_entropy(scores, tokens, reduction="none").numpy().ravel())
            own = paddle.take_along_axis(scores, tokens.unsqueeze(1), 1)
            ranks.append((scores > own).sum(axis=1).numpy())
    ranks, losses = np.concatenate(ranks), np.concatenate(losses)
    return {
        "top1": float((ranks < 1).mean()),
        "top5": float((ranks < 5).mean()),
        "perplexity": float(np.exp(losses.mean(dtype="float64"))),
        "places": len(targets),
        "floor": float((targets == counts.argmax()).mean()),
    }


def report(when, result):
    """Print what was measured, in the first process."""
    if not is_first():
        return
    found = f"top-1 {result['top1']:.1%}, top-5 {result['top5']:.1%}"
    print(f"{when}: {found}, perplexity {result['perplexity']:,.0f}", flush=True)


def split_texts(texts, tokenizer, max_length, seed, share=MASKED_SHARE, what="--mlm_texts"):
    """Tokenised texts to train on, and those held out, as MaskedTexts.

    Args:
        texts (list[str]): each once.
        tokenizer: PaddleNLP's.
        max_length (int): tokens kept of a text.
        seed (int): of the split and the masks.
        share (float): see MaskedTexts.
        what (str): how a message calls the texts.

    Raises:
        UsageError: fewer than MIN_TEXTS with a token of the vocabulary.
    """
    special = set(tokenizer.all_special_ids)
    encode = make_encoder(tokenizer, max_length, False, texts)
    features = [row for row in encode(texts) if not special.issuperset(row["input_ids"])]
    if len(features) < MIN_TEXTS:
        problem = f"only {len(features)} texts have characters of the encoder's vocabulary"
        raise UsageError(f"{what}: {problem}; give {MIN_TEXTS} or more")
    order = np.random.default_rng([seed, 0]).permutation(len(features))
    cut = math.ceil(HELD_OUT_SHARE * len(order))
    parts = (order[cut:], order[:cut])
    return tuple(MaskedTexts([features[row] for row in rows], tokenizer, seed, share) for rows in parts)


def count_tokens(texts, vocab_size):
    """How often each token of the vocabulary is in MaskedTexts, special ones 0 times: [vocab_size]."""
    ids = np.concatenate([row["input_ids"] for row in texts.features])
    return np.bincount(ids[np.isin(ids, texts.ordinary)], minlength=vocab_size)
