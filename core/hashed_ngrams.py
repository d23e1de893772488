"""The words of a text as keyed hashes: what a log may keep where it may not keep texts.

A word is a run of Latin letters or digits, or one other character; words and pairs of neighbours go into BUCKETS
buckets by BLAKE2b with a secret key. Without the key nobody can look a word up, and with it a bucket has many words.
It is no anonymity: whoever has the key can test a guess, and whoever has many lines can guess frequent words from how
often their buckets come.
"""

import functools
import hashlib
import os
import re
import secrets
import unicodedata
from pathlib import Path

from utils import UsageError

BUCKETS = 4096

# Words of a text that are looked at.
MOST_WORDS = 512

WORD = re.compile(r"[a-z0-9]+|[^\W_]")

# Of log.jsonl, where its key lies.
KEY_ENDING = ".key"
KEY_BYTES = 32


def words_of(text):
    """The words of a text without regard to width and case, at most MOST_WORDS; punctuation is none."""
    return WORD.findall(unicodedata.normalize("NFKC", text[: 4 * MOST_WORDS]).lower())[:MOST_WORDS]


def ngrams_of(text):
    """The different words and pairs of neighbouring words of a text: list[str], a pair with a space inside."""
    words = words_of(text)
    return list(dict.fromkeys([*words, *map(" ".join, zip(words, words[1:]))]))


def make_bucket(key):
    """The function from an n-gram to its bucket, below BUCKETS; it remembers those that it was asked for.

    Args:
        key (bytes): at most 64 of them.
    """

    @functools.lru_cache(1 << 16)
    def bucket(ngram):
        digest = hashlib.blake2b(ngram.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest()
        return int.from_bytes(digest, "big") % BUCKETS

    return bucket


def buckets_of(text, bucket):
    """The buckets of a text's n-grams, sorted, each once: list[int]; `bucket` is from make_bucket."""
    return sorted(set(map(bucket, ngrams_of(text))))


def key_name(key):
    """Eight characters that tell keys apart and say nothing about them."""
    return hashlib.blake2b(b"the name of this key", digest_size=4, key=key).hexdigest()


def key_path(log):
    """Where the key of a log lies."""
    return Path(f"{log}{KEY_ENDING}")


def read_key(path):
    """The key in a file that make_key wrote.

    Raises:
        UsageError: there is none, or it is no key.
    """
    try:
        key = bytes.fromhex(Path(path).read_text(encoding="ascii").strip())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); give the key that the log was made with"
        ) from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"{path}: not a key of {2 * KEY_BYTES} hexadecimal digits; give the one the log was made with"
        )
    return key


def make_key(path):
    """The key in a file; where there is no file, one with a new key, which only its owner can read.

    Raises:
        UsageError: it cannot be written or read.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_key(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
    return read_key(path)
