"""Fixtures of the tests of deploy/."""

import pytest

from tests.helpers import load_script


@pytest.fixture(scope="session")
def simple_server(trained_once):
    """deploy/simple_serving/server.py as a module; its own app serves trained_once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVING_MODELS", str(trained_once[1] / "export"))
        return load_script("deploy/simple_serving/server.py")
