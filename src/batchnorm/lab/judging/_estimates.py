"""Effect sizes with their intervals: as data, and in the words of a report."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Self

from batchnorm._pages import number

CONFIDENCE = 0.95
_MANY, _HUGE = 1_000, 1e6


class Estimate(Protocol):
    """The size of an effect with its interval."""

    @property
    def neutral(self) -> float:
        """The value of no effect."""

    @property
    def log(self) -> bool:
        """Whether a logarithmic scale suits it."""

    @property
    def least(self) -> float:
        """Smallest value that the trials allow."""

    @property
    def most(self) -> float:
        """Largest value; differs from `least` where something is censored."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end."""

    @property
    def determined(self) -> bool:
        """Whether the trials say anything about it."""

    @property
    def brief(self) -> str:
        """The value and its interval in the few signs that a table has room for."""

    def bound(self, value: float) -> str:
        """Return a bound on it in its unit."""

    def at(self, confidence: float) -> "Estimate":
        """Return the same with an interval that holds it so often."""


@dataclass(frozen=True)
class Median:
    """A median over seeds.

    Args:
        value: the median; infinity when it is censored.
        low: lower end of its interval.
        high: upper end; infinity when it is censored.
        seeds: number of seeds.
        censored: how many of them are censored.
    """

    value: float
    low: float
    high: float
    seeds: int
    censored: int


@dataclass(frozen=True)
class Ratio:
    """A ratio over the seeds, known exactly or between bounds.

    Args:
        least: smallest value that the trials allow.
        most: largest value that they allow; differs from `least` where one is censored.
        low: lower end of the interval.
        high: upper end.
        confidence: how often the interval holds it.
        again: makes the same with another confidence.
    """

    least: float
    most: float
    low: float
    high: float
    confidence: float = CONFIDENCE
    again: Callable[[float], "Ratio"] | None = field(default=None, compare=False, repr=False)
    neutral = 1.0
    log = True

    @property
    def determined(self) -> bool:
        """Whether it is known from one side at least."""
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
        top = "no upper limit" if math.isinf(self.high) else f"{_digits(self.high)}x"
        middle = _bounded(self.least, self.most)
        return f"{middle} ({_level(self.confidence)} interval {_digits(self.low)}x to {top})"

    def at(self, confidence: float) -> "Ratio":
        """Return the same with another confidence, where the seeds are known."""
        return self if self.again is None else self.again(confidence)

    @property
    def brief(self) -> str:
        """The ratio and its interval in the few signs that a table has room for."""
        middle = _bounded(self.least, self.most).replace("more than", ">").replace("less than", "<")
        top = "∞" if math.isinf(self.high) else _digits(self.high)
        return f"{middle} [{_digits(self.low)}, {top}]"

    def bound(self, value: float) -> str:
        """Return a bound as a number."""
        return number(value)


@dataclass(frozen=True)
class _Known:
    """A value over the seeds in which nothing is censored.

    Args:
        value: the value, as a share.
        low: lower end of its interval.
        high: upper end.
        confidence: how often the interval holds it.
        again: makes the same with another confidence.
    """

    value: float
    low: float
    high: float
    confidence: float = CONFIDENCE
    again: Callable[[float], Self] | None = field(default=None, compare=False, repr=False)
    neutral = 0.0
    log = False
    determined = True

    @property
    def least(self) -> float:
        """The value."""
        return self.value

    @property
    def most(self) -> float:
        """The value."""
        return self.value

    def at(self, confidence: float) -> Self:
        """Return the same with another confidence, where the seeds are known."""
        return self if self.again is None else self.again(confidence)


@dataclass(frozen=True)
class Difference(_Known):
    """A mean difference of two shares over the seeds, shown in percentage points."""

    def __str__(self) -> str:
        ends = f"{_points(self.low)} to {_points(self.high)}"
        return f"{_points(self.value)} points ({_level(self.confidence)} interval {ends})"

    @property
    def brief(self) -> str:
        """The difference and its interval in the few signs that a table has room for."""
        return f"{_points(self.value)} [{_points(self.low)}, {_points(self.high)}]"

    def bound(self, value: float) -> str:
        """Return a bound in points."""
        return f"{_points(value)} points" if value else "0"


@dataclass(frozen=True)
class Offset(_Known):
    """A mean difference of two plain numbers over the seeds."""

    def __str__(self) -> str:
        ends = f"{self.low:.2g} to {self.high:.2g}"
        if math.isinf(self.high - self.low):
            ends = "without limit"
        return f"{self.value:.2g} ({_level(self.confidence)} interval {ends})"

    @property
    def brief(self) -> str:
        """The difference and its interval in the few signs that a table has room for."""
        low, high = (_unlimited(end) for end in (self.low, self.high))
        return f"{self.value:.2g} [{low}, {high}]"

    def bound(self, value: float) -> str:
        """Return a bound as a number."""
        return f"{value:g}"


@dataclass(frozen=True)
class Level(_Known):
    """A share: of the seeds, or the mean of one over them, such as an accuracy."""

    def __str__(self) -> str:
        ends = f"{self.low:.0%} to {self.high:.0%}"
        return f"{self.value:.0%} ({_level(self.confidence)} interval {ends})"

    @property
    def brief(self) -> str:
        """The share and its interval in the few signs that a table has room for."""
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"

    def bound(self, value: float) -> str:
        """Return a bound in per cent."""
        return f"{value:.0%}"


@dataclass(frozen=True)
class Extreme:
    """The largest of numbers that chance plays no part in: there is no interval.

    Args:
        value: the number.
        count: how many instances it is the largest of.
    """

    value: float
    count: int
    neutral = 0.0
    log = True
    determined = True

    @property
    def least(self) -> float:
        """The value."""
        return self.value

    most = low = high = least

    def at(self, confidence: float) -> "Extreme":  # noqa: ARG002 -- there is no interval
        """Return the same: it is certain."""
        return self

    def __str__(self) -> str:
        return f"{self.value:.2g} (largest of {self.count} instances)"

    @property
    def brief(self) -> str:
        """The number alone."""
        return f"{self.value:.2g}"

    def bound(self, value: float) -> str:
        """Return a bound as a number."""
        return number(value)


def _bounded(least: float, most: float) -> str:
    if least == most:
        return f"{_digits(least)}x"
    if least == 0 and math.isinf(most):
        return "not determined"
    if math.isinf(most):
        return f"more than {_digits(least)}x"
    return f"less than {_digits(most)}x" if least == 0 else f"{_digits(least)}x to {_digits(most)}x"


def _level(confidence: float) -> str:
    return f"{100 * confidence:.3g} %"


def _unlimited(end: float) -> str:
    sign = "-" if end < 0 else ""
    return f"{sign}∞" if math.isinf(end) else f"{end:.2g}"


def _points(share: float) -> str:
    value = round(100 * share, 9) + 0.0  # rounding errors of a mean are none, and -0 is 0
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"  # noqa: PLR2004


def _digits(value: float) -> str:
    if math.isinf(value):
        return "∞"
    if value >= _HUGE:  # from there on, digits are hard to count
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.3g}" if value < _MANY else f"{value:,.0f}"
