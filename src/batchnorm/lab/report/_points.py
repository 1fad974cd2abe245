"""Point plots: values with their intervals, in groups under each other."""

import math
from collections.abc import Sequence

from batchnorm._pages._palette import token
from batchnorm.lab.judging._figures import Point, Points
from batchnorm.lab.report import _axes
from batchnorm.lab.report._axes import Plot


def points(figure: Points, arms: Sequence[str]) -> Plot:
    """Draw a row for each value; a triangle at the limit where it is censored."""
    groups = list(dict.fromkeys(point.group for point in figure.points))
    rows = len(figure.points)
    places, annotations = [], []
    for index, point in enumerate(figure.points):
        below = len(groups) - 1 - groups.index(point.group)
        places.append(float(rows - index - 1 + below))
    for group in groups:
        first = next(i for i, p in enumerate(figure.points) if p.group == group)
        annotations.append(
            {
                "xref": "paper",
                "x": 0,
                "xanchor": "left",
                "y": places[first] + 0.8,
                "text": f"<b>{group}</b>",
                "showarrow": False,
                "font": {"size": 13, "color": "@soft"},
            }
        )
    paired = list(zip(figure.points, places, strict=True))
    data = [_point(figure, p, y, arms) for p, y in paired]
    annotations += [_value_label(figure, p, y) for p, y in paired]
    longest = max(len(point.label) for point in figure.points)
    layout = _axes.layout(
        90 + 30 * (rows + len(groups)),
        margin={"l": 22 + 7.4 * longest, "r": 12, "t": 20, "b": 48},
        xaxis=_axis(figure),
        yaxis=_axes.axis(
            "",
            tickvals=places,
            ticktext=[p.label for p in figure.points],
            range=[-0.7, max(places) + 1.4],
            showgrid=False,
            automargin=False,
        ),
        shapes=[_mark(mark) for mark in figure.marks],
        annotations=annotations,
    )
    return {"data": data, "layout": layout}


def _axis(figure: Points) -> Plot:
    limit = [] if figure.limit is None else [figure.limit]
    values = [v for p in figure.points for v in (p.value, p.low, p.high)]
    axis = _axes.scaled(figure.axis, [*values, *limit, *figure.marks], 0.06)
    low, high = axis["range"]
    axis["range"] = [low, high + 0.18 * (high - low)]  # room for the last label
    return axis


def _mark(mark: float) -> Plot:
    line = {"color": "@target", "width": 1, "dash": "dot"}
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": mark, "x1": mark, "line": line}


def _point(figure: Points, point: Point, place: float, arms: Sequence[str]) -> Plot:
    colour = token(arms.index(point.arm))
    shown, low, high = (_within(figure, value) for value in (point.value, point.low, point.high))
    censored = math.isinf(point.value)
    return {
        "x": [shown],
        "y": [place],
        "mode": "markers",
        "name": point.label,
        "marker": {
            "color": colour,
            "size": 12,
            "symbol": "triangle-right-open" if censored else "circle",
            "line": {"width": 2, "color": colour},
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - shown],
            "arrayminus": [shown - low],
            "color": colour,
            "thickness": 2,
            "width": 5,
        },
        "hovertemplate": f"{point.label}: {point.text}<br>{point.note}<extra></extra>",
    }


def _within(figure: Points, value: float) -> float:
    return value if figure.limit is None else min(value, figure.limit)


def _value_label(figure: Points, point: Point, place: float) -> Plot:
    return {
        "x": _axes.place(figure.axis, _within(figure, point.high)),
        "xanchor": "left",
        "xshift": 12,
        "y": place,
        "yanchor": "middle",
        "text": f"<b>{point.text}</b>",
        "showarrow": False,
        "font": {"size": 12, "color": "@ink"},
    }
