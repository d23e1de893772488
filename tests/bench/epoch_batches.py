"""The batches of an epoch as train.py draws them, for bench_train.py."""

from core.batches import LengthGroupedBatchSampler, TextDataset
from core.encoders import make_encoder
from core.loading import load_config_and_tokenizer
from tests.bench.machine import BATCH_SIZE


class EpochBatches:
    """Batches of token ids.

    Args:
        encoder (str): the model's directory, for its tokenizer.
        texts (list[str]): the training data.
        ids (list[int]): their class ids.
        steps (int): batches that are looked at; 0: all.
    """

    def __init__(self, encoder, texts, ids, steps):
        _, tokenizer = load_config_and_tokenizer(encoder)
        self.dataset, self.steps = TextDataset(texts, ids, make_encoder(tokenizer, 128, True, texts)), steps

    @property
    def mean_length(self):
        return self.dataset.lengths.mean()

    def batches(self, group):
        """[batches][samples] of token ids and class id; `group`: of similar length, else at random."""
        sampler = LengthGroupedBatchSampler(self.dataset.lengths, BATCH_SIZE, seed=42, group=group)
        samples = [[self.dataset[index] for index in batch] for batch in list(sampler)[: self.steps or None]]
        return [[(sample["input_ids"], sample["labels"]) for sample in batch] for batch in samples]

    def padding(self, group):
        """Tokens of the padded batches to a token that is read."""
        lengths = [[len(tokens) for tokens, _ in batch] for batch in self.batches(group)]
        return sum(len(batch) * max(batch) for batch in lengths) / sum(map(sum, lengths))
