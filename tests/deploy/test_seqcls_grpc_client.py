"""seqcls_grpc_client.py without a server; with one, in test_triton.py."""

import pytest

from deploy.triton_serving import seqcls_grpc_client as client
from tests.deploy.running import TRITON_SERVING, run_light
from utils import UsageError


def test_the_client_without_a_server(capsys):
    with pytest.raises(UsageError, match="127.0.0.1:9: the model seqcls is not ready there"):
        client.main(["--url", "127.0.0.1:9", "--timeout", "2"])
    for flags in (["--batch_size", "0"], ["--timeout", "0"], ["--file", "x", "--texts", "y"]):
        with pytest.raises(SystemExit):
            client.main(flags)


def test_help_is_shown_at_once():
    code, shown, _ = run_light(TRITON_SERVING / "seqcls_grpc_client.py", "--help")
    assert code == 0 and "--wait" in shown
