"""Texts that are longer than a model reads at once: which tokens it gets of them, and one answer from several windows.

The one place of both steps for training, evaluation, Predictor, server and Triton, which gets a copy of this file: so
it needs numpy alone, and nothing of this repository.

    truncate    the first tokens; nothing of this file has a part in it
    head_tail   the first and the last tokens (Sun et al. 2019, arXiv:1905.05583, section 5.3.1)
    windows     all tokens, max_length at a time; the text's logits are the mean or the maximum of its windows'

A tokenised text is a dict of lists of equal length with [CLS] before and [SEP] behind. One of several windows is the
dict of its first window, and has two entries more: windows, such a dict for each, and spans, the characters that each
was made of, or None where the tokenizer does not tell.
"""

import numpy as np

# The entry of config.json and export.json; where it is not there, long texts are truncated.
KEY = "long_text"

# Sun et al. keep the first 128 and the last 382 of 510 tokens; here the first share of what max_length leaves.
HEAD_SHARE = 128 / 510

# What a whole tokenised text may have beside its tokens: the characters of each, list[tuple[int, int]].
OFFSETS = "offsets"

# A text's windows of which one decided: its number from 1, how many there are, and the characters that it was made of,
# the first one and that behind the last; -1 where these are not known.
WINDOW = np.dtype([("number", "int32"), ("of", "int32"), ("start", "int32"), ("end", "int32")])


class LongText:
    """What is read of a long text.

    Args:
        facts (dict | None): way, and of windows stride and pooling, of head_tail maybe head; None: truncate.
        max_length (int): tokens that the model gets at once, [CLS] and [SEP] included.

    Attributes:
        way (str): truncate, head_tail or windows.
        stride (int): tokens from the start of a window to that of the next.
        pooling (str): mean or max.
        head, tail (int): tokens kept of the beginning and of the end.
    """

    def __init__(self, facts, max_length):
        facts = facts or {}
        self.way, self.max_length = facts.get("way", "truncate"), max_length
        self.stride, self.pooling = facts.get("stride"), facts.get("pooling") or "mean"
        self.head = facts.get("head", round((max_length - 2) * HEAD_SHARE))
        self.tail = max_length - 2 - self.head

    @property
    def has_windows(self):
        return self.way == "windows"

    def encoder(self, whole):
        """A function from texts to features, as this way has them.

        Args:
            whole (Callable): from texts to features of all their tokens; is_fast is kept.

        Returns:
            Callable[[list[str]], list[dict]]: its attribute whole is that function.
        """

        def encode(texts):
            return [self.features(feature) for feature in whole(texts)]

        encode.is_fast, encode.whole = whole.is_fast, whole
        return encode

    def features(self, feature):
        """What the model gets of a text; the same as truncation where it fits.

        Args:
            feature (dict): of all its tokens, maybe with OFFSETS, which are taken out.
        """
        offsets = feature.pop(OFFSETS, None)
        size = len(feature["input_ids"])
        if size <= self.max_length:
            return feature
        if not self.has_windows:
            return {name: [*ids[: self.head + 1], *ids[size - self.tail - 1 :]] for name, ids in feature.items()}
        body, windows, spans = self.max_length - 2, [], []
        for start in self.starts(size - 2):
            some = slice(start + 1, start + 1 + body)
            windows.append({name: [ids[0], *ids[some], ids[-1]] for name, ids in feature.items()})
            if offsets is not None:
                own = [place for place in offsets[some] if place[1] > place[0]] or [(0, 0)]
                spans.append((own[0][0], own[-1][1]))
        return {**windows[0], "windows": windows, "spans": spans or None}

    def starts(self, tokens):
        """Where the windows of a text begin; the last one ends with the text, so that each is full.

        Args:
            tokens (int): of the text, [CLS] and [SEP] left out.

        Returns:
            list[int]: numbers of tokens, from 0.
        """
        last = max(0, tokens - (self.max_length - 2))
        return [*range(0, last, self.stride), last] if last else [0]

    def tokens(self, size):
        """About the tokens that the model reads of a text of `size` characters, one token each: int."""
        if not self.has_windows or size + 2 <= self.max_length:
            return min(size + 2, self.max_length)
        return len(self.starts(size)) * self.max_length

    def pool(self, logits, counts):
        """The texts' logits.

        Args:
            logits (np.ndarray): float32 [windows, classes], those of a text one after the other.
            counts (np.ndarray | None): how many each text has, [texts]; None: one each.

        Returns:
            np.ndarray: float32 [texts, classes]; those of a text with one window are its own, to the last bit.
        """
        if counts is None:
            return logits
        starts = np.cumsum(counts) - counts
        if self.pooling == "max":
            return np.maximum.reduceat(logits, starts)
        return np.add.reduceat(logits, starts) / counts[:, None].astype(logits.dtype)

    def deciding(self, features, logits, counts, answers):
        """Which window of each text decided: the one that speaks most for the text's answer.

        Of the maximum it is the window whose logit was taken; of the mean, the one that adds most to the answer's
        logit beyond what it adds to all classes alike. Of equals it is the first.

        Args:
            features (list[dict]): of the texts.
            logits (np.ndarray), counts (np.ndarray): as for pool.
            answers (np.ndarray): class ids [texts].

        Returns:
            np.ndarray: WINDOW [texts].
        """
        if self.pooling == "mean":
            logits = logits - logits.mean(axis=1, keepdims=True)
        found, start = np.zeros(len(counts), WINDOW), 0
        for row, (feature, count, answer) in enumerate(zip(features, counts.tolist(), answers.tolist())):
            place = int(logits[start : start + count, answer].argmax())
            span = (feature.get("spans") or {place: (-1, -1)})[place]
            found[row] = (place + 1, count, *span)
            start += count
        return found


def windows_of(feature):
    """The windows of a tokenised text: list[dict], of most texts the text itself."""
    return feature.get("windows") or [feature]


def flat(features):
    """Windows of all texts, one after the other.

    Args:
        features (list[dict]): tokenised texts.

    Returns:
        tuple[list[dict], np.ndarray | None]: the windows; how many each text has, int64 [texts], or None where each is
        one, and the list the one that was given.
    """
    if not any("windows" in feature for feature in features):
        return features, None
    counts = np.array([len(windows_of(feature)) for feature in features])
    return [window for feature in features for window in windows_of(feature)], counts


def window_facts(window):
    """What an answer says of the window that decided it, from a row of WINDOW; None where there was one window."""
    number, of, start, end = window.tolist()
    if of <= 1:
        return None
    return {"number": number, "of": of, **({} if end < 0 else {"start": start, "end": end})}
