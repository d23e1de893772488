"""analysis/monitor_page.py: what the page shows, beside what test_monitor.py sees."""

import argparse
from pathlib import Path

import numpy as np

from analysis.estimated_accuracy import Estimate
from analysis.monitor_page import page_parts
from analysis.monitoring import Outcome
from analysis.shift_tests import Shift
from analysis.traffic import Traffic


def test_figures_warnings_and_folded_labels():
    labels = [f"第{place}类" for place in range(50)]
    reference = Traffic("dev.txt", labels, np.linspace(0.1, 1, 50))
    log = Traffic("log.jsonl", labels[:25] * 2, np.linspace(0.1, 1, 50))
    log.left_out.update(unreadable=2, other_export=3000)
    shift = Shift("confidence", 0.0123, 0.25, (50, 50), 0.0246)
    estimate = Estimate(0.8125, (0.75, 0.875), 0.79, 955)
    outcome = Outcome([shift], 0.05, estimate, None, {"embedding": "no_embedding"}, ["confidence"])
    for lang, wanted in {
        "en": (
            "Alarm: confidence",
            "2 lines of the log cannot be read",
            "3,000 lines of the log are answers",
            "40 of 50",
        ),
        "zh": ("警报：置信度", "日志中有 2 行", "3,000 行", "50 个标签中差别最大的 40 个"),
    }.items():
        flags = argparse.Namespace(lang=lang, report_dir=Path("out"))
        page = "\n".join(page_parts(outcome, reference, log, [], flags))
        for part in (*wanted, "81.25 %", "75.00", "87.50", "79.00 %", "955", "0.0246", "0.0123", "0.250"):
            assert part in page, (lang, part)
        assert page.count("<svg") == 1 and ("may be some points off" in page or "可能差几个点" in page)
    outcome.alarms = ["vocabulary"]
    flags = argparse.Namespace(lang="en", report_dir=Path("out"))
    assert "probably too high" in "\n".join(page_parts(outcome, reference, log, [], flags))
