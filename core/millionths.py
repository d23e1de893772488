"""Probabilities in millionths: how servers write them, and how they are compared with what they have to reach.

What is told with six decimals then decides as it is written: 0.8 is reached by 0.7999996, which is told as 0.8.
"""

import numpy as np


def millionths(probabilities):
    """Probabilities as servers round them: float64 of whole numbers."""
    return np.rint(np.asarray(probabilities) * 1e6)


def reaches(probabilities, least):
    """Whether probabilities are what is asked for, or more: bool, in the shape of both.

    Args:
        probabilities: float, of any shape.
        least: float, one or of that shape: a threshold, from 0 to 1, which need be no whole number of millionths;
            infinity is reached by none.
    """
    return millionths(probabilities) >= np.asarray(least) * 1e6 - 1e-3  # a rounding error of 1e6 times a threshold
