"""Medians and bootstrap intervals over seeds, honest about trials that never reached a target.

A trial that did not reach the target within its steps is censored: all that is known is that it
needs more steps than it had. It counts as infinity in a median. A ratio that involves one is known
only to lie between two bounds, and its interval covers both.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES, CONFIDENCE, _SEED = 10_000, 0.95, 20150211

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Median:
    """A median over seeds.

    Args:
        value: The median; infinity when it is censored.
        low: Lower end of its 95 % interval.
        high: Upper end; infinity when it is censored.
        seeds: Number of seeds.
        censored: How many of them are censored.
    """

    value: float
    low: float
    high: float
    seeds: int
    censored: int


class Estimate(Protocol):
    """How large an effect is, and how sure that is."""

    @property
    def neutral(self) -> float:
        """The value of no effect."""

    @property
    def least(self) -> float:
        """Smallest value that the trials allow."""

    @property
    def most(self) -> float:
        """Largest value; differs from ``least`` where something is censored."""

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""

    @property
    def high(self) -> float:
        """Upper end."""

    @property
    def determined(self) -> bool:
        """Whether the trials say anything about it."""

    @property
    def brief(self) -> str:
        """The value and its interval in the few signs that a table has room for."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians, known exactly or between bounds.

    Args:
        least: Smallest value that the medians allow.
        most: Largest value that they allow; differs from ``least`` where one is censored.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    least: float
    most: float
    low: float
    high: float
    neutral = 1.0

    @property
    def determined(self) -> bool:
        """Whether at least one of the two medians is known."""
        return self.least > 0 or math.isfinite(self.most)

    @property
    def above_one(self) -> bool:
        """Whether the whole interval lies above 1."""
        return self.low > 1

    @property
    def below_one(self) -> bool:
        """Whether the whole interval lies below 1."""
        return self.high < 1

    def __str__(self) -> str:
        return f"{_bounded(self.least, self.most)} (95 % interval {_span(self.low, self.high)})"

    @property
    def brief(self) -> str:
        """The ratio and its interval in the few signs that a table has room for."""
        middle = _bounded(self.least, self.most).replace("more than", ">").replace("less than", "<")
        top = "∞" if math.isinf(self.high) else _digits(self.high)
        return f"{middle} [{_digits(self.low)}, {top}]"


@dataclass(frozen=True)
class Difference:
    """A mean difference of two shares over the seeds, in points of a hundred.

    Args:
        value: The difference, as a share.
        low: Lower end of its 95 % interval.
        high: Upper end.
        seeds: Number of seeds.
    """

    value: float
    low: float
    high: float
    seeds: int
    neutral = 0.0
    determined = True

    @property
    def least(self) -> float:
        """The value: nothing is censored in it."""
        return self.value

    @property
    def most(self) -> float:
        """The value: nothing is censored in it."""
        return self.value

    def __str__(self) -> str:
        return (
            f"{_points(self.value)} points (95 % interval {_points(self.low)} to "
            f"{_points(self.high)})"
        )

    @property
    def brief(self) -> str:
        """The difference and its interval in the few signs that a table has room for."""
        return f"{_points(self.value)} [{_points(self.low)}, {_points(self.high)}]"


@dataclass(frozen=True)
class Extreme:
    """The largest, or the smallest, of numbers that chance plays no part in.

    Args:
        value: The number.
        count: How many instances it is the extreme of.
        neutral: The value of no effect.
        word: Which extreme.
    """

    value: float
    count: int
    neutral: float = 0.0
    word: str = "largest"
    determined = True

    @property
    def least(self) -> float:
        """The value."""
        return self.value

    @property
    def most(self) -> float:
        """The value."""
        return self.value

    @property
    def low(self) -> float:
        """The value: there is no interval."""
        return self.value

    @property
    def high(self) -> float:
        """The value: there is no interval."""
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.2g} ({self.word} of {self.count} instances)"

    @property
    def brief(self) -> str:
        """The number alone."""
        return f"{self.value:.2g}"


def median(values: ArrayLike) -> Median:
    """Return the median over seeds with its percentile-bootstrap interval.

    Args:
        values: One value for each seed; infinity where censored.

    Example:
        >>> median([4.0, 5.0, float("inf")])
        Median(value=5.0, low=4.0, high=inf, seeds=3, censored=1)
    """
    data = np.asarray(values, np.float64)
    low, high = _interval(_medians(data[_resample(len(data))]))
    censored = int(np.isinf(data).sum())
    return Median(float(np.median(data)), low, high, len(data), censored)


def ratio(numerator: ArrayLike, denominator: ArrayLike, limit: float = math.inf) -> Ratio:
    """Return the ratio of two medians over the same seeds.

    The bootstrap draws seeds, and takes both values of each: the arms share the initial weights
    and the order of the examples, so the pairs are what is independent.

    Args:
        numerator: One value for each seed; infinity where censored.
        denominator: The same for the other arm.
        limit: Steps that a censored trial had.
    """
    above, below = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    draws = _resample(len(above))
    least, most = _bounds(_medians(above[draws]), _medians(below[draws]), limit)
    at_least, at_most = _bounds(_medians(above[None]), _medians(below[None]), limit)
    return Ratio(float(at_least[0]), float(at_most[0]), _interval(least)[0], _interval(most)[1])


def difference(first: ArrayLike, second: ArrayLike) -> Difference:
    """Return the mean of ``first - second`` over the same seeds with its interval.

    Args:
        first: One finite value for each seed.
        second: The same for the other arm.
    """
    data = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    low, high = _interval(data[_resample(len(data))].mean(axis=1))
    return Difference(float(data.mean()), low, high, len(data))


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


def _bounded(least: float, most: float) -> str:
    if least == most:
        return f"{_digits(least)}x"
    if least == 0 and math.isinf(most):
        return "not determined"
    if math.isinf(most):
        return f"more than {_digits(least)}x"
    return f"less than {_digits(most)}x" if least == 0 else f"{_digits(least)}x to {_digits(most)}x"


def _span(low: float, high: float) -> str:
    top = "no upper limit" if math.isinf(high) else f"{_digits(high)}x"
    return f"{_digits(low)}x to {top}"


def _points(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"  # noqa: PLR2004


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004
