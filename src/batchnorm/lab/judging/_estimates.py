"""Effect sizes with their 95 % intervals: as data, and in the words of a report."""

import math
from dataclasses import dataclass
from typing import Protocol

from batchnorm._pages import number

_MANY, _HUGE = 1_000, 1e6


class Estimate(Protocol):
    """The size of an effect with its 95 % interval."""

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


@dataclass(frozen=True)
class Median:
    """A median over seeds.

    Args:
        value: the median; infinity when it is censored.
        low: lower end of its 95 % interval.
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
    """A ratio of two medians, known exactly or between bounds.

    Args:
        least: smallest value that the medians allow.
        most: largest value that they allow; differs from `least` where one is censored.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    least: float
    most: float
    low: float
    high: float
    neutral = 1.0
    log = True

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
        top = "no upper limit" if math.isinf(self.high) else f"{_digits(self.high)}x"
        middle = _bounded(self.least, self.most)
        return f"{middle} (95 % interval {_digits(self.low)}x to {top})"

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
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float
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


@dataclass(frozen=True)
class Difference(_Known):
    """A mean difference of two shares over the seeds, shown in percentage points."""

    def __str__(self) -> str:
        ends = f"{_points(self.low)} to {_points(self.high)}"
        return f"{_points(self.value)} points (95 % interval {ends})"

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
        return f"{self.value:.2g} (95 % interval {self.low:.2g} to {self.high:.2g})"

    @property
    def brief(self) -> str:
        """The difference and its interval in the few signs that a table has room for."""
        return f"{self.value:.2g} [{self.low:.2g}, {self.high:.2g}]"

    def bound(self, value: float) -> str:
        """Return a bound as a number."""
        return f"{value:g}"


@dataclass(frozen=True)
class Level(_Known):
    """A median share over the seeds, such as an accuracy."""

    def __str__(self) -> str:
        return f"{self.value:.0%} (95 % interval {self.low:.0%} to {self.high:.0%})"

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


def _points(share: float) -> str:
    value = round(100 * share, 9) + 0.0  # rounding errors of a mean are none, and -0 is 0
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"  # noqa: PLR2004


def _digits(value: float) -> str:
    if math.isinf(value):
        return "∞"
    if value >= _HUGE:  # from there on, digits are hard to count
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.3g}" if value < _MANY else f"{value:,.0f}"
