"""data/conversion.py: memory does not grow with the file."""

import subprocess
import sys

import pytest

from tests.data import zoo
from tests.helpers import ROOT

CODE = """
import resource, sys
from data import convert
convert.main(["--input_file", sys.argv[1], "--save_dir", sys.argv[2], "--splits", "1", "0"])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_flat(tmp_path):
    """More rows may take what is kept of each: numbers, no texts."""
    peaks = []
    for size in (100_000, 550_000):
        path = tmp_path / f"{size}.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("text,label\n")
            file.writelines(
                f"第{number * 7919}条新的消息受到大家的关注和喜欢,{zoo.NAMES[number % 3]}\n" for number in range(size)
            )
        command = [sys.executable, "-c", CODE, str(path), str(tmp_path / str(size))]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        peaks.append(int(result.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 450_000 * 80 / 1024, peaks
