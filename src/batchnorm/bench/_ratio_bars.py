"""Bars of ratios on a logarithmic axis that starts at 1: to the right we win."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from batchnorm.bench import _wording
from batchnorm.bench._ratios import RatioTable

Ticks = tuple[tuple[str, float], ...]
_STEPS = (1, 2, 5)  # within a power of ten
# In pixels, of the narrowest page that is drawn: a window of 360.
LETTER, GAP, NARROWEST = 7.0, 6.0, 112.0


@dataclass(frozen=True)
class Bar:
    """One ratio.

    Args:
        name: of whom.
        left: where the bar begins, in percent of the axis.
        width: how long it is.
        value: the ratio in words.
        loses: whether it is below 1.
    """

    name: str
    left: float
    width: float
    value: str
    loses: bool


@dataclass(frozen=True)
class CaseBars:
    """The bars of one case.

    Args:
        label: the case.
        bars: one for each peer.
        sums_up: whether it sums up other lines.
    """

    label: str
    bars: tuple[Bar, ...]
    sums_up: bool = False


@dataclass(frozen=True)
class BarChart:
    """Lines on one axis.

    Args:
        title: what is shown.
        lines: from top to bottom.
    """

    title: str
    lines: tuple[CaseBars, ...]


class RatioAxis:
    """A logarithmic axis that holds the given ratios, and 1/2 to 2 at least.

    Args:
        ratios: what it has to hold.

    Example:
        >>> axis = RatioAxis([0.7, 3.0])
        >>> [tick for tick, _ in axis.ticks]
        ['0.5', '1', '2', '5']
        >>> axis.bar("torch", 0.5)
        Bar(name='torch', left=0.0, width=30.1, value='0.50', loses=True)
    """

    def __init__(self, ratios: Iterable[float]) -> None:
        known = [0.5, 2.0, *ratios]
        powers = range(math.floor(math.log10(min(known))), math.ceil(math.log10(max(known))) + 1)
        round_ones = [float(f"{step}e{power}") for power in powers for step in _STEPS]
        low = max(tick for tick in round_ones if tick <= min(known))
        high = min(tick for tick in round_ones if tick >= max(known))
        self._low, self._span = math.log(low), math.log(high) - math.log(low)
        inside = [tick for tick in round_ones if low <= tick <= high]
        self.ticks = next(ticks for ticks in self._thinned(inside, powers) if _stand_apart(ticks))
        self.one = self.place(1.0)

    def _thinned(self, ticks: list[float], powers: range) -> Iterator[Ticks]:
        """Yield all ticks, then powers of ten, then every second one, every third, ... and 1."""
        yield tuple((f"{tick:g}", self.place(tick)) for tick in ticks)
        for every in range(1, len(powers) + 1):
            kept = [float(f"1e{power}") for power in powers if power % every == 0]
            yield tuple((f"{tick:g}", self.place(tick)) for tick in kept if tick in ticks)
        yield (("1", self.place(1.0)),)

    def place(self, ratio: float) -> float:
        """Return where a ratio lies, in percent."""
        return round(100 * (math.log(ratio) - self._low) / self._span, 2)

    def bar(self, name: str, ratio: float) -> Bar:
        """Return the bar from 1 to a ratio."""
        ends = sorted((self.one, self.place(ratio)))
        return Bar(name, ends[0], round(ends[1] - ends[0], 2), _wording.ratio(ratio), ratio < 1)

    def line(self, label: str, ratios: Mapping[str, float], *, sums_up: bool = False) -> CaseBars:
        """Return the bars of a case."""
        bars = tuple(self.bar(name, ratio) for name, ratio in ratios.items())
        return CaseBars(label, bars, sums_up)


def _stand_apart(ticks: Ticks) -> bool:
    """Return whether no two labels touch where the axis is at its shortest."""
    ends = [(place * NARROWEST / 100, (LETTER * len(label) + GAP) / 2) for label, place in ticks]
    return all(
        right - half_right >= left + half_left
        for (left, half_left), (right, half_right) in pairwise(ends)
    )


def of_table(table: RatioTable, axis: RatioAxis) -> BarChart:
    """Return a chart with the cases of a table and their geometric mean."""
    lines = [axis.line(row.case, row.ratios) for row in table.rows]
    return BarChart(table.direction, (*lines, axis.line("geom. mean", table.means, sums_up=True)))


def overview(tables: Iterable[RatioTable], axis: RatioAxis) -> tuple[BarChart, ...]:
    """Return a chart for each direction, with the geometric means of its tables."""
    charts: dict[str, list[CaseBars]] = {}
    for table in tables:
        label = f"{table.group} · {table.dtype} · {table.layout}"
        charts.setdefault(table.direction, []).append(axis.line(label, table.means))
    return tuple(BarChart(direction, tuple(lines)) for direction, lines in charts.items())
