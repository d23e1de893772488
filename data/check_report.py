"""The HTML page that `check.py --html FILE` writes: plots, numbers and findings in one file without outside parts."""

from analysis.report import escape, new_figure, show_legend, table, text_width, to_svg, write_page
from data.advice import advise

COLOURS = {"train.txt": "#3b6ea8", "dev.txt": "#e0883a", "test.txt": "#5a9e6f", "data.txt": "#8a8a8a"}


def plot_labels(summary):
    """Horizontal bars: each label's share of each file."""
    files = {name: file for name, file in summary["files"].items() if file.get("labels")}
    labels = summary["labels"]
    height = 0.8 / max(1, len(files))
    left = min(3.5, 0.4 + 0.085 * max(map(text_width, labels)))
    figure, axes = new_figure(6 + left, 1 + 0.2 * len(labels) * (1 + len(files) * 0.5))
    for index, (name, file) in enumerate(files.items()):
        places = [row + (index - (len(files) - 1) / 2) * height for row in range(len(labels))]
        shares = [100 * file["labels"].get(label, 0) / file["samples"] for label in labels]
        axes.barh(places, shares, height, color=COLOURS[name], label=name)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("share of the file's samples, %")
    show_legend(axes)
    inches = figure.get_figheight()
    figure.subplots_adjust(left=left / (6 + left), right=0.98, bottom=0.5 / inches, top=1 - 0.35 / inches)
    return to_svg(figure)


def plot_lengths(summary):
    """Tokens a text, a line a file, with --max_length marked; the last bin holds all longer texts."""
    figure, axes = new_figure(8, 3)
    for name, file in summary["files"].items():
        if "token_histogram" in file:
            width, counts = file["token_histogram"]["bin_width"], file["token_histogram"]["counts"]
            edges = [width * index for index in range(len(counts) + 1)]
            shares = [100 * count / file["samples"] for count in counts]
            axes.stairs(shares, edges, color=COLOURS[name], label=name, linewidth=1.5)
    axes.axvline(summary["max_length"], color="#b3261e", linestyle="--", linewidth=1)
    longest = max([axes.get_xlim()[1], 1.05 * summary["max_length"]])
    side, gap = ("right", -1) if summary["max_length"] > longest / 2 else ("left", 1)
    place, top = summary["max_length"] + gap * longest / 150, axes.get_ylim()[1]
    style = {"color": "#b3261e", "va": "top", "ha": side, "fontsize": 9}
    axes.text(place, top, f"--max_length {summary['max_length']}", **style)
    axes.set_xlim(0, longest)
    axes.set_xlabel(f"tokens a text ({summary['tokens']})")
    axes.set_ylabel("share of the file's samples, %")
    show_legend(axes)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.17, top=0.88)
    return to_svg(figure)


def file_rows(summary):
    for name, file in summary["files"].items():
        tokens = file.get("tokens", {})
        share = f"{tokens['over_max_length'] / file['samples']:.2%}" if tokens else ""
        yield [name, file["lines"], file["samples"], *(tokens.get(key) for key in ("mean", "p95", "max")), share]


def finding_section(finding):
    """One kind of finding: folded, with its rows inside."""
    rows = [
        [row["file"] + (f":{row['line']}" if row["line"] else ""), row["message"], row["text"], row["other_text"]]
        for row in finding["rows"]
    ]
    columns = 4 if any(row[3] for row in rows) else 3
    rest = finding["count"] - len(rows)
    severity = finding["severity"]
    heading = f"{finding['kind']} ({finding['count']:,}): {escape(finding['meaning'])}"
    parts = [
        "<details open>" if severity == "error" else "<details>",
        f'<summary><span class="{severity}">{severity}</span> {heading}</summary>',
        table(["place", "what", "text", "compared with"][:columns], [row[:columns] for row in rows]),
        f"<p>and {rest:,} more, not listed</p>" if rest else "",
        "</details>",
    ]
    return "".join(parts)


def advice_section(summary):
    """Which way to go with data without errors: a heading and a table; empty where there are some."""
    advice = advise(summary)
    if advice is None:
        return ""
    rows = [["this data", advice["here"]], ["measured, %", advice["measured"]]]
    rows += [["not measured", text] for text in advice["outside"]] + [["note", text] for text in advice["notes"]]
    rows += [["first, once", text] for text in advice["first"]] + [["run", text] for text in advice["commands"]]
    return f"<h2>Which way to go</h2><p>{escape(advice['said'])}</p>" + table(["", ""], rows)


def write_html(summary, path):
    """Write the page.

    Args:
        summary (dict): Check.summary().
        path (Path): the file; one that is there is replaced.

    Raises:
        UsageError: it cannot be written.
    """
    verdict = f'<span class="error">{summary["errors"]:,} errors</span>: train.py will refuse this data'
    if not summary["errors"]:
        verdict = '<span class="ok">no errors</span>'
    has_samples = any(file["samples"] for file in summary["files"].values())
    header = ["file", "lines", "samples", "tokens, mean", "95 %", "longest", "over --max_length"]
    counts = [
        [label, *(file.get("labels", {}).get(label) for name, file in summary["files"].items() if name != "data.txt")]
        for label in summary["labels"]
    ]
    names = [name for name in summary["files"] if name != "data.txt"]
    parts = [
        f"<p>{verdict}; {summary['warnings']:,} warnings.</p>",
        table(header, file_rows(summary), numbers=range(1, 7)),
        advice_section(summary),
        "<h2>Findings</h2>",
        *map(finding_section, summary["findings"]),
    ]
    if has_samples and summary["labels"]:
        numbers = table(["label", *names], counts, numbers=range(1, 4))
        parts += ["<h2>Labels</h2>", plot_labels(summary)]
        parts += ["<details><summary>numbers</summary>", numbers, "</details>"]
        parts += ["<h2>Length of the texts</h2>", plot_lengths(summary)]
    write_page(path, f"Data check: {summary['dataset_dir']}", parts)
