"""Medians and bootstrap intervals over seeds, which count censored trials as such.

A trial that did not reach the target within its steps is censored: all that is known is that it
needs more steps than it had. It counts as infinity in a median. A ratio that involves one is known
only to lie between two bounds, and its interval covers both.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchnorm.lab.judging._estimates import Difference, Level, Median, Offset, Ratio

RESAMPLES, CONFIDENCE, _SEED = 10_000, 0.95, 20150211

Values = NDArray[np.float64]


def median(values: ArrayLike) -> Median:
    """Return the median over seeds with its percentile-bootstrap interval.

    Args:
        values: one value for each seed; infinity where censored.

    Example:
        >>> median([4.0, 5.0, float("inf")])
        Median(value=5.0, low=4.0, high=inf, seeds=3, censored=1)
    """
    data = np.asarray(values, np.float64)
    low, high = _interval(_medians(data[_resample(len(data))]))
    censored = int(np.isinf(data).sum())
    return Median(float(np.median(data)), low, high, len(data), censored)


def level(values: ArrayLike) -> Level:
    """Return the median of a share over seeds with its interval.

    Args:
        values: one value for each seed, such as an accuracy.
    """
    found = median(values)
    return Level(found.value, found.low, found.high)


def ratio(numerator: ArrayLike, denominator: ArrayLike, limit: float = math.inf) -> Ratio:
    """Return the ratio of two medians over the same seeds.

    The bootstrap draws seeds, and takes both values of each: the arms share the initial weights
    and the order of the examples, so the pairs are what is independent.

    Args:
        numerator: one value for each seed; infinity where censored.
        denominator: the same for the other arm.
        limit: steps that a censored trial had.
    """
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    draws = _resample(len(above))
    least, most = _bounds(_medians(above[draws]), _medians(below[draws]), limit)
    at_least, at_most = _bounds(_medians(above[None]), _medians(below[None]), limit)
    return Ratio(float(at_least[0]), float(at_most[0]), _interval(least)[0], _interval(most)[1])


def difference(first: ArrayLike, second: ArrayLike) -> Difference:
    """Return the mean of ``first - second`` over the same seeds with its interval.

    Args:
        first: one finite value for each seed.
        second: the same for the other arm.
    """
    return Difference(*_mean_difference(first, second))


def offset(first: ArrayLike, second: ArrayLike) -> Offset:
    """Return the same of plain numbers, which are not shares of a hundred.

    Args:
        first: one finite value for each seed.
        second: the same for the other arm.
    """
    return Offset(*_mean_difference(first, second))


def _mean_difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    data = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    low, high = _interval(data[_resample(len(data))].mean(axis=1))
    return float(data.mean()), low, high


def _resample(seeds: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SEED).integers(seeds, size=(RESAMPLES, seeds))


def _medians(rows: Values) -> Values:
    """Return the median of each row; a row half of which is infinite has an infinite one."""
    ordered = np.sort(rows, axis=1)
    count = rows.shape[1]
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2


def _bounds(above: Values, below: Values, limit: float) -> tuple[Values, Values]:
    with np.errstate(invalid="ignore", divide="ignore"):
        least = np.where(np.isinf(below), 0.0, np.minimum(above, limit) / below)
        most = np.where(np.isinf(above), np.inf, above / np.minimum(below, limit))
    return least, most


def _interval(values: Values) -> tuple[float, float]:
    """Return the central 95 % by order statistics: infinities cannot be averaged."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    below = math.floor(last * (1 - CONFIDENCE) / 2)
    return float(ordered[below]), float(ordered[last - below])
