"""The pictures of evaluate.py: the confusion matrix, calibration, and accuracy against the share answered."""

import numpy as np

from analysis.report import new_figure, show_legend, text_width
from core.calibration import BINS, reliability

BLUE, ORANGE, GREY = "#3b6ea8", "#e0883a", "#999999"

# Classes of the confusion matrix at most: those with the most mistakes.
MATRIX_CLASSES = 30


def most_mistaken(confusions, most):
    """The classes with the most mistakes, missed or wrongly given, in class order: list[int], at most `most`."""
    mistakes = confusions.true + confusions.predicted - 2 * confusions.right
    return sorted(np.argsort(-mistakes, kind="stable")[:most].tolist())


def plot_confusion(confusions, labels, words):
    """The confusion matrix of at most MATRIX_CLASSES: colours by the share of the true class, numbers in the cells."""
    classes = most_mistaken(confusions, MATRIX_CLASSES)
    matrix, names = confusions.matrix(classes), [labels[index] for index in classes]
    size = max(4.0, 0.42 * len(classes) + 1)
    margin = 0.1 + 0.075 * max(map(text_width, names))
    figure, axes = new_figure(size + margin, size + margin)
    shares = matrix / np.maximum(confusions.true[classes][:, None], 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(words["predicted"])
    axes.set_ylabel(words["true"])
    side = (margin + 0.35) / (size + margin)
    figure.subplots_adjust(left=side, bottom=side, right=0.99, top=0.99)
    return figure


def plot_reliability(evaluation, words):
    """Accuracy against confidence, served and with the temperature, and below it the samples of each bin.

    The diagonal is what they should be. The lower bars and their numbers are of the scores that are served.
    """
    figure, axes = new_figure(5, 5.2)
    bars = figure.add_subplot()
    bars.spines[["top", "right", "left"]].set_visible(False)
    axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
    lines = ((evaluation.confidence, BLUE, "served", 3), (evaluation.calibrated, ORANGE, "with_temperature", 2))
    for confidence, colour, name, order in lines:
        counts, mean, accuracy = reliability(confidence, evaluation.right)
        found = counts > 0
        points = 100 * mean[found], 100 * accuracy[found]
        style = {"color": colour, "markersize": 4, "linewidth": 1.2, "zorder": order, "clip_on": False}
        axes.plot(*points, "o-", label=words[name], **style)
    counts = reliability(evaluation.confidence, evaluation.right)[0]
    middles = (np.arange(BINS) + 0.5) * 100 / BINS
    bars.bar(middles, counts, 0.85 * 100 / BINS, color=BLUE)
    for middle, count in zip(middles, counts.tolist()):
        if count:
            bars.text(middle, count, f"{count:,}", ha="center", va="bottom", fontsize=7)
    for part in (axes, bars):
        part.set_xlim(-2, 102)
        part.set_xticks(range(0, 101, 20))
    axes.set_ylim(-2, 102)
    axes.set_ylabel(words["accuracy_axis"])
    bars.set_xlabel(words["confidence"])
    bars.set_ylabel(words["samples"])
    bars.set_yticks([])
    show_legend(axes)
    axes.set_position([0.13, 0.34, 0.84, 0.59])
    bars.set_position([0.13, 0.1, 0.84, 0.15])
    return figure


def plot_coverage(evaluation, words):
    """Accuracy on the answered samples against the share that is answered, with a point for each promise."""
    answered, right, _ = evaluation.curve
    figure, axes = new_figure(5, 4.2)
    axes.plot(100 * answered / answered[-1], 100 * right / answered, color=BLUE)
    for wanted, promise in evaluation.promises.items():
        if promise:
            place = 100 * promise.share, 100 * promise.accuracy
            axes.plot(*place, "o", color=ORANGE, markersize=5, clip_on=False, zorder=3)
            style = {"ha": "right", "va": "top", "fontsize": 8, "xytext": (-4, -4), "textcoords": "offset points"}
            axes.annotate(f"{wanted:.0%}", place, **style)
    axes.set_xlim(0, 101)
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100.5))
    axes.set_xlabel(words["coverage_x"])
    axes.set_ylabel(words["coverage_y"])
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.13, top=0.95)
    return figure


def plots(evaluation, words):
    """File name (without its end) -> figure."""
    return {
        "coverage": plot_coverage(evaluation, words),
        "reliability": plot_reliability(evaluation, words),
        "confusion_matrix": plot_confusion(evaluation.confusions, evaluation.labels, words),
    }
