"""How suspicious a sample's label is to the trained model, which has seen the sample."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from analysis.classifier import Classifier
from utils import UsageError

# Inverse strength of the regularisation for representer points; of 0.001 to 1 it found most (README).
REPRESENTER_C = 0.01


def suspicion_of_model(flags, labels, texts, ids):
    """Suspicion by --method representer_points or loss, and the probabilities that it comes from.

    Args:
        flags: those of dirty.py.
        labels (list[str]): in class order.
        texts (list[str]): the samples.
        ids (np.ndarray): int [n], their class ids.

    Returns:
        tuple[np.ndarray, np.ndarray]: float64 [n] and [n, classes].

    Raises:
        UsageError: see Classifier and representer_points.
    """
    classifier = Classifier(flags, labels)
    if flags.method == "representer_points":
        features = classifier.run(texts, "training texts")[1]
        return representer_points(features, ids, len(labels))
    probabilities = classifier.probabilities(texts, "training texts")
    return 1 - probabilities[np.arange(len(ids)), ids], probabilities


def representer_points(features, ids, num_classes):
    """Suspicion by representer weights, and the probabilities of the refitted last layer.

    With L2 regularisation the last layer is a sum over the training samples, each weighted by minus the gradient of
    its loss with respect to its logits, up to a constant: for its own label 1 - p(label).

    Args:
        features (np.ndarray): float [n, hidden], what the classifier layer sees.
        ids (np.ndarray): int [n].
        num_classes (int): classes in all.

    Returns:
        tuple[np.ndarray, np.ndarray]: float64 [n] and [n, num_classes].
    """
    if len(np.unique(ids)) < 2:
        raise UsageError("all samples have one label; nothing can be told from them")
    model = LogisticRegression(C=REPRESENTER_C, max_iter=5000).fit(features, ids)
    probabilities = np.zeros((len(ids), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return 1 - probabilities[np.arange(len(ids)), ids], probabilities
