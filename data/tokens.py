"""How many tokens the texts of a data folder have, and how many of them the model cannot read."""

from core.encoders import make_encoder
from core.vocabulary import UnknownTokens

# The histogram of lengths goes to this many times --max_length, in at most so many bins.
HISTOGRAM_TOP, HISTOGRAM_BINS = 2, 64


class TokenCounter:
    """Counts the tokens of texts, and those that the vocabulary does not have.

    Args:
        tokenizer: PaddleNLP's.
        max_length (int): tokens that the model takes; longer texts are counted in full, too, but slowly.

    Attributes:
        unknown (UnknownTokens): of all texts that were counted.
        shares (list[float]): of [UNK] in each text of the last call.
    """

    def __init__(self, tokenizer, max_length):
        self.tokenizer, self.limit = tokenizer, HISTOGRAM_TOP * max_length + 1
        self.encode = make_encoder(tokenizer, self.limit, token_types=False)
        self.unknown = UnknownTokens(tokenizer.unk_token_id, self.encode)
        self.shares = []

    def __call__(self, texts):
        """Tokens of each text, [CLS] and [SEP] included: list[int]."""
        features = self.encode(texts)
        self.shares = self.unknown.add(texts, features)
        counts = [len(feature["input_ids"]) for feature in features]
        for index in [index for index, count in enumerate(counts) if count >= self.limit]:
            whole = self.tokenizer(texts[index], truncation=False, return_token_type_ids=False)
            counts[index] = len(whole["input_ids"])
        return counts
