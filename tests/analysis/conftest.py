"""Fixtures of the tests of analysis/."""

import pytest

from analysis.words import WordList, homonyms, synonyms


@pytest.fixture(scope="session")
def sources():
    """Kind -> word list."""
    return {"synonym": WordList(synonyms()), "homonym": WordList(homonyms())}
