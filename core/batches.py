"""Data sets of texts and the order of their batches."""

import numpy as np
import paddle
from paddlenlp.data import DataCollatorWithPadding


class TextDataset(paddle.io.Dataset):
    """Tokenised samples in memory: dicts of input_ids, token_type_ids (where the model has them) and labels.

    Texts are tokenised when the data set is made, not when a batch is: paddle's DataLoader hangs for ever when a
    data set raises inside it (dataloader_iter.py, _thread_loop).
    """

    def __init__(self, texts, label_ids, encode):
        self.features = encode(texts)
        for feature, label_id in zip(self.features, label_ids):
            feature["labels"] = label_id
        self.lengths = np.array([len(feature["input_ids"]) for feature in self.features])

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return self.features[index]


# The name of a batch's input with what n-grams give texts that they were fitted to (core/ngram_layer.py).
GIVEN_LOGITS = "ngram_logits"


class Collator(DataCollatorWithPadding):
    """PaddleNLP's, which makes integers of all that a batch has, GIVEN_LOGITS among it: they stay float32."""

    def __call__(self, features):
        batch = super().__call__([{k: v for k, v in feature.items() if k != GIVEN_LOGITS} for feature in features])
        if GIVEN_LOGITS in features[0]:
            batch[GIVEN_LOGITS] = np.array([feature[GIVEN_LOGITS] for feature in features], "float32")
        return batch


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
