"""tokenizer.json: PaddleNLP's tokenizer as the tokenizers library reads it, where both are proven to give equal ids.

The library's own BERT rules come from another version of Unicode, and differ on some blocks. So none of them is used:
the file names every character that PaddleNLP drops, takes for a space, or splits off. What is left to the library is
lower case and decomposition (NFD), which Unicode keeps as they are for characters that exist.
"""

import hashlib
import random
import re
import sys
import unicodedata
from pathlib import Path

from core.encoders import encode_beginnings, fast_names
from core.long_texts import KEY, OFFSETS, LongText
from utils import UsageError

TOKENIZER_FILE = "tokenizer.json"

# Its entry in export.json.
RUNTIME_KEY = "runtime"

# PaddleNLP's classes whose rules are the ones below.
KINDS = ("ErnieTokenizer", "BertTokenizer")

# Texts of the user's that are tried at most, and random ones.
MAX_TEXTS, RANDOM_TEXTS = 500, 200

SURROGATES = range(0xD800, 0xE000)

# Where no character is assigned, but for private use.
UNASSIGNED = range(0x40000, 0xE0000), range(0xE0200, sys.maxunicode + 1)

# Characters at most that are told to the library one by one.
MAX_REPLACED = 50

# Rules of kinds that were proven in this process; they do not depend on the vocabulary.
_proven = {}


# ------------------------------------------------------------------------------------------------------- writing it


def write_tokenizer_json(folder, tokenizer, max_length, texts=()):
    """Write tokenizer.json into an export folder, if it gives PaddleNLP's ids.

    Args:
        folder (Path): the folder.
        tokenizer: PaddleNLP's, which decides what is right.
        max_length (int): tokens kept of a text, [CLS] and [SEP] included.
        texts (list[str]): some that both must agree on, beside all characters.

    Returns:
        dict: for export.json: tokenizer (the file's name, or None), and why not, or what was tried; the ids that pad
            and stand for unknown words; the version of the library, and a digest of what it did with all characters.
    """
    problem = kind_problem(tokenizer)
    if problem:
        return {"tokenizer": None, "why": problem}
    import tokenizers

    rules, problem = proven_rules(tokenizer)
    if not problem:
        # BertTokenizer keeps "[S", a character that is dropped, "EP]" in one piece, in which there are capitals.
        keeps = type(tokenizer).__name__ == "BertTokenizer" and not rules["lowercase"]
        rules = {**rules, "whole": tokenizer.all_special_tokens if keeps else []}
        twin = make_twin(tokenizer, rules, max_length)
        characters = "".join(sorted({character for token in tokenizer.vocab.token_to_idx for character in token}))
        texts = [*texts[:: max(1, len(texts) // MAX_TEXTS)], *random_texts(characters, tokenizer)]
        problem = difference_of_ids(tokenizer, twin, characters, texts, max_length)
        # A word with a character that no token has is [UNK], in whatever order.
        if rules["strip_accents"] and (marks := sorted(set(rules["loose_marks"]) & set(characters))):
            problem = f"its vocabulary has marks that the tokenizers library does not sort ({ascii(marks)})"
    if problem:
        return {"tokenizer": None, "why": problem}
    twin.save(str(Path(folder) / TOKENIZER_FILE), pretty=False)
    return {
        "tokenizer": TOKENIZER_FILE,
        "texts_tried": len(texts),
        "pad_token_id": tokenizer.pad_token_id,
        "unk_token_id": tokenizer.unk_token_id,
        "tokenizers": tokenizers.__version__,
        "digest": digest(twin),
    }


def kind_problem(tokenizer):
    """Why a tokenizer's rules are not the ones below, as an end of "the slim runtime cannot run this model: …"; or
    None."""
    name = type(tokenizer).__name__
    if name not in KINDS:
        return f"its {name} has no twin in the tokenizers library whose ids were proven equal"
    basic = getattr(tokenizer, "basic_tokenizer", None)
    lowers = basic is not None and getattr(tokenizer, "do_lower_case", basic.do_lower_case) == basic.do_lower_case
    if not lowers or set(basic.never_split) - set(tokenizer.all_special_tokens):
        return f"its {name} has settings of its own (do_basic_tokenize, never_split)"
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}
    vocabulary = tokenizer.vocab.token_to_idx
    if any(getattr(tokenizer, key) != token or token not in vocabulary for key, token in special.items()):
        return "its special tokens are not [UNK] [SEP] [CLS] [PAD]"
    # PaddleNLP looks for them when the text is in lower case already: "<S>" would be read as "<s>".
    odd = [token for token in tokenizer.unique_no_split_tokens if basic.do_lower_case and token == token.lower()]
    if odd or set(tokenizer.unique_no_split_tokens) - set(vocabulary):
        return f"it has special tokens of its own ({' '.join(tokenizer.unique_no_split_tokens)})"
    if strips_accents(basic) and not (basic.do_lower_case and basic.tokenize_chinese_chars):
        return f"its {name} strips accents from capitals, or keeps Chinese words whole"
    return None


def proven_rules(tokenizer):
    """The rules of a tokenizer, and on which characters they differ from it.

    Returns:
        tuple[dict, str | None]: as character_rules gives them; why they do not hold, or None.
    """
    basic = tokenizer.basic_tokenizer
    kind = (type(tokenizer), basic.do_lower_case, strips_accents(basic), basic.tokenize_chinese_chars)
    if kind not in _proven:
        rules = character_rules(basic)
        found = differing(basic, rules, kept_characters(rules))
        # The library's decomposition is of an older Unicode: a few younger characters are told to it.
        rules["replaced"] = {character: decomposed(character, rules) for character in found[:MAX_REPLACED]}
        found = differing(basic, rules, found)
        named = " ".join(f"U+{ord(character):04X}" for character in found[:10])
        problem = f"the tokenizers library cuts {len(found)} characters otherwise than PaddleNLP ({named})"
        _proven[kind] = rules, problem if found else None
    return _proven[kind]


def strips_accents(basic):
    return bool(basic.do_lower_case if basic.strip_accents is None else basic.strip_accents)


def decomposed(character, rules):
    """A character as PaddleNLP would have it in a word."""
    lower = character.lower() if rules["lowercase"] else character
    return unicodedata.normalize("NFD", lower) if rules["strip_accents"] else lower


def character_rules(basic):
    """What PaddleNLP does with each character.

    Args:
        basic: its BasicTokenizer.

    Returns:
        dict: lowercase, strip_accents (bool); replaced (dict[str, str]): characters, and what they become; and as
            lists of characters dropped, spaces, isolated, accents, and of those that the library's decomposition
            does not know, and so does not sort: loose_accents, loose_marks; whole (list[str]): words not to split.
    """
    every = [character for character in assigned() if character != "|"]
    cleaned = dict(zip(every, basic._clean_text("|".join(every)).split("|")))
    kept = ["|", *(character for character in every if cleaned[character])]
    spaces = {character for character in kept if cleaned.get(character) == " " or character.isspace()}
    # Words of two letters between them: what stands alone was split off.
    isolated = {piece for piece in basic._run_split_on_punc("aa".join(["", *kept, ""])) if len(piece) == 1}
    if basic.tokenize_chinese_chars:
        isolated.update(character for character in kept if basic._is_chinese_char(ord(character)))
    loose = [character for character in kept if unicodedata.combining(character) and not is_sorted(character)]
    accents = [character for character in kept if unicodedata.category(character) == "Mn"]
    return {
        "lowercase": bool(basic.do_lower_case),
        "strip_accents": strips_accents(basic),
        "replaced": {},
        "whole": [],
        "dropped": [character for character in every if not cleaned[character]],
        "spaces": sorted(spaces),
        "isolated": sorted(isolated - spaces),
        "chinese": [character for character in kept if basic._is_chinese_char(ord(character))],
        "accents": accents,
        "loose_accents": [character for character in loose if unicodedata.category(character) == "Mn"],
        "loose_marks": [character for character in loose if unicodedata.category(character) != "Mn"],
    }


def is_sorted(mark):
    """Whether the library's decomposition sorts a combining mark among others as Unicode says."""
    from tokenizers import normalizers

    # U+0334 is of class 1, U+0345 of 240: one before and one behind whatever is between.
    return all(
        normalizers.NFD().normalize_str(text) == unicodedata.normalize("NFD", text)
        for text in (f"x\u0345{mark}", f"x{mark}\u0334")
    )


def assigned():
    """All characters but those of UNASSIGNED and halves of surrogate pairs, in order: list[str]."""
    low, high = UNASSIGNED
    blocks = range(SURROGATES.start), range(SURROGATES.stop, low.start), range(low.stop, high.start)
    return [chr(code) for block in blocks for code in block]


def text_parts(rules):
    """The normalizer and the pre-tokenizer of the tokenizers library that follow the rules."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    def erased(name, *others):
        return normalizers.Replace(Regex(character_class(rules[name], *others)), "")

    steps = [erased("dropped", *UNASSIGNED), *(normalizers.Replace(*pair) for pair in rules["replaced"].items())]
    steps += [normalizers.Lowercase()] if rules["lowercase"] else []
    if rules["strip_accents"]:
        steps += [erased("loose_accents")] if rules["loose_accents"] else []
        steps += [normalizers.NFD(), erased("accents")]
    splits, isolated = [(character_class(rules["spaces"]), "removed")], character_class(rules["isolated"])
    if rules["whole"]:
        words = "|".join(map(re.escape, rules["whole"]))
        splits.append((character_class(rules["chinese"]), "isolated"))
        isolated = rf"\A(?:{words})\z|{isolated}"
    splits.append((isolated, "isolated"))
    return normalizers.Sequence(steps), pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behaviour) for pattern, behaviour in splits]
    )


def character_class(characters, *blocks):
    """Sorted characters, and blocks of codes, as a class of Oniguruma's regular expressions, such as
    [\\x{41}-\\x{5a}]."""
    runs = [[block.start, block.stop - 1] for block in blocks]
    for code in map(ord, characters):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in runs) + "]"


def make_twin(tokenizer, rules, max_length):
    """A tokenizers.Tokenizer with the rules and a tokenizer's vocabulary, which keeps max_length tokens of a text."""
    from tokenizers import Tokenizer, models, processors

    vocabulary = dict(tokenizer.vocab.token_to_idx)
    longest = tokenizer.wordpiece_tokenizer.max_input_chars_per_word
    model = models.WordPiece(vocabulary, unk_token=tokenizer.unk_token, max_input_chars_per_word=longest)
    twin = Tokenizer(model)
    twin.normalizer, twin.pre_tokenizer = text_parts(rules)
    ends = [(token, vocabulary[token]) for token in (tokenizer.sep_token, tokenizer.cls_token)]
    twin.post_processor = processors.BertProcessing(*ends)
    twin.add_special_tokens(sorted(set(tokenizer.unique_no_split_tokens)))
    twin.enable_truncation(max_length)
    return twin


# ------------------------------------------------------------------------------------------------------- proving it


def kept_characters(rules):
    """All characters that PaddleNLP does not drop."""
    dropped = set(rules["dropped"])
    return [character for character in assigned() if character not in dropped]


def differing(basic, rules, tried):
    """The characters of `tried` that the rules treat otherwise than PaddleNLP, between letters; and any dropped one
    that should not be, or the other way round."""
    normalizer, pre_tokenizer = text_parts(rules)

    def differs(characters):
        probe = "a".join(["", *characters, ""])
        words = pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(probe))
        # PaddleNLP puts a text in lower case character by character before it cleans it.
        text = "".join(map(str.lower, probe)) if rules["lowercase"] else probe
        return [word for word, _ in words] != basic.tokenize(text)

    unused = (chr(code) for block in UNASSIGNED for code in block)
    wrong = [character for character in unused if unicodedata.category(character) not in ("Cn", "Co")]
    wrong += normalizer.normalize_str("".join(rules["dropped"]))
    for start in range(0, len(tried), 1024):
        block = tried[start : start + 1024]
        if differs(block):
            wrong += [character for character in block if differs([character])] or block[:1]
    return wrong


def random_texts(characters, tokenizer):
    """Texts of all of Unicode, with characters of the vocabulary and special tokens between; always the same."""
    rng = random.Random(0)
    pieces = [
        *tokenizer.unique_no_split_tokens,
        "[sep]",
        "[[CLS]]",
        "[S\0EP]",
        " [C\ufffdLS] ",
        "##",
        "e\u0301",
        "ΑΣ",
        "İ",
        "\x00",
        " ",
        "\n",
        "x" * 101,
    ]
    texts = ["", " ", "ＡＢＣ abc１２３，。①Ⅲ℃ β-受体 é\u3000x" * 20, "中" * 600, "x " * 600]
    for _ in range(RANDOM_TEXTS):
        last = rng.choice([0x250, 0x3000, 0x10000, 0x30000, 0x110000])
        codes = [rng.randrange(last) for _ in range(rng.choice([1, 5, 30]))]
        parts = [chr(code) for code in codes if code not in SURROGATES]
        parts += rng.choices(characters, k=len(codes)) + rng.choices(pieces, k=3)
        rng.shuffle(parts)
        texts.append("".join(parts))
    return texts


def difference_of_ids(tokenizer, twin, characters, texts, max_length):
    """The first text whose ids differ, as a sentence; or None. Each character of the vocabulary is tried twice, too,
    since it must be known inside a word."""
    whole = type(twin).from_str(twin.to_str())
    whole.no_truncation()
    doubled = "".join(2 * character for character in characters)
    probes = [doubled[start : start + 200] for start in range(0, len(doubled), 200)]
    for probe, encoding in zip(probes, whole.encode_batch(probes, add_special_tokens=False)):
        if encoding.ids != tokenizer.convert_tokens_to_ids(tokenizer.tokenize(probe)):
            return f"its ids of {probe[:20]!a} are not those of the tokenizers library"
    expected = tokenizer(texts, max_length=max_length, truncation=True, return_attention_mask=False)
    for index, encoding in enumerate(twin.encode_batch(texts)):
        if encoding.ids != expected["input_ids"][index] or encoding.type_ids != expected["token_type_ids"][index]:
            return f"its ids of {texts[index][:20]!a} are not those of the tokenizers library"
    return None


def digest(twin):
    """SHA-256 of what a tokenizers.Tokenizer makes of all characters before it looks for words."""
    normal = twin.normalizer.normalize_str("".join(assigned()))
    words = [word for word, _ in twin.pre_tokenizer.pre_tokenize_str(normal)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


# ------------------------------------------------------------------------------------------------------- reading it


def read_encoder(folder, content, token_types):
    """A function from texts to features, as core.encoders.make_encoder gives one, from an export's tokenizer.json.

    Args:
        folder (Path): the export folder.
        content (dict): its export.json.
        token_types (bool): whether the model takes token_type_ids.

    Returns:
        Callable[[list[str]], list[dict]]: one dict a text; is_fast is True.

    Raises:
        UsageError: the file is missing or broken, tokenizers is not installed, or its version does otherwise.
    """
    try:
        import tokenizers
    except ImportError:
        raise UsageError("tokenizers is not installed; run: pip install -r deploy/requirements-runtime.txt") from None
    path, facts = Path(folder) / TOKENIZER_FILE, content[RUNTIME_KEY]
    try:
        twin = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise UsageError(f"{path}: cannot be read ({error}); export the model again") from None
    if tokenizers.__version__ != facts["tokenizers"] and digest(twin) != facts["digest"]:
        raise UsageError(
            f"{path}: tokenizers {tokenizers.__version__} cuts texts otherwise than the version that was proven; run: "
            f"pip install tokenizers=={facts['tokenizers']}"
        )
    names, long_text = fast_names(token_types), LongText(content.get(KEY), content["max_length"])
    if long_text.way != "truncate":
        twin.no_truncation()
        names[OFFSETS] = "offsets"

    def encode_all(texts):
        try:
            encodings = twin.encode_batch(list(texts))
        except TypeError:  # halves of surrogate pairs, which PaddleNLP drops as it does NUL
            whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
            encodings = twin.encode_batch(whole)
        return [{name: getattr(encoding, field) for name, field in names.items()} for encoding in encodings]

    def encode(texts):
        return encode_beginnings(encode_all, texts, content["max_length"])

    encode_all.is_fast = encode.is_fast = True
    return encode if long_text.way == "truncate" else long_text.encoder(encode_all)


def no_runtime(content):
    """Why an export's texts can be read by PaddleNLP alone, from its export.json; or None."""
    facts = content.get(RUNTIME_KEY)
    if facts is None:
        return "it was exported before there was one"
    return None if facts.get("tokenizer") else facts.get("why", "its export says so")
