"""A vocabulary for somebody's own texts, out of the source's 250,002 SentencePiece pieces; without paddle.

The source cuts a word into the pieces whose scores have the highest sum (a unigram model: Kudo 2018,
https://arxiv.org/abs/1804.10959, section 3.2). ErnieTokenizer reads a word from the left and takes the longest entry
each time (WordPiece). So the texts' words are cut as the source would, the pieces found become entries (`word` where
one begins a word, `##word` inside one), and entries for which the longest is more often wrong than right go again.

An entry is written as it is in the texts, and has the row of the piece that the source would see after its NFKC:
half-width kana, Arabic presentation forms, Thai am and Vietnamese tones typed apart have entries of their own.
"""

import collections
import dataclasses
import functools
import unicodedata

from core.progress import progress_bar
from core.vocabulary import script_blocks, script_of
from data.e5_weights import LAST_LATIN_PIECE, SPECIAL_TOKENS, WORD_START, build_vocab, special_ids
from utils import UsageError

# Characters of the texts that are looked at: a vocabulary is complete long before.
MAX_CHARACTERS = 10_000_000

# Characters of a word that WordPiece reads; a longer one is [UNK], see PaddleNLP's WordpieceTokenizer.
LONGEST_WORD = 100

# Characters of the longest piece, and of what becomes one by NFKC.
LONGEST_PIECE, LONGEST_FORM = 16, 24

# Characters of these scripts are in every vocabulary; those of another one all, if so many of the letters are of it.
ALWAYS, COMMON = ("Latin", "Greek", "symbols"), 0.01

# Those that are written without white space between words.
UNSPACED = {"Burmese", "Chinese", "Japanese", "Khmer", "Lao", "Thai", "Tibetan", "symbols"}

# Behind it there are rare Chinese characters: those that the source has are in the vocabulary without texts.
LAST_CHARACTER = 0x20000

# How often entries are looked for that WordPiece takes in the wrong places.
ROUNDS = 4


@dataclasses.dataclass
class OwnVocabulary:
    """The entries for some texts, and what became of the texts' words.

    Attributes:
        tokens (list[str]): in vocabulary order, SPECIAL_TOKENS first.
        rows (list[int]): the source's row of each.
        own (int): entries that the vocabulary without texts does not have.
        given_up (int): pieces without an entry, since WordPiece would take it in the wrong places.
        over_bound (int): pieces of the texts without an entry, since there were max_vocab others; the rarest.
        foreign (list[str]): characters of the texts that no piece has, the most frequent first.
        words (int): of the texts, each as often as it occurs.
        differing (int): of these, those that WordPiece cuts otherwise than the source.
        too_long (int): words of more than LONGEST_WORD characters.
        used (int): characters that were looked at, all of the texts' or, of many texts, those of every n-th.
    """

    tokens: list
    rows: list
    own: int = 0
    given_up: int = 0
    over_bound: int = 0
    foreign: list = dataclasses.field(default_factory=list)
    words: int = 0
    differing: int = 0
    too_long: int = 0
    used: int = 0


def left_out(found, max_vocab, characters):
    """What a vocabulary has not, or has otherwise than the source: list of sentences.

    Args:
        found (OwnVocabulary): the vocabulary.
        max_vocab (int): entries at most.
        characters (int): of all the texts.
    """
    lines = []
    if found.used < characters:
        lines.append(f"looked at {found.used:,} of {characters:,} characters, texts evenly spread over the files")
    if found.over_bound:
        lines.append(f"{found.over_bound:,} pieces of the texts, the rarest: --max_vocab is {max_vocab}")
    if found.given_up:
        lines.append(f"{found.given_up:,} pieces that the tokenizer would take in the wrong places")
    if found.foreign:
        shown = " ".join(found.foreign[:20]) + " …" * (len(found.foreign) > 20)
        lines.append(
            f"{len(found.foreign):,} characters that the source does not have ({shown}): they have entries that mean "
            "nothing before the training"
        )
    if found.too_long:
        lines.append(
            f"{found.too_long:,} words of more than {LONGEST_WORD} characters, which the tokenizer takes for [UNK]: "
            "put spaces into them"
        )
    return lines


class Cutter:
    """Cuts texts into the words that WordPiece gets.

    Args:
        tokenize (Callable[[str], list[str]]): of PaddleNLP's BasicTokenizer, without lower case.
    """

    def __init__(self, tokenize):
        self.tokenize, self.kinds, self.table = tokenize, {}, _Table(self.kind)

    def kind(self, character):
        """dropped, space, alone (a word of its own) or inside (a part of words)."""
        if character not in self.kinds:
            words = tuple(self.tokenize(f"a{character}a"))
            kinds = {("aa",): "dropped", ("a", "a"): "space", ("a", character, "a"): "alone"}
            self.kinds[character] = kinds.get(words, "inside")
        return self.kinds[character]

    def words(self, text):
        """The words of a text: list of (word, whether white space or nothing is before it)."""
        found = []
        for chunk in text.translate(self.table).split(" "):
            parts = [part for part in chunk.split("\0") if part]
            found += [(part, place == 0) for place, part in enumerate(parts)]
        return found

    def count(self, texts):
        """How often each word occurs: Counter of what `words` gives."""
        found = collections.Counter()
        with progress_bar(texts, desc="words", unit="text") as bar:
            for text in bar:
                found.update(self.words(text))
        return found


class _Table(dict):
    """For str.translate: NUL is where a word ends without white space."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def __missing__(self, code):
        character = chr(code)
        forms = {"dropped": "", "space": " ", "alone": f"\0{character}\0"}
        self[code] = forms.get(self.kind(character), character)
        return self[code]


class Pieces:
    """The source's pieces, and how it cuts a word.

    Args:
        source (data.e5_weights.SourceModel): with pieces, scores and the ids of its special ones.
    """

    def __init__(self, source):
        self.ids, special = {}, set(special_ids(source))
        for index, piece in enumerate(source.pieces):
            if index not in special:
                self.ids.setdefault(piece, index)
        self.scores, self.unknown = source.scores, source.unk
        # As in SentencePiece: worse than any piece.
        self.worst = min(self.scores) - 10
        self.space = self.scores[self.ids[WORD_START]] if WORD_START in self.ids else self.worst

    def row(self, text, starts):
        """The source's row for a part of a word, and its score.

        Args:
            text (str): the part, as it is in the texts.
            starts (bool): whether white space is before it.

        Returns:
            tuple[int, float] | None: None where no piece is like that.
        """
        for form in forms(text):
            if starts and (row := self.ids.get(WORD_START + form)) is not None:
                return row, self.scores[row]
            if (row := self.ids.get(form)) is not None:
                return row, self.scores[row] + (self.space if starts else 0)
        return None

    def cut(self, word, starts):
        """The parts of a word in the source's best cut (Viterbi): list of (part, row).

        A character that no piece has is a part of its own, with the row of <unk>.
        """
        longest = LONGEST_PIECE if unicodedata.is_normalized("NFKC", word) else LONGEST_FORM
        best = [(0.0, 0, 0)] + [None] * len(word)
        for end in range(1, len(word) + 1):
            for begin in range(max(0, end - longest), end):
                found = self.row(word[begin:end], starts and begin == 0)
                if found is None:
                    if end - begin > 1:
                        continue
                    found = self.unknown, self.worst
                score = best[begin][0] + found[1]
                if best[end] is None or score > best[end][0]:
                    best[end] = score, begin, found[0]
        parts, end = [], len(word)
        while end:
            _, begin, row = best[end]
            parts.append((word[begin:end], row))
            end = begin
        return parts[::-1]


def forms(text):
    """How the source may write a part of a text: as it is, and after NFKC."""
    normal = unicodedata.normalize("NFKC", text)
    return (text,) if normal == text else (text, normal)


def greedy(word, entries):
    """The entries of a word as WordPiece takes them, the longest each time: list[str]; None where it is [UNK]."""
    found, begin = [], 0
    if len(word) > LONGEST_WORD:
        return None
    while begin < len(word):
        before = "##" if begin else ""
        for end in range(min(len(word), begin + LONGEST_FORM), begin, -1):
            if before + word[begin:end] in entries:
                break
        else:
            return None
        found.append(before + word[begin:end])
        begin = end
    return found


# ------------------------------------------------------------------------------------------------------ what is in it


def character_row(character, pieces, starts):
    """The row that comes nearest to a character: of itself, its plain form (NFKC), or without case and marks; or None.

    Args:
        character (str): any.
        pieces (Pieces): of the source.
        starts (bool): whether it begins a word behind white space.
    """
    plain = "".join(part for part in unicodedata.normalize("NFD", character) if unicodedata.category(part) != "Mn")
    for form in (character, character.lower(), plain, plain.lower()):
        found = form and (pieces.row(form, starts) or pieces.row(form, True))
        if found:
            return found[0]
    return None


def scripts_of(counts):
    """The scripts that COMMON of the letters of some words are of, and ALWAYS.

    Args:
        counts (Counter): of words, as Cutter.count gives them.
    """
    letters = collections.Counter()
    for (word, _), count in counts.items():
        for character in word:
            letters[script_of(character)] += count
    letters.pop(None, None)
    return {*ALWAYS, *(name for name, count in letters.items() if count >= COMMON * letters.total())}


def base_entries(source, pieces, cutter, counts):
    """The entries that do not depend on how words are cut: those of the vocabulary without texts, and characters.

    Args:
        source (SourceModel), pieces (Pieces): of the source.
        cutter (Cutter): knows which characters are words of their own.
        counts (Counter): the words of the texts.

    Returns:
        tuple[dict[str, int], set[str], list[str]]: entries and rows; the vocabulary without texts; characters of
        the texts that no piece has, the most frequent first.
    """
    tokens, rows = build_vocab(source.pieces, special_ids(source))
    entries = dict(zip(SPECIAL_TOKENS, special_ids(source)))
    for token, row in zip(tokens, rows):
        part = token.removeprefix("##")
        # Parts of words whose row is a word's, or the other way round, would be taken where a better cut is.
        if len(part) == 1 or source.pieces[row] == (part if token.startswith("##") else WORD_START + part):
            entries.setdefault(token, row)
    for piece in source.pieces[:LAST_LATIN_PIECE]:
        word = piece[1:]
        if piece[:1] == WORD_START and word.isascii() and word.isalnum():
            entries.setdefault(word, pieces.ids[piece])
    seen = collections.Counter()
    for (word, _), count in counts.items():
        for character in word:
            seen[character] += count
    wanted = scripts_of(counts)
    blocks = [range(first, min(end, LAST_CHARACTER)) for first, end, script in script_blocks() if script in wanted]
    others = [chr(code) for block in blocks for code in block]
    every = dict.fromkeys([*(character for character, _ in seen.most_common()), *filter(is_assigned, others)])
    foreign = []
    for character in every:
        kind = cutter.kind(character)
        if kind in ("dropped", "space"):
            continue
        rows = [character_row(character, pieces, starts) for starts in (script_of(character) not in UNSPACED, False)]
        if None in rows:
            if character not in seen:
                continue
            foreign.append(character)
            rows = [pieces.unknown] * 2
        entries.setdefault(character, rows[0])
        if kind == "inside":
            entries.setdefault("##" + character, rows[1])
    return entries, set(tokens), foreign


def likely_pieces(source, cutter, counts):
    """Pieces of which words may be that the texts do not have: those of their characters and scripts.

    Args:
        source (SourceModel): its pieces are in the order of their frequency.
        cutter (Cutter): knows which characters are words of their own.
        counts (Counter): the words of the texts.

    Yields:
        tuple[str, int]: entry and row, the most frequent first.
    """
    scripts = scripts_of(counts) - set(ALWAYS)
    letters = {character for word, _ in counts for character in word}

    @functools.cache
    def is_likely(character):
        known = character in letters or script_of(character) in scripts
        return known and cutter.kind(character) == "inside"

    for row, piece in enumerate(source.pieces):
        word = piece.removeprefix(WORD_START)
        if len(word) > 1 and all(map(is_likely, word)):
            if word != piece or script_of(word[0]) in UNSPACED:
                yield word, row
            if word == piece:
                yield "##" + word, row


def is_assigned(character):
    return unicodedata.category(character) not in ("Cn", "Co", "Cs")


def some_texts(texts):
    """The texts, or so many of them, evenly spread, that they have MAX_CHARACTERS at most."""
    total = sum(map(len, texts))
    return texts[:: max(1, -(-total // MAX_CHARACTERS))]


def best_row(counts):
    """The row that occurs most, and of several the first: of Counter row -> occurrences."""
    return min(counts, key=lambda row: (-counts[row], row))


def drop_misleading(entries, cuts):
    """Take entries out that WordPiece takes more often in the wrong places than in the right ones.

    Args:
        entries (dict[str, int]): is changed; single characters stay.
        cuts (list[tuple[str, list[str], int]]): words, the source's cut as entries, and how often they occur.

    Returns:
        int: words, each as often as it occurs, that are cut otherwise than the source does.
    """
    for number in range(ROUNDS + 1):
        right, wrong, differing = collections.Counter(), collections.Counter(), 0
        for word, names, count in cuts:
            taken = greedy(word, entries)
            if taken == names:
                for name in taken:
                    right[name] += count
                continue
            differing += count
            if taken is not None:
                place = next(place for place, pair in enumerate(zip(taken, names)) if pair[0] != pair[1])
                for name in taken[:place]:
                    right[name] += count
                if len(taken[place]) > len(names[place]):
                    wrong[taken[place]] += count
        misleading = [name for name, count in wrong.items() if count > right[name]]
        if number == ROUNDS or not misleading:
            break
        for name in misleading:
            del entries[name]
    return differing


def own_vocabulary(source, texts, tokenize, max_vocab):
    """Choose the entries for some texts.

    Args:
        source (SourceModel): the weights.
        texts (list[str]): the texts.
        tokenize (Callable): see Cutter.
        max_vocab (int): entries at most.

    Returns:
        OwnVocabulary: the entries.

    Raises:
        UsageError: max_vocab is less than what every vocabulary has, or the texts have no words.
    """
    texts, cutter, pieces = some_texts(texts), Cutter(tokenize), Pieces(source)
    counts = cutter.count(texts)
    if not counts:
        raise UsageError("--texts: no letter, digit or sign in them; give files with texts")
    base, today, foreign = base_entries(source, pieces, cutter, counts)
    if len(base) > max_vocab:
        raise UsageError(
            f"--max_vocab {max_vocab}: the characters and frequent words alone are {len(base):,} entries; give more"
        )
    found = OwnVocabulary([], [], foreign=foreign, words=counts.total(), used=sum(map(len, texts)))
    cuts, wanted = [], collections.defaultdict(collections.Counter)
    with progress_bar(counts.items(), desc="pieces", unit="word") as bar:
        for (word, starts), count in bar:
            if len(word) > LONGEST_WORD:
                found.too_long += count
                continue
            parts = pieces.cut(word, starts)
            names = [f"{'##' * (place > 0)}{part}" for place, (part, _) in enumerate(parts)]
            for name, (_, row) in zip(names, parts):
                wanted[name][row] += count
            cuts.append((word, names, count))
    ordered = sorted(wanted, key=lambda name: (-wanted[name].total(), name))
    entries = dict(base)
    for name in wanted.keys() & base.keys() - today:
        # A word's first piece has another row behind white space than behind a sign: the more frequent one counts.
        entries[name] = best_row(wanted[name])
    new = [name for name in ordered if name not in base]
    chosen = new[: max_vocab - len(base)]
    found.over_bound = len(new) - len(chosen)
    entries.update((name, best_row(wanted[name])) for name in chosen)
    for name, row in likely_pieces(source, cutter, counts):
        if len(entries) >= max_vocab:
            break
        entries.setdefault(name, row)
    found.given_up = len(entries)
    found.differing = drop_misleading(entries, cuts)
    found.given_up -= len(entries)
    found.tokens = sorted(entries, key=lambda token: (token not in SPECIAL_TOKENS, entries[token], token))
    found.tokens[: len(SPECIAL_TOKENS)] = SPECIAL_TOKENS
    found.rows = [entries[token] for token in found.tokens]
    found.own = len(set(found.tokens) - today)
    return found
