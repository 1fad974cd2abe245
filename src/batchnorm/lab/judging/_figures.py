"""Figures and tables as data: curves, points, bars, grids; nothing is drawn yet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis of a figure.

    Args:
        title: its label.
        log: whether it is logarithmic.
        percent: whether the values are shares.
    """

    title: str
    log: bool = False
    percent: bool = False


STEPS = Axis("Training steps (logarithmic)", log=True)
ACCURACY = Axis("Test accuracy", percent=True)


@dataclass(frozen=True)
class Curve:
    """A median with a band; `arm` decides the colour."""

    arm: str
    label: str
    x: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dashed: bool = False


@dataclass(frozen=True)
class Curves:
    """Curves in one plot, with horizontal lines at the marks."""

    title: str
    caption: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panels:
    """Bands side by side, on one scale, with the names of lower edge, middle and upper edge."""

    title: str
    caption: str
    x: Axis
    y: Axis
    panels: tuple[Curve, ...]
    names: tuple[str, str, str] = ("15th percentile", "median", "85th percentile")


@dataclass(frozen=True)
class Point:
    """A value of an arm with its interval; infinity where censored."""

    arm: str
    label: str
    group: str
    value: float
    low: float
    high: float
    text: str
    note: str = ""


@dataclass(frozen=True)
class Points:
    """Values with their intervals, in groups under each other.

    Args:
        title: what a reader calls it.
        caption: how to read it.
        axis: what the values are.
        points: row by row, group by group.
        limit: where a value that is censored is drawn, or `None` where none can be.
        marks: vertical lines, such as at the value of no effect.
    """

    title: str
    caption: str
    axis: Axis
    points: tuple[Point, ...]
    limit: float | None = None
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Grid:
    """One value for every row and column of an arm, with what to write in it."""

    arm: str
    label: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grids:
    """A grid for each arm, in one colour scale from 0 to 1."""

    title: str
    caption: str
    row_title: str
    column_title: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Bars:
    """Values of the arms as bars with their intervals, in groups beside each other.

    Args:
        title: what a reader calls it.
        caption: how to read it.
        axis: what the values are.
        bars: group by group.
        zoomed: whether the axis leaves out what no bar differs in; the caption has to say so.
    """

    title: str
    caption: str
    axis: Axis
    bars: tuple[Point, ...]
    zoomed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Figure = Curves | Panels | Points | Grids | Bars | Table
