"""Which encoding a text file has when it is not UTF-8.

Each candidate is a small model of the language that is written in it: how likely its frequent characters, its other
ones and strange ones are. The bytes are most likely in the encoding whose language explains them best; where none
explains them better than noise, or two do so about equally well, nothing is guessed.
"""

import codecs
import collections
import dataclasses
import functools
import math
import re
from typing import Optional

# Bytes that are enough to tell an encoding.
ENCODING_SAMPLE = 1 << 16
# Of those, the lines that are not UTF-8: so many bytes of them are read in every encoding.
GUESSED_BYTES = 1 << 13

# Natural logarithms: a guess must be e^6 times as likely as noise and as the next one.
MARGIN = 6.0
# Costs of a byte of noise, of a character that is lost or means something in one font only, and of a strange one.
NOISE, LOST, STRANGE = math.log(128), 15.0, math.log(100_000)
# Most users write Chinese; and the language of the lines of a file that are UTF-8 is probably that of the others.
PRIORS = {"GB18030": 4.0, "BIG5": 1.0, "CP1252": 5.0}
SAME_LANGUAGE = 12.0
# What the neighbours of characters say, more likely below 0: accented letters stand in words, seldom side by side; a
# letter of another alphabet is seldom beside a Latin one; few Korean words have more than six syllables.
RARE = {
    "Latin": (
        (math.log(20), re.compile("(?<=[^\x00-\x7f’“”])[^\x00-\x7f’“”]")),
        (-1.5, re.compile("(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])")),
    ),
    "alphabet": ((math.log(20), re.compile("[A-Za-z](?=[^\x00-\x7f«»–—“”„’…])|[^\x00-\x7f«»–—“”„’…](?=[A-Za-z])")),),
    "Korean": ((1.5, re.compile("(?<=[가-힣]{6})[가-힣]")),),
}

FREQUENT_SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
    "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日者意无力它与长把"
    "机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应向头文体美相见被利什二等产或新己制身果加"
    "西月话合回特代内信表化老给位次度门任常先通教儿原东提立及比员解水名真处走各入几口认条平系气题活更别打女变四总"
    "何电数安少报才结反受目太量再感做接必场件计管期市直资指统区保至形社便空决治科五眼书非听白却放强难思完式色路记"
    "品住告类求据边死张该交规取望觉确观清切院让候带运吃药病怎痛医检查吗呢哪正常孩元费买快差评服务商价钱退货"
)
FREQUENT_TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然"
    "家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日者意無力它與長把"
    "機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應向頭文體美相見被利什二等產或新己制身果加"
    "西月話合回特代內信表化老給位次度門任常先通教兒原東提立及比員解水名真處走各入幾口認條平系氣題活更別打女變四總"
    "何電數安少報才結反受目太量再感做接必場件計管期市直資指統區保至形社便空決治科五眼書非聽白卻放強難思完式色路記"
    "品住告類求據邊死張該交規取望覺確觀清切院讓候帶運吃藥病怎痛醫檢查嗎呢哪孩元費買快差評服務商價錢退貨"
)
FREQUENT_HANGUL = (
    "이다는을가의에고지한로하기인나사자어시도아대스리서정그장수해전부제라일상원주만보구들조비과경공성여으은를면있없않것"
    "할했니까요세안된되게거우연유미트선동신방마개계분소모무실문화관못더데때말와같았던습합저내오생입러음당용행터명처적"
)
FULL_WIDTH = "，。？！、：；（）《》“”‘’…—·～％　「」『』【】" + "".join(map(chr, range(0xFF10, 0xFF1A)))


def _span(first, last):
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


def _level(codec, leads, trails):
    """The characters of a block of two-byte codes, which the standards sort by how common they are."""
    pairs = (bytes((lead, trail)).decode(codec, "ignore") for lead in leads for trail in trails)
    return "".join(pair for pair in pairs if len(pair) == 1)


def _alphabet(frequent, others, capitals, marks="«»–—“”„’…№°"):
    return ((0.75, frequent), (0.13, others), (0.1, capitals), (0.02, marks))


_JAPANESE = (
    (0.55, lambda: _span("ぁ", "ん")),
    (0.14, lambda: _span("ァ", "ヶ") + "ー"),
    (0.2, lambda: _level("cp932", range(0x88, 0x98), [*range(0x40, 0x7F), *range(0x80, 0xFD)])),
    (0.1, FULL_WIDTH),
)
_RUSSIAN = _alphabet("оеаинтсрвлкмдпу", "яыьгзбчйхжшюцщэфъё", _span("А", "Я") + "Ё")
_MARKS = "«»–—“”„‘’…°€§"


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """An encoding with a language that is written in it.

    Args:
        name (str): as iconv and Python know it.
        codec (str): Python's, with all that programs write under this name.
        language (str): key of SCRIPTS where text that is known can show it.
        classes (tuple): shares of a text, and the characters (or a function that gives them) that it is made of.
        kind (str | None): key of RARE.
    """

    name: str
    codec: str
    language: str
    classes: tuple
    kind: Optional[str] = None


CANDIDATES = (
    Candidate(
        "GB18030",
        "gb18030",
        "Chinese",
        (
            (0.5, FREQUENT_SIMPLIFIED),
            (0.33, lambda: _level("gbk", range(0xB0, 0xD8), range(0xA1, 0xFF))),
            (0.06, FREQUENT_TRADITIONAL),
            (0.08, FULL_WIDTH),
            (0.03, lambda: _span("一", "龥")),
        ),
    ),
    Candidate(
        "BIG5",
        "big5hkscs",
        "Chinese",
        (
            (0.5, FREQUENT_TRADITIONAL),
            (0.4, lambda: _level("big5", range(0xA4, 0xC7), [*range(0x40, 0x7F), *range(0xA1, 0xFF)])),
            (0.08, FULL_WIDTH),
            (0.01, lambda: _span("一", "龥")),
        ),
    ),
    Candidate("SHIFT_JIS", "cp932", "Japanese", _JAPANESE),
    Candidate("EUC-JP", "euc_jp", "Japanese", _JAPANESE),
    Candidate(
        "EUC-KR",
        "cp949",
        "Korean",
        (
            (0.6, FREQUENT_HANGUL),
            (0.35, lambda: _level("euc_kr", range(0xB0, 0xC9), range(0xA1, 0xFF))),
            (0.02, FULL_WIDTH),
        ),
        "Korean",
    ),
    Candidate("CP1251", "cp1251", "Russian", _RUSSIAN, "alphabet"),
    Candidate("ISO-8859-5", "iso8859_5", "Russian", _RUSSIAN, "alphabet"),
    Candidate("KOI8-R", "koi8_r", "Russian", _RUSSIAN, "alphabet"),
    Candidate("CP866", "cp866", "Russian", _RUSSIAN, "alphabet"),
    Candidate(
        "CP1253",
        "cp1253",
        "Greek",
        _alphabet("αοιετσνηυρπκμλς", "άέήίόύώθδγωχφβξζψ", _span("Α", "Ω")),
        "alphabet",
    ),
    Candidate("CP1255", "cp1255", "Hebrew", ((0.97, lambda: _span("א", "ת")),), "alphabet"),
    Candidate("CP1256", "cp1256", "Arabic", ((0.8, "اليونمترسعدبهفقكةأ"), (0.17, _span("ء", "ي") + "،؟")), "alphabet"),
    Candidate(
        "CP874",
        "cp874",
        "Thai",
        ((0.75, "านรกอเงยลมวทสตดคปบ่้ัีิ"), (0.23, _span("ก", "ฺ") + _span("เ", "๎"))),
        "alphabet",
    ),
    Candidate("CP1252", "cp1252", "English", ((0.7, "’“”‘–—…£"), (0.2, "éè€°½®™·•"), (0.09, "üöäñçáí¢§©")), "Latin"),
    Candidate("CP1252", "cp1252", "French", _alphabet("éèàêç", "ùâîôûëïüœæ", "ÉÈÀÇÊ", _MARKS), "Latin"),
    Candidate("CP1252", "cp1252", "German", _alphabet("üöäß", "éàè", "ÜÖÄ", _MARKS), "Latin"),
    Candidate("CP1252", "cp1252", "Spanish", _alphabet("ñáíóú", "éüçïàòè", "¿¡ÁÍÓÚÑ", _MARKS), "Latin"),
    Candidate("CP1252", "cp1252", "Portuguese", _alphabet("ãçáéíó", "õâêôúàü", "ÃÇÁÉÍÓÂÊ", _MARKS), "Latin"),
    Candidate("CP1252", "cp1252", "Nordic", _alphabet("åäöøæ", "éüþðýáíóú", "ÅÄÖØÆ", _MARKS), "Latin"),
    Candidate("CP1250", "cp1250", "Polish", _alphabet("ąęłóśżć", "ńź", "ŁŚŻÓĆ", _MARKS), "Latin"),
    Candidate("CP1250", "cp1250", "Czech", _alphabet("áíéěščřžýů", "úťďňôľäĺŕ", "ČŘŠŽÁÉÚ", _MARKS), "Latin"),
    Candidate("CP1250", "cp1250", "Hungarian", _alphabet("áéőöóü", "űúíăâîșţ", "ÁÉÖÓŐÜ", _MARKS), "Latin"),
    Candidate("CP1254", "cp1254", "Turkish", _alphabet("ışğçöü", "âîû", "İŞĞÇÖÜ", _MARKS), "Latin"),
)
NAMES = tuple(dict.fromkeys(candidate.name for candidate in CANDIDATES))
# Blocks of characters that tell the language of text that is known.
SCRIPTS = {
    "Japanese": re.compile("[ぁ-ヶ]"),
    "Korean": re.compile("[가-힣]"),
    "Russian": re.compile("[а-яА-Я]"),
    "Greek": re.compile("[α-ω]"),
    "Hebrew": re.compile("[א-ת]"),
    "Arabic": re.compile("[ء-ي]"),
    "Thai": re.compile("[ก-๛]"),
    "Chinese": re.compile("[一-龥]"),
}


class _Costs(dict):
    """Character -> minus the logarithm of its likelihood in a candidate's language; ASCII costs nothing."""

    def __init__(self, candidate):
        super().__init__()
        # Classes that come first win: a frequent character is not an ordinary one.
        for share, characters in reversed(candidate.classes):
            characters = set(characters() if callable(characters) else characters)
            self.update(dict.fromkeys(characters, -math.log(share / max(1, len(characters)))))
        self.update((chr(code), 0.0) for code in range(128))

    def __missing__(self, character):
        code = ord(character)
        is_lost = character == "\ufffd" or 0xE000 <= code <= 0xF8FF or 0x80 <= code < 0xA0 or code > 0xF0000
        cost = self[character] = LOST if is_lost else STRANGE
        return cost


_costs = functools.cache(_Costs)


def cost(text, candidate):
    """How strange a text is in a candidate's language: minus the logarithm of its likelihood, float."""
    total = sum(map(_costs(candidate).__getitem__, text))
    if candidate.kind:
        for weight, pattern in RARE[candidate.kind]:
            total += weight * len(pattern.findall(text))
    return total


def least_cost(text):
    """The cost of a text in the language that explains it best."""
    return min(cost(text, candidate) for candidate in CANDIDATES)


def is_noise(text, data, name):
    """Whether a text that was decoded from `data` is stranger in the encoding's languages than noise would be."""
    return min(cost(text, one) for one in CANDIDATES if one.name == name) > NOISE * high_bytes(data)


def is_damaged_utf8(data):
    """Whether bytes are text in UTF-8 of which some were lost."""
    text = data.decode("utf-8", "replace")
    return NOISE * high_bytes(data) - least_cost(text) >= MARGIN


def high_bytes(data):
    """How many bytes are not ASCII, those counted that may be the second half of a character, too."""
    return len(data) - len(data.translate(None, bytes(range(128, 256))))


def likely_encodings(data, context=None):
    """The encodings that bytes which are neither UTF-8 nor UTF-16 are most likely in.

    Args:
        data (bytes): some lines of a file; those that are UTF-8 do not count.
        context (str | None): text of the same file that could be read, whose language is probably that of the
            data; None: the lines of the data that are UTF-8.

    Returns:
        list[str]: one name where the bytes tell it, two where they fit both about as well, none where they are
        noise, or UTF-8 with some bytes damaged.
    """
    data, good_lines = _sorted_lines(data)
    if not data:
        return []
    return list(_likely(data, language_of(good_lines if context is None else context)))


@functools.lru_cache(maxsize=256)
def _likely(data, language):
    """likely_encodings of some lines that are not UTF-8; a file is read more than once, and this takes time."""
    high = high_bytes(data)
    damaged = data.decode("utf-8", "replace")
    gain = NOISE * high - least_cost(damaged)
    found = [(gain, gain, None, damaged)]
    for candidate in CANDIDATES:
        text = data.decode(candidate.codec, "replace")
        # ASCII bytes that became second halves of characters cost noise and alphabets something, too.
        halves = len(data) - high - sum(map(str.isascii, text))
        noise = NOISE * high + math.log(96) * halves
        prior = PRIORS.get(candidate.name, 0) + SAME_LANGUAGE * (candidate.language == language)
        gain = noise - cost(text, candidate)
        found.append((gain + prior, gain, candidate.name, text))
    (best, gain, name, text), *others = sorted(found, key=lambda row: -row[0])
    # What the bytes themselves say must be more than noise.
    if name is None or gain <= 0 or best < MARGIN / 2:
        return ()
    second, _, other, _ = next(row for row in others if row[2] and row[3] != text)
    is_clear = best >= MARGIN and best - max(second, found[0][0]) >= MARGIN
    return (name,) if is_clear else (name, other)


def _sorted_lines(data):
    """The lines of some bytes that are not UTF-8, up to GUESSED_BYTES, and the text of those that are."""
    kept, good, size = [], [], 0
    for line in re.split(rb"[\r\n]+", data):
        try:
            good.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            kept.append(line)
            size += len(line)
            if size > GUESSED_BYTES:
                break
    # Cut where no character ends in any encoding: a single long line's last character may be halved.
    return b"\n".join(kept) if len(kept) != 1 else kept[0][: 2 * GUESSED_BYTES], "\n".join(good)


def language_of(text):
    """The language, of those of SCRIPTS, whose characters are most of a text's; None without any of them."""
    counts = collections.Counter({name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()})
    counts["Japanese"] *= 3  # a third or more of a Japanese text are not Chinese characters
    [(name, count)] = counts.most_common(1)
    return name if count else None


def guess_encoding(data, context=None):
    """The encoding of bytes that are neither UTF-8 nor UTF-16, as iconv and Python name it; None if unclear."""
    names = likely_encodings(data, context)
    return names[0] if len(names) == 1 else None


def shown_name(name):
    """An encoding's name as Chinese users know it."""
    return "GBK (GB18030)" if name == "GB18030" else name


def codec_of(name):
    """Python's codec for an encoding's name; None where there is none."""
    known = {candidate.name: candidate.codec for candidate in CANDIDATES}
    try:
        return codecs.lookup(known.get(name.upper(), name)).name
    except LookupError:
        return None


def describe_encoding(path, data, position):
    """The message for bytes that are not UTF-8: the line of `position`, the byte, and what the file may be instead."""
    utf16 = utf16_variant(data)
    if utf16:
        return f"{path}:1: the file is {utf16}, not UTF-8; save it as UTF-8 (iconv -f {utf16} -t UTF-8)"
    before = data[:position].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    line = before.count(b"\n") + 1
    start = position - (len(before) - before.rfind(b"\n") - 1)
    names = likely_encodings(data[max(0, start - ENCODING_SAMPLE) : start + ENCODING_SAMPLE])
    if len(names) == 2:
        first, second = names
        hint = f"it is {shown_name(first)} or {shown_name(second)}; look at it, then convert it: iconv -f "
        hint += f"{first} -t UTF-8, or -f {second}"
    elif names:
        name = "GBK" if names[0] == "GB18030" else names[0]
        hint = f"it looks like {name}; convert it: iconv -f {names[0]} -t UTF-8"
    else:
        hint = "save it as UTF-8"
    return f"{path}:{line}: byte 0x{data[position]:02X} is not UTF-8; {hint}"


def utf16_variant(data):
    """UTF-16, UTF-16LE, UTF-16BE or UTF-32 where a file begins like one of these, by its mark or its line ends."""
    head = data[:ENCODING_SAMPLE]
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "UTF-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    for name, after, before in (("UTF-16LE", b"\0", b""), ("UTF-16BE", b"", b"\0")):
        wide = sum(head.count(before + mark + after) for mark in (b"\n", b"\r", b"\t"))
        if wide > sum(head.count(mark) for mark in (b"\n", b"\r", b"\t")) / 2:
            return name
    return None
