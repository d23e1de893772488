"""Fixtures of the tests of analysis/."""

import socket

import numpy as np
import pytest

from analysis.words import WordList, homonyms, synonyms


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """Pages are in English, whatever this machine's locale is."""
    monkeypatch.setenv("LC_ALL", "C")


@pytest.fixture
def no_network(monkeypatch):
    """A connection is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def sources():
    """Kind -> word list."""
    return {"synonym": WordList(synonyms()), "homonym": WordList(homonyms())}


@pytest.fixture
def loaded(trained_once):
    """(flags, explainer, cases) of the trained tiny model and three texts."""
    from analysis.attribution import load  # needs paddle
    from analysis.word_flags import parse_flags, read_input
    from tests.analysis.planted import word_flags

    flags = parse_flags(word_flags(*trained_once, "--interpret_num", 3))
    return flags, *load(flags, *read_input(flags))


@pytest.fixture
def planted(loaded, sample_lines):
    """(flags, explainer, cases, word weights a case): texts with MARKER somewhere, which alone decides."""
    from analysis.explainer import Explainer
    from tests.analysis.planted import MARKER, Planted

    flags, explainer, _ = loaded
    vocabulary = explainer.classifier.tokenizer.vocab.token_to_idx
    weights = np.random.RandomState(1).uniform(-0.1, 0.1, len(vocabulary))
    weights[[vocabulary[token] for token in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]] = 0
    weights[[vocabulary[character] for character in MARKER]] = 1, 0.8
    model = Planted(weights)
    explainer.classifier.model, explainer.classifier.head = model, model.head
    explainer = Explainer(explainer.classifier)
    texts = [line.split("\t")[0] for line in sample_lines["dev"]]
    texts = [f"{text[:6]}，{MARKER}，{text[6:12]}" for text in texts if not set(MARKER) & set(text)][:8]
    cases = explainer.make_cases([(1, text, "") for text in texts])
    truth = [case.word_scores(weights[case.feature["input_ids"]]) for case in cases]
    assert all(case.words.count(MARKER) == 1 and case.class_id == 0 for case in cases)
    flags.samples = 300
    return flags, explainer, cases, truth
