"""deploy/annotation/flags.py: what annotate.py hands on is what server.py reads."""

import pytest

from data import annotate
from deploy.annotation import server
from deploy.annotation.flags import MODEL_FLAGS, add_model_flags, min_accuracy_problems


class Names:
    """A parser that notes the flags which it is given."""

    def __init__(self):
        self.names = []

    def add_argument(self, name, **_):
        self.names.append(name.removeprefix("--"))


def test_the_names_are_those_of_the_flags():
    parser = Names()
    add_model_flags(parser)
    assert sorted(parser.names) == sorted(MODEL_FLAGS)


def test_the_server_gets_what_annotate_was_given(tmp_path):
    given = (
        f"--data_dir {tmp_path} --encoder own --retrain_every 7 --min_accuracy 0.25 --strategy margin "
        "--max_seq_length 33 --seed 5 --model_port 9191"
    )
    flags = annotate.parse_flags(given.split())
    handed_on = server.parse_flags(annotate.make_model(flags).command[2:])
    assert handed_on.port == 9191 and handed_on.work_dir == flags.work_dir
    assert all(getattr(handed_on, name) == getattr(flags, name) for name in MODEL_FLAGS)


@pytest.mark.parametrize("value, problems", [("0", 0), ("1", 0), ("1.01", 1), ("nan", 1)])
def test_an_accuracy_is_a_share(value, problems):
    class Flags:
        min_accuracy = float(value)

    assert len(min_accuracy_problems(Flags)) == problems
