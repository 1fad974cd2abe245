"""Ratios of times: tables of medians over rounds, of ratios within a round."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from batchnorm.bench import _traffic
from batchnorm.bench._measurements import Benchmark, Measurement, StepTimes
from batchnorm.bench._providers import COPY, OURS, PROVIDERS

LOW, HIGH = 10, 90


@dataclass(frozen=True)
class RatioRow:
    """One case.

    Args:
        case: its name.
        milliseconds: median of ours.
        low: tenth percentile of ours over the rounds.
        high: ninetieth percentile.
        ratios: for each peer, the median over the rounds of its time over ours in that round.
        gigabytes: minimal bytes a second of ours, in 1e9.
        share: ours' bytes a second over those of a copy of the same size.
    """

    case: str
    milliseconds: float
    low: float
    high: float
    ratios: Mapping[str, float]
    gigabytes: float
    share: float


@dataclass(frozen=True)
class RatioTable:
    """The cases of a group in one dtype, memory format and direction.

    Args:
        group: the group.
        level: ``module`` or ``operator``.
        dtype: of the input.
        layout: of the input.
        direction: what was timed.
        peers: those that at least one row has.
        rows: the cases.
        means: for each peer the geometric mean of its ratios.
        least: for each peer the smallest ratio.
    """

    group: str
    level: str
    dtype: str
    layout: str
    direction: str
    peers: tuple[str, ...]
    rows: tuple[RatioRow, ...]
    means: Mapping[str, float]
    least: Mapping[str, float]

    @property
    def title(self) -> str:
        """What was timed, in words."""
        return f"{self.group}, {self.direction}, {self.dtype}, {self.layout}, {self.level} level"


def tables(record: Benchmark) -> tuple[RatioTable, ...]:
    """Return the tables of a record, in the order of its measurements."""
    order: dict[tuple[str, ...], int] = {}
    for found in record.measurements:
        order.setdefault(_key(found), len(order))
    ordered = sorted(record.measurements, key=lambda found: order[_key(found)])
    return tuple(_table(key, tuple(group)) for key, group in groupby(ordered, _key))


def _key(found: Measurement) -> tuple[str, ...]:
    return found.group, found.level, found.dtype, found.layout, found.direction


def _table(key: tuple[str, ...], measurements: tuple[Measurement, ...]) -> RatioTable:
    rows = tuple(map(row, measurements))
    peers = tuple(peer for peer in PROVIDERS if any(peer in r.ratios for r in rows))
    columns = {peer: [r.ratios[peer] for r in rows if peer in r.ratios] for peer in peers}
    group, level, dtype, layout, direction = key
    return RatioTable(
        group,
        level,
        dtype,
        layout,
        direction,
        peers,
        rows,
        {peer: geometric_mean(column) for peer, column in columns.items()},
        {peer: min(column) for peer, column in columns.items()},
    )


def row(found: Measurement) -> RatioRow:
    """Return the row of a measurement.

    Example:
        >>> times = {"ours": (1.0, 2.0, 1.0), "torch": (3.0, 4.0, 5.0), "copy": (1.0, 1.0, 1.0)}
        >>> shape = ("sites", "a", (4,), "module", "float32", "contiguous", "forward")
        >>> row(Measurement(*shape, tensor_bytes=8, minimal_bytes=16, seconds=times)).ratios
        {'torch': 3.0}
    """
    ours = found.seconds[OURS]
    low, middle, high = (float(np.percentile(ours, at)) for at in (LOW, 50, HIGH))
    peers = [name for name in found.seconds if name not in (OURS, COPY)]
    moved = found.minimal_bytes / _traffic.copy_bytes(found.tensor_bytes)
    return RatioRow(
        found.case,
        middle * 1e3,
        low * 1e3,
        high * 1e3,
        {peer: ratio(found.seconds[peer], ours) for peer in peers},
        found.minimal_bytes / middle / 1e9,
        moved * ratio(found.seconds[COPY], ours),
    )


def ratio(peer: tuple[float, ...], ours: tuple[float, ...]) -> float:
    """Return the median over the rounds of the peer's time over ours in the same round.

    Example:
        >>> ratio((2.0, 30.0, 4.0), (1.0, 10.0, 4.0))
        2.0
    """
    return float(np.median(np.asarray(peer) / np.asarray(ours)))


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean.

    Example:
        >>> geometric_mean([0.5, 2.0])
        1.0
    """
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def step_ratios(step: StepTimes) -> dict[str, float]:
    """Return how many times faster than torch's each other variant of a step is."""
    base = step.seconds["torch"]
    return {name: ratio(base, times) for name, times in step.seconds.items() if name != "torch"}
