"""Data sets of texts and the order of their batches."""

import sys

import numpy as np
import paddle
from paddlenlp.data import DataCollatorWithPadding

from core.long_texts import windows_of


class TextDataset(paddle.io.Dataset):
    """Tokenised samples in memory: dicts of input_ids, token_type_ids (where the model has them) and labels, and
    windows of a long text (core/long_texts.py).

    Texts are tokenised when the data set is made, not when a batch is: paddle's DataLoader hangs for ever when a
    data set raises inside it (dataloader_iter.py, _thread_loop).

    Attributes:
        lengths (np.ndarray): the tokens of each sample that the model reads.
        order (LengthGroupedBatchSampler | None): knows the epoch of a training.
    """

    def __init__(self, texts, label_ids, encode):
        self.features = encode(texts)
        for feature, label_id in zip(self.features, label_ids):
            feature["labels"] = label_id
        self.most_windows, self.seed, self.order = sys.maxsize, 0, None
        self._measure()

    def _measure(self):
        self.lengths = np.array(
            [min(len(windows_of(feature)), self.most_windows) * len(feature["input_ids"]) for feature in self.features]
        )

    def limit_windows(self, most, seed):
        """Give `most` windows of a text at most, others in each epoch: which, depends on seed, epoch and text alone.

        Args:
            most (int): windows (core/long_texts.py).
            seed (int): of the training.
        """
        self.most_windows, self.seed = most, seed
        self._measure()

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        feature = self.features[index]
        windows = windows_of(feature)
        if len(windows) <= self.most_windows:
            return feature
        epoch = 0 if self.order is None else self.order.epoch
        random = np.random.default_rng([self.seed, epoch, index])
        chosen = np.sort(random.choice(len(windows), self.most_windows, replace=False))
        return {**feature, "windows": [windows[place] for place in chosen]}


# The name of a batch's input with what n-grams give texts that they were fitted to (core/ngram_layer.py).
GIVEN_LOGITS = "ngram_logits"


# What PaddleNLP's collator is not told of.
OWN_NAMES = (GIVEN_LOGITS, "windows", "spans")


class Collator(DataCollatorWithPadding):
    """PaddleNLP's, which makes integers of all that a batch has, GIVEN_LOGITS among it: they stay float32. Where a
    text has more windows than one, tokens are [texts, windows, tokens], with windows of padding."""

    def __call__(self, features):
        batch = super().__call__([{k: v for k, v in feature.items() if k not in OWN_NAMES} for feature in features])
        if any("windows" in feature for feature in features):
            batch.update(self.windows(features, batch))
        if GIVEN_LOGITS in features[0]:
            batch[GIVEN_LOGITS] = np.array([feature[GIVEN_LOGITS] for feature in features], "float32")
        return batch

    def windows(self, features, names):
        """The tokens of all windows: dict of int64 [texts, windows, tokens]."""
        rows = [windows_of(feature) for feature in features]
        size = len(rows), max(map(len, rows)), max(len(row["input_ids"]) for own in rows for row in own)
        found = {}
        for name in ("input_ids", "token_type_ids"):
            if name in names:
                found[name] = np.full(size, self.tokenizer.pad_token_id if name == "input_ids" else 0, "int64")
                for text, own in enumerate(rows):
                    for place, row in enumerate(own):
                        found[name][text, place, : len(row[name])] = row[name]
        return found


def make_collator(tokenizer):
    """Pad a batch to its longest text, in numpy: paddle tensors made in a worker process crash it.

    The mask is the model's work (core.families.mask_padding), whatever the tokenizer would add.
    """
    return Collator(tokenizer, return_tensors="np", return_attention_mask=False)


class LengthGroupedBatchSampler(paddle.io.DistributedBatchSampler):
    """Batches of similar length: shuffled, sorted by length inside chunks, and the batches shuffled again.

    The cost of a step follows the longest text of its batch, and a random batch of short queries nearly always
    holds a long one. The order depends on (seed, epoch) alone, so a resumed run goes on with the order it had:
    the Trainer calls set_epoch because this is a DistributedBatchSampler.

    Args:
        lengths (np.ndarray): tokens of each sample.
        batch_size (int): samples of a batch on one process.
        seed (int): with the epoch, fixes the order.
        num_replicas, rank (int): processes, and which of them this is. Samples are repeated, at most
            num_replicas - 1 of them, so that all processes get equally many.
        drop_last (bool): leave out a last batch that is not full.
        group (bool): False gives plain random batches.
        batches_per_chunk (int): larger chunks pad less, smaller ones mix more.
    """

    def __init__(
        self, lengths, batch_size, seed, num_replicas=1, rank=0, drop_last=False, group=True, batches_per_chunk=50
    ):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.nranks = num_replicas
        self.local_rank = rank
        self.drop_last = drop_last
        self.group = group
        self.chunk_size = batches_per_chunk * batch_size * num_replicas
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def global_batches(self):
        """The epoch's batches over all processes, as arrays of sample indices."""
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        if self.group:
            chunks = [order[start : start + self.chunk_size] for start in range(0, len(order), self.chunk_size)]
            order = np.concatenate([chunk[np.argsort(self.lengths[chunk], kind="stable")] for chunk in chunks])
        size = self.batch_size * self.nranks
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        if self.drop_last and len(batches[-1]) < size:
            batches.pop()
        return [batches[index] for index in rng.permutation(len(batches))] if self.group else batches

    def __iter__(self):
        for batch in self.global_batches():
            short = -len(batch) % self.nranks
            batch = np.concatenate([batch, np.resize(batch, short)])
            share = len(batch) // self.nranks
            yield batch[self.local_rank * share : (self.local_rank + 1) * share].tolist()

    def __len__(self):
        size = self.batch_size * self.nranks
        return len(self.lengths) // size if self.drop_last else -(-len(self.lengths) // size)


class LengthSortedBatchSampler(LengthGroupedBatchSampler):
    """Batches for evaluation: all samples once, longest first, so that a lack of memory shows at the start.

    What the processes compute, joined batch by batch, comes in the order of `order`; repeated samples come last
    and are cut off by the Trainer.
    """

    def __init__(self, lengths, batch_size, num_replicas=1, rank=0):
        super().__init__(lengths, batch_size, seed=0, num_replicas=num_replicas, rank=rank)
        self.order = np.argsort(-self.lengths, kind="stable")

    def global_batches(self):
        size = self.batch_size * self.nranks
        return [self.order[start : start + size] for start in range(0, len(self.order), size)]
