"""Steps to each target, with their intervals."""

import math
from collections.abc import Sequence

from ..findings import Point, Points
from . import axes
from .axes import Plot
from .palette import token


def points(figure: Points, arms: Sequence[str]) -> Plot:
    """Draw a row for each target and arm; a triangle where the target was not reached."""
    rows = len(figure.points)
    targets = list(dict.fromkeys(point.target for point in figure.points))
    places, annotations = [], []
    for index, point in enumerate(figure.points):
        group = targets.index(point.target)
        places.append(float(rows - index - 1 + (len(targets) - 1 - group) * 1.0))
    for target in targets:
        first = next(i for i, p in enumerate(figure.points) if p.target == target)
        annotations.append(
            {
                "xref": "paper",
                "x": 0,
                "xanchor": "left",
                "y": places[first] + 0.8,
                "text": f"<b>to {target:.0%} accuracy</b>",
                "showarrow": False,
                "font": {"size": 13, "color": "@soft"},
            }
        )
    data = [_point(p, y, arms, figure.limit) for p, y in zip(figure.points, places, strict=True)]
    for point, place in zip(figure.points, places, strict=True):
        annotations.append(_value_label(point, place, figure.limit))
    axis = axes.steps_axis(figure.limit)
    axis["range"] = [math.log10(4.6), math.log10(figure.limit * 3.2)]
    layout = axes.layout(
        90 + 30 * (rows + len(targets)),
        margin={"l": 96, "r": 12, "t": 20, "b": 48},
        xaxis=axis,
        yaxis=axes.axis(
            "",
            tickvals=places,
            ticktext=[p.label for p in figure.points],
            range=[-0.7, max(places) + 1.4],
            showgrid=False,
            automargin=False,
        ),
        annotations=annotations,
    )
    return {"data": data, "layout": layout}


def _point(point: Point, place: float, arms: Sequence[str], limit: int) -> Plot:
    colour = token(arms.index(point.arm))
    shown, low, high = (min(value, limit) for value in (point.value, point.low, point.high))
    censored = math.isinf(point.value)
    text = f"> {limit:,}" if censored else f"{point.value:,.0f}"
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
        "hovertemplate": f"{point.label}: {text} steps<br>{point.note}<extra></extra>",
    }


def _value_label(point: Point, place: float, limit: int) -> Plot:
    text = f"> {limit:,}" if math.isinf(point.value) else f"{point.value:,.0f}"
    return {
        "x": math.log10(min(point.high, limit)),
        "xanchor": "left",
        "xshift": 12,
        "y": place,
        "yanchor": "middle",
        "text": f"<b>{text}</b>",
        "showarrow": False,
        "font": {"size": 12, "color": "@ink"},
    }
