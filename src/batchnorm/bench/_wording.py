"""Tables of a benchmark as words, the same for the terminal and for the page."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from batchnorm.bench._measurements import Benchmark, Memory, StepTimes
from batchnorm.bench._ratios import RatioTable, step_ratios, tables

_ABSENT = "none"
_MEGA = 1e6


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are words.

    Args:
        title: what it shows.
        columns: their heads.
        rows: the cells.
        summaries: how many of the last rows sum up the others.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    summaries: int = 0


def machine_line(record: Benchmark) -> str:
    """Return the machine in one line."""
    facts = record.machine
    return (
        f"{facts['processor']}, {facts['threads']} threads; torch {facts['torch']}, batchnorm "
        f"{facts['batchnorm']} ({facts['backend']} backend). Ratio: time of the peer over ours in "
        "the same round, median; below 1 we lose."
    )


def grids(record: Benchmark) -> tuple[TextTable, ...]:
    """Return the tables of times, of memory and of the training step, those with rows."""
    found = (*map(times, tables(record)), *memory(record), steps(record))
    return tuple(grid for grid in found if grid.rows)


def times(table: RatioTable) -> TextTable:
    """Return a table of times."""
    columns = ("case", "ours ms", "p10-p90", *table.peers, "GB/s", "of copy")
    rows = [
        (
            row.case,
            milliseconds(row.milliseconds),
            f"{milliseconds(row.low)}-{milliseconds(row.high)}",
            *(ratio(row.ratios.get(peer)) for peer in table.peers),
            f"{row.gigabytes:.1f}",
            f"{row.share:.0%}",
        )
        for row in table.rows
    ]
    for name, found in (("geom. mean", table.means), ("minimum", table.least)):
        rows.append((name, "", "", *(ratio(found[peer]) for peer in table.peers), "", ""))
    return TextTable(table.title, columns, tuple(rows), summaries=2)


def memory(record: Benchmark) -> tuple[TextTable, ...]:
    """Return the tables of memory: at its peak, and kept between forward and backward."""
    if not record.memory:
        return ()
    names = tuple(dict.fromkeys(name for found in record.memory for name in found.peak))
    return tuple(
        TextTable(
            title,
            ("case", "input MB", *names),
            tuple(_memory_row(found, getattr(found, which), names) for found in record.memory),
        )
        for title, which in (
            ("Peak memory of forward and backward, times the input", "peak"),
            ("Memory kept from forward to backward, times the input", "kept"),
        )
    )


def _memory_row(found: Memory, sizes: Mapping[str, int], names: tuple[str, ...]) -> tuple[str, ...]:
    place = f"{found.group} {found.case} {found.dtype} {found.layout}"
    cells = (f"{sizes[n] / found.tensor_bytes:.2f}" if n in sizes else _ABSENT for n in names)
    return (place, megabytes(found.tensor_bytes), *cells)


def steps(record: Benchmark) -> TextTable:
    """Return the table of training steps."""
    return TextTable(
        "Training step of a network shaped like ResNet-50",
        ("layout and variant", "ms", "p10-p90", "x torch", "losses of first steps"),
        tuple(row for step in record.steps for row in _step_rows(step)),
    )


def _step_rows(step: StepTimes) -> list[tuple[str, ...]]:
    faster = step_ratios(step)
    rows: list[tuple[str, ...]] = []
    for name, seconds in step.seconds.items():
        low, middle, high = (milliseconds(v * 1e3) for v in np.percentile(seconds, (10, 50, 90)))
        losses = " ".join(f"{loss:.4f}" for loss in step.losses[name])
        cells = (middle, f"{low}-{high}", ratio(faster.get(name)), losses)
        rows.append((f"{step.layout}, {name}", *cells))
    return rows


def skipped(record: Benchmark) -> tuple[str, ...]:
    """Return a line for each reason for which something was left out."""
    lines = []
    for skip in record.skips:
        count = len(skip.where)
        place = f" ({count} times, first at {skip.where[0]})" if count else ""
        lines.append(f"{skip.provider}{place}: {skip.reason}")
    return tuple(lines)


def ratio(value: float | None) -> str:
    """Return a ratio, or "none".

    Example:
        >>> ratio(0.98765), ratio(12.345), ratio(None)
        ('0.99', '12.3', 'none')
    """
    if value is None:
        return _ABSENT
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"  # noqa: PLR2004 -- three digits do


def milliseconds(value: float) -> str:
    """Return milliseconds with three digits.

    Example:
        >>> milliseconds(0.0123456), milliseconds(1.23456), milliseconds(123.456)
        ('0.0123', '1.23', '123')
    """
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"  # noqa: PLR2004


def megabytes(size: int) -> str:
    """Return a size in MB.

    Example:
        >>> megabytes(25_690_112), megabytes(1024)
        ('25.7', '0.001')
    """
    value = size / _MEGA
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
