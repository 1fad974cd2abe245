"""Thumbnails: a study's figure as a small picture without words."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from batchnorm._pages import _svg
from batchnorm._pages._palette import token
from batchnorm._pages._svg import Element, Place
from batchnorm.lab.judging._figures import (
    Axis,
    Bars,
    Curve,
    Curves,
    Figure,
    Grid,
    Grids,
    Panels,
    Point,
    Points,
    Table,
)
from batchnorm.lab.report._plot_scale import PlotScale

WIDTH, HEIGHT, _EDGE = 240.0, 128.0, 5.0
_FEW = 12  # so many points were chosen, and are not a course in time
Kind = Callable[[str], str]


def thumbnail(figure: Figure, arms: Sequence[str]) -> str:
    """Return a small picture of a figure; nothing for a table.

    Args:
        figure: what to draw.
        arms: names of all arms in the order of the study, which decides their colours.
    """
    drawing = _svg.drawing(WIDTH, HEIGHT, _words(figure), "thumbnail")

    def kind(arm: str) -> str:
        return style(arm, arms)

    if isinstance(figure, Curves):
        _curves(drawing, figure, kind)
    elif isinstance(figure, Panels):
        _panels(drawing, figure, kind)
    elif isinstance(figure, Points):
        _points(drawing, figure, kind)
    elif isinstance(figure, Bars):
        _bars(drawing, figure, kind)
    elif isinstance(figure, Grids):
        _grids(drawing, figure)
    else:
        return ""
    return _svg.text(drawing)


def style(arm: str, arms: Sequence[str]) -> str:
    """Return the name of the style that gives an arm its colour."""
    return token(arms.index(arm)).removeprefix("@")


def coloured(figure: Figure) -> tuple[str, ...]:
    """Return the arms that have a colour in a picture of the figure."""
    if isinstance(figure, (Points, Bars, Curves, Panels)):
        return tuple(dict.fromkeys(part.arm for part in _parts(figure)))
    return ()


def caption(figure: Figure) -> str:
    """Return the caption of a picture of the figure."""
    if isinstance(figure, Grids):
        return f"{figure.title}, row by row: {_labels(figure.grids)}"
    zoomed = isinstance(figure, Bars) and figure.zoomed
    return f"{figure.title}; the bars do not start at zero" if zoomed else figure.title


def _words(figure: Figure) -> str:
    """Return what there is to see."""
    if isinstance(figure, (Table, Grids)):
        return caption(figure)
    return f"{caption(figure)}: {_labels(_parts(figure))}"


def _labels(parts: Sequence[Point | Curve | Grid]) -> str:
    return ", ".join(dict.fromkeys(part.label for part in parts))


def _parts(figure: Points | Bars | Curves | Panels) -> Sequence[Point | Curve]:
    if isinstance(figure, Points):
        return figure.points
    if isinstance(figure, Bars):
        return figure.bars
    return figure.curves if isinstance(figure, Curves) else figure.panels


def _curves(drawing: Element, figure: Curves, kind: Kind) -> None:
    x = PlotScale.of(figure.x, [v for c in figure.curves for v in c.x], _EDGE, WIDTH - _EDGE)
    values = [v for c in figure.curves for side in (c.low, c.middle, c.high) for v in side]
    y = PlotScale.of(figure.y, [*values, *figure.marks], HEIGHT - _EDGE, _EDGE)
    for mark in figure.marks:
        _svg.line(drawing, (0, y(mark)), (WIDTH, y(mark)), "mark")
    for curve in figure.curves:
        _band(drawing, curve, x, y, kind)
    for curve in figure.curves:
        _line(drawing, curve, curve.middle, x, y, kind(curve.arm))


def _panels(drawing: Element, figure: Panels, kind: Kind) -> None:
    width = WIDTH / len(figure.panels)
    values = [v for p in figure.panels for side in (p.low, p.high) for v in side[1:]]
    y = PlotScale.of(figure.y, values, HEIGHT - _EDGE, _EDGE)
    for number, panel in enumerate(figure.panels):
        x = PlotScale.of(figure.x, panel.x, number * width + _EDGE, (number + 1) * width - _EDGE)
        if number:
            _svg.line(drawing, (number * width, 0), (number * width, HEIGHT), "rule")
        _band(drawing, panel, x, y, kind)
        for side in (panel.low, panel.high):
            for run in _runs(panel, side, x, y):
                _svg.path(drawing, run, f"{kind(panel.arm)} edge")
        _line(drawing, panel, panel.middle, x, y, kind(panel.arm))


def _band(drawing: Element, curve: Curve, x: PlotScale, y: PlotScale, kind: Kind) -> None:
    sides = [
        (x(across), y(low), y(high))
        for across, low, high in zip(curve.x, curve.low, curve.high, strict=True)
        if x.holds(across) and not math.isnan(low + high)
    ]
    if sides:
        below, above = ([(side[0], side[part]) for side in sides] for part in (1, 2))
        _svg.path(drawing, [*below, *reversed(above)], f"{kind(curve.arm)} band", closed=True)


def _line(
    drawing: Element, curve: Curve, values: Sequence[float], x: PlotScale, y: PlotScale, kind: str
) -> None:
    for run in _runs(curve, values, x, y):
        _svg.path(drawing, run, f"{kind} curve dashed" if curve.dashed else f"{kind} curve")
        if len(curve.x) <= _FEW:
            for place in run:
                _dot(drawing, place, f"{kind} dot", 2.4)


def _runs(curve: Curve, values: Sequence[float], x: PlotScale, y: PlotScale) -> list[list[Place]]:
    """Return the places of a curve, in runs between which something is missing."""
    runs: list[list[Place]] = [[]]
    for across, value in zip(curve.x, values, strict=True):
        if x.holds(across) and y.holds(value):
            runs[-1].append((x(across), y(value)))
        else:
            runs.append([])
    return [run for run in runs if run]


def _points(drawing: Element, figure: Points, kind: Kind) -> None:
    limit = [] if figure.limit is None else [figure.limit]
    values = [v for p in figure.points for v in (p.low, p.value, p.high)]
    x = PlotScale.of(figure.axis, [*values, *limit, *figure.marks], _EDGE + 4, WIDTH - _EDGE - 4)
    gaps = sum(one.group != other.group for one, other in pairwise(figure.points))
    row = (HEIGHT - 2 * _EDGE) / (len(figure.points) + 0.6 * gaps)
    for mark in figure.marks:
        _svg.line(drawing, (x(mark), 0), (x(mark), HEIGHT), "mark")
    down = _EDGE + row / 2
    for number, point in enumerate(figure.points):
        if number and figure.points[number - 1].group != point.group:
            _svg.line(drawing, (0, down - 0.2 * row), (WIDTH, down - 0.2 * row), "rule")
            down += 0.6 * row
        if not math.isnan(point.value):
            _point(drawing, point, x, down, kind(point.arm), min(4.0, 0.4 * row))
        down += row


def _point(
    drawing: Element, point: Point, x: PlotScale, down: float, kind: str, radius: float
) -> None:
    _svg.line(drawing, (x(point.low), down), (x(point.high), down), f"{kind} interval")
    at = x(point.value)
    if math.isinf(point.value):
        wings = [(at - radius, down - radius), (at + radius, down), (at - radius, down + radius)]
        _svg.path(drawing, wings, f"{kind} dot", closed=True)
    else:
        _dot(drawing, (at, down), f"{kind} dot", radius)


def _bars(drawing: Element, figure: Bars, kind: Kind) -> None:
    groups = list(dict.fromkeys(bar.group for bar in figure.bars))
    ends = [v for bar in figure.bars for v in (bar.low, bar.value, bar.high)]
    room = 0.3 * ((max(ends) - min(ends)) or 1.0)
    floor = min(ends) - room if figure.zoomed else min(0.0, *ends)
    y = PlotScale(Axis(""), floor, max(ends) + 0.05 * room, HEIGHT - _EDGE, _EDGE)
    width = WIDTH / len(groups)
    for number, group in enumerate(groups):
        found = [bar for bar in figure.bars if bar.group == group]
        each = 0.75 * width / len(found)
        for place, bar in enumerate(found):
            left = number * width + 0.125 * width + place * each
            _bar(drawing, bar, y, left + 1, each - 2, kind(bar.arm))


def _bar(drawing: Element, bar: Point, y: PlotScale, left: float, width: float, kind: str) -> None:
    if math.isnan(bar.value):
        return
    top, middle = y(bar.value), left + width / 2
    height = max(HEIGHT - _EDGE - top, 0.5)
    _svg.put(drawing, "rect", f"{kind} bar", x=left, y=top, width=width, height=height)
    _svg.line(drawing, (middle, y(bar.low)), (middle, y(bar.high)), "error")


def _grids(drawing: Element, figure: Grids) -> None:
    across = math.ceil(math.sqrt(len(figure.grids)))
    down = math.ceil(len(figure.grids) / across)
    for number, grid in enumerate(figure.grids):
        corner = (number % across) * WIDTH / across, (number // across) * HEIGHT / down
        _grid(drawing, grid, corner, WIDTH / across - 6, HEIGHT / down - 6)


def _grid(drawing: Element, grid: Grid, corner: Place, width: float, height: float) -> None:
    rows, columns = len(grid.rows), len(grid.columns)
    for up, values in enumerate(grid.values):
        for right, value in enumerate(values):
            cell = _svg.put(
                drawing,
                "rect",
                "none" if math.isnan(value) else "cell",
                x=corner[0] + 3 + right * width / columns,
                y=corner[1] + 3 + (rows - 1 - up) * height / rows,
                width=width / columns - 1.5,
                height=height / rows - 1.5,
            )
            if not math.isnan(value):
                cell.set("fill-opacity", f"{0.15 + 0.85 * value:.2f}")


def _dot(drawing: Element, place: Place, kind: str, radius: float) -> None:
    _svg.put(drawing, "circle", kind, cx=place[0], cy=place[1], r=radius)
