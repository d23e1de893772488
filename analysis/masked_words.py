"""Words that a masked language model puts in the place of others."""

import numpy as np
import paddle

from analysis.negations import CHINESE_NEGATING, negates
from analysis.words import CHINESE
from core.loading import load_config_and_tokenizer, load_masked_lm, max_positions, set_device
from utils import UsageError

# Of the most likely characters of a masked place, one is drawn.
MLM_CANDIDATES = 5

# Tokens that the model reads of a text.
MAX_LENGTH = 128


class MaskedWords:
    """Replacements by a masked language model: a Chinese word character by character, a Latin one as one token.

    Args:
        model_name_or_path (str): a model of PaddleNLP or a local directory, with a head for masked words.
        device (str): gpu, gpu:<n> or cpu.

    Raises:
        UsageError: no such model, or one without a mask or without that head.
    """

    def __init__(self, model_name_or_path, device):
        set_device(device)
        config, self.tokenizer = load_config_and_tokenizer(model_name_or_path)
        if getattr(self.tokenizer, "mask_token_id", None) is None:
            raise UsageError(
                f"--model_name_or_path {model_name_or_path}: its tokenizer has no [MASK]; take another one"
            )
        self.limit = min(MAX_LENGTH, max_positions(config) or MAX_LENGTH)
        self.model = load_masked_lm(model_name_or_path)
        self.model.eval()
        self.tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        allowed = [token not in CHINESE_NEGATING and not negates(token) for token in self.tokens]
        chinese = [len(token) == 1 and CHINESE.match(token) is not None for token in self.tokens]
        latin = [token.isascii() and token.isalpha() and len(token) > 2 for token in self.tokens]
        self.chinese, self.latin = np.array(chinese) & allowed, np.array(latin) & allowed

    def has(self, word):
        """Whether other words can stand in its place: none in that of two scripts, or without tokens for it."""
        return bool(all(map(CHINESE.match, word)) if CHINESE.match(word) else word.isalpha() and self.latin.any())

    def draw(self, words, positions, source):
        """One replacement for each of these positions; the word itself where the model does not reach so far."""
        originals = [self._ids(word) for word in words]
        pieces = list(originals)
        for position in positions:
            length = len(words[position]) if CHINESE.match(words[position]) else 1
            pieces[position] = [self.tokenizer.mask_token_id] * length
        found = {}
        for position in positions:
            allowed = self.chinese if CHINESE.match(words[position]) else self.latin
            start = 1 + sum(map(len, pieces[:position]))
            if start + len(pieces[position]) >= self.limit:
                found[position] = words[position]
                continue
            other_than = source.randrange(len(pieces[position]))  # else most words would come back as they are
            for place in range(len(pieces[position])):
                scores = np.where(allowed, self._scores(sum(pieces, []), start + place), -np.inf)
                if place == other_than and place < len(originals[position]):
                    scores[originals[position][place]] = -np.inf
                best = np.argsort(-scores)[: min(MLM_CANDIDATES, np.isfinite(scores).sum())]
                if not len(best):  # a vocabulary with no other token of this kind
                    pieces[position] = originals[position]
                    break
                weights = np.exp(scores[best] - scores[best[0]])
                pieces[position][place] = int(source.choices(best.tolist(), weights.tolist())[0])
            is_own = pieces[position] is originals[position]
            found[position] = words[position] if is_own else "".join(self.tokens[index] for index in pieces[position])
        return [found[position] for position in positions]

    def _ids(self, text):
        return self.tokenizer.convert_tokens_to_ids(self.tokenizer.tokenize(text))

    def _scores(self, ids, place):
        """The model's scores of all tokens at a place, [CLS] being the first: float [vocabulary]."""
        ids = [self.tokenizer.cls_token_id, *ids[: self.limit - 2], self.tokenizer.sep_token_id]
        with paddle.no_grad():
            output = self.model(paddle.to_tensor([ids]))
        return (output[0] if isinstance(output, tuple) else output)[0, place].numpy()
