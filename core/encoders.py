"""Texts to token ids, and batches of them in numpy; nothing here needs paddle."""

import contextlib
import inspect
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from core.characters import UNPROVEN
from core.long_texts import OFFSETS
from core.progress import progress_bar

# Characters of a text on which both tokenizers are compared where no tokens are cut off.
MAX_PROBE = 1000


def make_encoder(tokenizer, max_length, token_types, texts_to_prove=(), long_text=None):
    """Return a function from texts to features, with the Rust tokenizer where it gives PaddleNLP's own ids.

    Args:
        tokenizer: PaddleNLP's tokenizer, which decides what is right.
        max_length (int | None): tokens kept of a text, [CLS] and [SEP] included; None: all, with their characters.
        token_types (bool): whether the model takes token_type_ids.
        texts_to_prove (list[str]): texts on which both must agree before the fast one is used.
        long_text (core.long_texts.LongText | None): what is kept of longer texts; None: the first max_length tokens.

    Returns:
        Callable[[list[str]], list[dict]]: one dict a text; its attribute is_fast tells which tokenizer it runs.
    """
    if long_text is not None and long_text.way != "truncate":
        return long_text.encoder(make_encoder(tokenizer, None, token_types, texts_to_prove))
    options = {"return_token_type_ids": token_types, "return_attention_mask": False}
    cut = {"max_length": max_length, "truncation": True} if max_length else {"truncation": False, "verbose": False}

    call = call_of(type(tokenizer))

    def encode_slowly(texts):
        if not texts:
            return []
        encoded = call(tokenizer, list(texts), **cut, **options)
        names = ["input_ids", "token_type_ids"] if token_types else ["input_ids"]
        return [{name: encoded[name][index] for name in names} for index in range(len(texts))]

    encode_slowly.is_fast = False
    fast = rust_tokenizer(tokenizer, max_length)
    if fast is None:
        return encode_slowly

    names = fast_names(token_types)

    def encode_all_fast(texts, names=names):
        encodings = fast.encode_batch(list(texts))
        return [{name: getattr(encoding, field) for name, field in names.items()} for encoding in encodings]

    def encode_fast(texts):
        if max_length:
            features = encode_beginnings(encode_all_fast, texts, max_length)
        else:
            features = encode_all_fast(texts, {**names, OFFSETS: "offsets"})
        odd = [index for index, text in enumerate(texts) if UNPROVEN.search(text)]
        for index, feature in zip(odd, encode_beginnings(encode_slowly, [texts[index] for index in odd], max_length)):
            features[index] = feature
        return features

    encode_fast.is_fast = True
    step = max(1, len(texts_to_prove) // 500)
    tried = texts_to_prove[::step] if max_length else [text[:MAX_PROBE] for text in texts_to_prove[::step]]
    probe = [*tried, "ＡＢＣ abc１２３，。①Ⅲ℃ β-受体 é\u3000x" * 20, "中" * (max_length or MAX_PROBE)]
    return encode_fast if encode_all_fast(probe) == encode_slowly(probe) else encode_slowly


def call_of(tokenizer_class):
    """How a tokenizer is called: DistilBERT's and MPNet's own way takes no max_length, so it is the one below it."""
    calls = [vars(owner)["__call__"] for owner in tokenizer_class.__mro__ if "__call__" in vars(owner)]
    fitting = (call for call in calls if "max_length" in inspect.signature(call).parameters)
    return next(fitting, calls[0])


def fast_names(token_types):
    """A feature's names -> those of an Encoding of the tokenizers library."""
    return {"input_ids": "ids", "token_type_ids": "type_ids"} if token_types else {"input_ids": "ids"}


# Where every tokenizer of the BERT kind ends a word, whatever follows.
WORD_END = re.compile(r"[ \u4e00-\u9fff]")


def encode_beginnings(encode, texts, max_length):
    """encode(texts), without the work for what is cut off: of a long text its beginning is enough.

    A beginning that ends where a word ends has the first tokens of the text; when they fill max_length, the text's
    others do not matter.

    Args:
        encode (Callable): from a list of texts to features that are truncated to max_length.
        texts (list[str]): any.
        max_length (int | None): tokens; None: all.
    """
    if not max_length:
        return encode(texts)
    features, rest = [None] * len(texts), range(len(texts))
    for size in (2 * max_length, 8 * max_length, sys.maxsize):
        parts = [beginning(texts[index], size) for index in rest]
        again = []
        for index, part, feature in zip(rest, parts, encode(parts) if parts else []):
            features[index] = feature
            if len(part) < len(texts[index]) and len(feature["input_ids"]) < max_length:
                again.append(index)
        rest = again
    return features


def beginning(text, size):
    """About the first `size` characters of a text, up to the end of a word; all of it where none ends near."""
    if len(text) <= size:
        return text
    ends = [match.end() for match in WORD_END.finditer(text, size - 100, size)]
    return text[: ends[-1]] if ends else text


def rust_tokenizer(tokenizer, max_length):
    """Build HuggingFace's Rust WordPiece tokenizer like a BERT or ERNIE tokenizer, or None for other kinds.

    PaddleNLP's BasicTokenizer takes symbols (Unicode class S) and a few letters for punctuation, which BERT's
    original does not: they are split off before BERT's own rules apply.
    """
    if type(tokenizer).__name__ not in ("ErnieTokenizer", "BertTokenizer"):
        return None
    from tokenizers import BertWordPieceTokenizer, Regex
    from tokenizers.pre_tokenizers import BertPreTokenizer, Sequence, Split

    vocab = dict(tokenizer.vocab.token_to_idx)
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}
    if any(getattr(tokenizer, name) != token or token not in vocab for name, token in special.items()):
        return None
    lowercase = bool(tokenizer.init_kwargs.get("do_lower_case", True))
    fast = BertWordPieceTokenizer(vocab, lowercase=lowercase)
    odd = Split(Regex(r"[\p{S}\u00AD\u00B2\u00BA\u3007\u00B5\u00D8\u014B\u01B1]"), "isolated")
    fast._tokenizer.pre_tokenizer = Sequence([odd, BertPreTokenizer()])
    if max_length:
        fast.enable_truncation(max_length)
    return fast


def pad_batch(features, names, pad_token_id):
    """Arrays of one batch.

    Args:
        features (list[dict]): as make_encoder's function gives them.
        names (Iterable[str]): the inputs wanted, such as input_ids and token_type_ids.
        pad_token_id (int): fills input_ids; 0 fills the others.

    Returns:
        dict[str, np.ndarray]: int64 [len(features), longest].
    """
    width = max(len(feature["input_ids"]) for feature in features)
    batch = {}
    for name in names:
        batch[name] = np.full((len(features), width), pad_token_id if name == "input_ids" else 0, "int64")
        for row, feature in zip(batch[name], features):
            row[: len(feature[name])] = feature[name]
    return batch


def run_sorted(features, batch_size, run, progress=None, unit="text", threads=1):
    """Run tokenised texts in batches of similar length, the longest first, so that little is padded.

    Args:
        features (list[dict]): as make_encoder's function gives them; not empty.
        batch_size (int): texts that are run together.
        run (Callable): from a list of features to an array [batch, ...], or to a tuple of such arrays.
        progress (str | None): names a progress bar.
        unit (str): what the bar counts.
        threads (int): batches that are run at once.

    Returns:
        np.ndarray | tuple: what `run` gave for each text, in the order of `features`.
    """
    order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    shown = progress_bar(total=len(order), desc=progress, unit=unit, disable=progress is None)
    results, several = None, ThreadPoolExecutor(threads) if threads > 1 else contextlib.nullcontext()
    with shown as bar, several as pool:
        some = ([features[index] for index in chosen] for chosen in batches)
        for chosen, output in zip(batches, (pool.map if pool else map)(run, some)):
            outputs = output if isinstance(output, tuple) else (output,)
            if results is None:
                results = [np.empty((len(order), *array.shape[1:]), array.dtype) for array in outputs]
            for result, array in zip(results, outputs):
                result[chosen] = array
            bar.update(len(chosen))
    return tuple(results) if isinstance(output, tuple) else results[0]
