"""Intervals over seeds: Student's t, exact ones of shares, order statistics of medians.

A trial that did not reach the target within its steps is censored: all that is known is that it
needs more steps than it had. It counts as infinity in a median. A ratio that involves one is known
only to lie between two bounds, and its interval covers both.

Seeds that are all equal do not prove that the next one is: n of them allow with 95 % that another
one differs in a share of up to ``1 - 0.025^(1/n)``, and it then differs by a step of what is
measured at least. No interval of a mean is narrower than this share of a step to either side.

References:
    Clopper and Pearson (1934) for shares; Student (1908) for means.
"""

import math
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchnorm._pages import require
from batchnorm.lab.judging._estimates import (
    CONFIDENCE,
    Difference,
    Level,
    Median,
    Offset,
    Ratio,
)

IMAGE = 1 / 450  # a test image of the smallest task: an accuracy is known to a step of it
DIGIT = 0.01  # a number that is not counted is read to a hundredth of it

Values = NDArray[np.float64]
_Found = TypeVar("_Found", Difference, Offset, Level)


def median(values: ArrayLike) -> Median:
    """Return the median over seeds, with the range of order statistics that covers it.

    Five seeds are the fewest whose whole range covers the median with 93.75 %; see `coverage`.

    Args:
        values: one value for each seed; infinity where censored.

    Example:
        >>> median([4.0, 5.0, float("inf")])
        Median(value=5.0, low=4.0, high=inf, seeds=3, censored=1)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    count, below = len(ordered), _left_out(len(ordered))
    low, high = float(ordered[below]), float(ordered[count - 1 - below])
    middle = float(ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Median(middle, low, high, count, int(np.isinf(ordered).sum()))


def coverage(seeds: int) -> float:
    """Return how often the interval of a median over so many seeds holds it, at least.

    Example:
        >>> coverage(5), round(coverage(10), 3)
        (0.9375, 0.979)
    """
    return float(1 - 2 * _tails(seeds)[_left_out(seeds)])


def _left_out(seeds: int) -> int:
    """Return how many values may be left out at either end of a median's interval."""
    return max(int((1 - 2 * _tails(seeds) >= CONFIDENCE).sum()) - 1, 0)


@cache
def _tails(seeds: int) -> Values:
    """Return the chance that at most 0, 1, 2, ... seeds fall on one side of the median."""
    require("judging a run", "scipy")
    from scipy.special import bdtr

    return np.asarray(bdtr(np.arange(seeds), seeds, 0.5), np.float64)


def share(hits: Iterable[bool], confidence: float = CONFIDENCE) -> Level:
    """Return the share of seeds with a property, with its exact interval.

    Args:
        hits: whether each seed has it.
        confidence: how often the interval holds the share.

    Example:
        >>> str(share([True] * 5))
        '100% (95 % interval 48% to 100%)'
    """
    found = [bool(hit) for hit in hits]
    low, high = _exact(sum(found), len(found), confidence)
    value = sum(found) / len(found)
    return Level(value, low, high, confidence, partial(share, found))


def share_difference(
    first: Iterable[bool], second: Iterable[bool], confidence: float = CONFIDENCE
) -> Difference:
    """Return how many more of the seeds have a property in one arm, with its exact interval.

    A seed in which the arms differ is a vote for one of them; where they agree, it is half a vote
    for each. The share of votes has the interval of Clopper and Pearson.

    Args:
        first: whether each seed has it in the first arm.
        second: the same of the other arm.
        confidence: how often the interval holds the difference.

    Example:
        >>> str(share_difference([True] * 10, [False] * 10))
        '100 points (95 % interval 38 to 100)'
    """
    ours, theirs = [bool(hit) for hit in first], [bool(hit) for hit in second]
    seeds, lead = len(ours), sum(ours) - sum(theirs)
    low, high = (2 * end - 1 for end in _exact((seeds + lead) / 2, seeds, confidence))
    again = partial(share_difference, ours, theirs)
    return Difference(lead / seeds, low, high, confidence, again)


def level(values: ArrayLike, *, step: float = IMAGE, confidence: float = CONFIDENCE) -> Level:
    """Return the mean of a share over seeds with its interval.

    Args:
        values: one value for each seed, such as an accuracy.
        step: the smallest difference that a measurement can have.
        confidence: how often the interval holds the mean.
    """
    data = np.asarray(values, np.float64)
    return _mean(Level, data, step, (0.0, 1.0), confidence)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    step: float = IMAGE,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Return the mean of ``first - second`` of shares over the same seeds with its interval.

    Args:
        first: one finite value for each seed.
        second: the same for the other arm.
        step: the smallest difference that a measurement can have.
        confidence: how often the interval holds the difference.
    """
    data = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return _mean(Difference, data, step, (-1.0, 1.0), confidence)


def offset(first: ArrayLike, second: ArrayLike, *, confidence: float = CONFIDENCE) -> Offset:
    """Return the same of plain numbers, which are not shares of a hundred.

    Args:
        first: one finite value for each seed.
        second: the same for the other arm.
        confidence: how often the interval holds the difference.
    """
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    largest = float(np.abs([ours, theirs]).max())
    endless = (-math.inf, math.inf)
    return _mean(Offset, ours - theirs, DIGIT * (largest or 1.0), endless, confidence)


def ratio(
    numerator: ArrayLike,
    denominator: ArrayLike,
    limit: float = math.inf,
    *,
    step: float = math.log1p(DIGIT),
    confidence: float = CONFIDENCE,
) -> Ratio:
    """Return the geometric mean of the ratios seed by seed.

    The arms share the initial weights and the order of the examples, so the pairs are what is
    independent. A censored value is at least its limit: the lower end comes from ratios that are
    no larger than the true ones, the upper end from ratios that are no smaller.

    Args:
        numerator: one value for each seed, not negative; infinity where censored.
        denominator: the same for the other arm.
        limit: steps that a censored trial had; infinity where a number overflowed, which then
            counts as the largest that was seen.
        step: the smallest difference of the logarithms that a measurement can have.
        confidence: how often the interval holds the ratio.
    """
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    least = _log_ratios(above, below, limit)
    most = -_log_ratios(below, above, limit)
    half = partial(_half_width, step=step, confidence=confidence)
    return Ratio(
        least=_exp(least.mean()),
        most=_exp(most.mean()),
        low=_exp(least.mean() - half(least)),
        high=_exp(most.mean() + half(most)),
        confidence=confidence,
        again=partial(_ratio_again, above, below, limit, step),
    )


def _ratio_again(
    above: Values, below: Values, limit: float, step: float, confidence: float
) -> Ratio:
    return ratio(above, below, limit, step=step, confidence=confidence)


def _log_ratios(above: Values, below: Values, limit: float) -> Values:
    """Return the logarithm of the least that each ratio can be."""
    floor = _smallest(below)
    with np.errstate(divide="ignore"):
        tops: Values = np.log(np.minimum(above, _largest(above, limit)))
        return tops - np.log(np.maximum(below, floor))


def _largest(values: Values, limit: float) -> float:
    """Return what an infinite value is at least."""
    if math.isfinite(limit):
        return limit
    return float(max(values[np.isfinite(values)], default=sys.float_info.max))


def _smallest(values: Values) -> float:
    """Return what a value of 0 is at most."""
    return float(min(values[values > 0], default=sys.float_info.min))


def _exp(value: float) -> float:
    return math.inf if value > math.log(sys.float_info.max) else math.exp(value)


def _mean(
    kind: Callable[..., _Found],
    data: Values,
    step: float,
    ends: tuple[float, float],
    confidence: float,
) -> _Found:
    value, half = float(data.mean()), _half_width(data, step, confidence)
    low, high = max(value - half, ends[0]), min(value + half, ends[1])
    again = partial(_mean, kind, data, step, ends)
    return kind(value, low, high, confidence, again)


def _half_width(data: Values, step: float, confidence: float) -> float:
    """Return half the width of the interval of a mean; one seed alone has none."""
    count, tail = len(data), (1 - confidence) / 2
    if count == 1 or not np.isfinite(data).all():
        return math.inf
    error = float(data.std(ddof=1)) / math.sqrt(count)
    other = 1 - float(tail ** (1 / count))
    return max(_student(count - 1, 1 - tail) * error, step * other)


@cache
def _student(freedom: int, share: float) -> float:
    """Return a quantile of Student's distribution."""
    require("judging a run", "scipy")
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


@cache
def _exact(hits: float, seeds: int, confidence: float) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson of a share; halves of a hit are allowed."""
    require("judging a run", "scipy")
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, seeds - hits + 1, tail))
    high = 1.0 if hits >= seeds else float(betaincinv(hits + 1, seeds - hits, 1 - tail))
    return low, high
