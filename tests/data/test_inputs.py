"""data/inputs.py: check.py on tables."""

from data import check
from tests.data import zoo
from tests.data.folders import rows_of, run


def test_a_table(tmp_path, capsys):
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *zoo.SAMPLES]), "gbk")
    assert run("--train_path", path) == 0
    out = capsys.readouterr().out
    assert (
        f"{path}: 60 samples" in out and f"next: python data/convert.py --input_file {path} --save_dir my_data" in out
    )


def test_rows_have_the_numbers_of_the_table(tmp_path):
    rows = [
        ["text", "label"],
        [zoo.SAMPLES[0][0] + "\n第二行", "体育"],
        *zoo.SAMPLES,
        ["没有标签", ""],
        zoo.SAMPLES[3],
    ]
    path = zoo.write(tmp_path / "a.csv", zoo.table(rows))
    options = {"paths": {"train": path}}
    assert rows_of(None, "row", **options) == [(str(path), 64, "no label")]
    assert rows_of(None, "duplicate", **options) == [(str(path), 65, "same as line 7")]
    assert check.check_folder(None, **options).findings.number_of("error") == 1
