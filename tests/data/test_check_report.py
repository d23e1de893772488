"""data/check_report.py: the page in a real browser."""

from tests.data.folders import TEXT, add_lines, run


def test_html_in_a_browser(data_dir, tmp_path, rendered):
    add_lines(
        data_dir, "train", f"{TEXT}<script>document.title='x'</script>", f"{TEXT}\t就医建议", f"{TEXT}\t医疗费用"
    )
    page = tmp_path / "report.html"
    assert run("--dataset_dir", data_dir, "--html", page) == 1
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2 and "<script" not in text and "src=" not in text and 'href="http' not in text
    dom = rendered(page)
    for wanted in ("病情诊断", "--max_length 128", "conflict (1)", "no_tab (1)", "train.txt:51"):
        assert wanted in dom
    assert "<title>Data check" in dom


def test_html_of_a_folder_without_samples(tmp_path):
    (tmp_path / "data").mkdir()
    assert run("--dataset_dir", tmp_path / "data", "--html", tmp_path / "report.html") == 1
    assert "3 errors" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_says_which_way_to_go(data_dir, tmp_path):
    assert run("--dataset_dir", data_dir, "--html", tmp_path / "report.html") == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Which way to go</h2>" in page and f"few-shot/setfit.py --data_dir {data_dir}" in page
    (data_dir / "dev.txt").unlink()
    assert run("--dataset_dir", data_dir, "--html", tmp_path / "report.html") == 1
    assert "Which way to go" not in (tmp_path / "report.html").read_text(encoding="utf-8")
