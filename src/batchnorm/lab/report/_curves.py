"""Curve plots, and panels of percentiles side by side."""

import math
from collections.abc import Sequence

from batchnorm._pages._palette import token
from batchnorm.lab.judging._figures import Axis, Curve, Curves, Panels
from batchnorm.lab.report import _axes
from batchnorm.lab.report._axes import Plot

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")  # for the curves of one arm
_GAP = 0.065  # between the labels at the ends of curves, as a share of the height


def _shown(axis: Axis, values: Sequence[float]) -> list[float | None]:
    """Return the values with a gap where the axis has no place for one."""
    return [
        value if math.isfinite(value) and (value > 0 or not axis.log) else None for value in values
    ]


def _edge(axis: Axis, span: Sequence[float], values: Sequence[float]) -> list[float | None]:
    """Return an edge of a band; one that the axis has no place for runs along its end."""
    low, high = (10**end if axis.log else end for end in span)
    return [
        None
        if math.isnan(value)
        else min(max(value, low), high)
        if axis.log or math.isinf(value)
        else value
        for value in values
    ]


def _band(figure: Curves | Panels, curve: Curve, colour: str, span: Sequence[float]) -> list[Plot]:
    """Return the traces of a band; the token's suffix asks the page for a thin colour."""
    common: Plot = {
        "x": _shown(figure.x, curve.x),
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [
        {**common, "y": _edge(figure.y, span, curve.low)},
        {
            **common,
            "y": _edge(figure.y, span, curve.high),
            "fill": "tonexty",
            "fillcolor": f"{colour}/0.16",
        },
    ]


def _line(figure: Curves | Panels, curve: Curve, colour: str, nth: int = 0) -> Plot:
    number = ".1%" if figure.y.percent else ".3~g"
    name = figure.x.title.removesuffix(" (logarithmic)").lower()
    few = len(curve.x) <= 12  # noqa: PLR2004  (points that were chosen, and not a course in time)
    return {
        "x": _shown(figure.x, curve.x),
        "y": _shown(figure.y, curve.middle),
        "mode": "lines+markers" if few or nth else "lines",
        "name": curve.label,
        "line": {"color": colour, "width": 2.5, "dash": "dash" if curve.dashed else "solid"},
        "marker": {"color": colour, "size": 7, "symbol": _SYMBOLS[nth % len(_SYMBOLS)]},
        "hovertemplate": f"{curve.label}<br>{name} %{{x:,~g}}: %{{y:{number}}}<extra></extra>",
    }


def curves(figure: Curves, arms: Sequence[str]) -> Plot:
    """Draw curves with their bands, each labelled at its end; the page has a legend if narrow."""
    y = _axes.scaled(
        figure.y,
        [*figure.marks, *(v for c in figure.curves for s in (c.middle, c.low, c.high) for v in s)],
    )
    data: list[Plot] = []
    for number, curve in enumerate(figure.curves):
        colour = token(arms.index(curve.arm))
        nth = sum(before.arm == curve.arm for before in figure.curves[:number])
        data += [*_band(figure, curve, colour, y["range"]), _line(figure, curve, colour, nth)]
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": mark,
            "y1": mark,
            "line": {"color": "@target", "width": 1, "dash": "dot"},
            "layer": "below",
        }
        for mark in figure.marks
    ]
    places = [x for curve in figure.curves for x in curve.x]
    longest = max(len(curve.label) for curve in figure.curves)
    layout = _axes.layout(
        430,
        margin={"l": 56, "r": 28 + 7.6 * longest, "t": 16, "b": 48},
        xaxis=_axes.scaled(figure.x, places, 0.015) | _axes.chosen(figure.x, places),
        yaxis=y,
        shapes=shapes,
        annotations=_end_labels(figure, y["range"], arms),
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def _end_labels(figure: Curves, span: Sequence[float], arms: Sequence[str]) -> list[Plot]:
    """Return a label at the end of each curve, pushed apart so that none covers another."""
    ends = [
        (_height(figure.y, span, _last(figure.y, curve.middle)), curve) for curve in figure.curves
    ]
    heights = _apart([height for height, _ in ends])
    return [
        {
            "name": "end",
            "xref": "paper",
            "x": 1.01,
            "xanchor": "left",
            "yref": "paper",
            "y": height,
            "yanchor": "middle",
            "text": f"<b>{curve.label}</b>",
            "showarrow": False,
            "font": {"color": token(arms.index(curve.arm)), "size": 13},
        }
        for height, (_, curve) in zip(heights, ends, strict=True)
    ]


def _last(axis: Axis, values: Sequence[float]) -> float:
    """Return the last value that the axis has a place for; the top when there is none."""
    return next((v for v in reversed(_shown(axis, values)) if v is not None), math.inf)


def _height(axis: Axis, span: Sequence[float], value: float) -> float:
    """Return the place of a value, as a share of the height."""
    if math.isinf(value):
        return 1.0
    low, high = span
    return (_axes.place(axis, value) - low) / (high - low)


def _apart(heights: Sequence[float]) -> list[float]:
    """Push heights apart, from the highest down; as a whole they stay within the plot."""
    order = sorted(range(len(heights)), key=lambda i: -heights[i])
    placed = list(heights)
    top = 1.0
    for i in order:
        placed[i] = min(placed[i], top)
        top = placed[i] - _GAP
    lift = max(0.0, -min(placed))
    return [min(height + lift, 1.0) if lift else height for height in placed]


def panel(figure: Panels, panel: Curve, arms: Sequence[str]) -> Plot:
    """Draw the percentiles of one network, on the scale that all panels share."""
    colour = token(arms.index(panel.arm))
    edges = [
        {**_line(figure, panel, colour), "y": _axes.clean(side), "mode": "lines", "name": name}
        for side, name in ((panel.low, figure.names[0]), (panel.high, figure.names[2]))
    ]
    for edge in edges:
        edge["line"] = {"color": colour, "width": 1}
        edge["hovertemplate"] = f"{edge['name']}, step %{{x:,}}: %{{y:.2f}}<extra></extra>"
    middle = _line(figure, panel, colour) | {"line": {"color": colour, "width": 2.5}}
    values = [v for p in figure.panels for side in (p.low, p.high) for v in side[1:]]
    y = _axes.scaled(figure.y, values, 0.05)
    low, high = y["range"]
    sides = panel.high, panel.middle, panel.low
    ends = _spread([_axes.place(figure.y, side[-1]) for side in sides], 0.07 * (high - low))
    labels = [
        {
            "xref": "paper",
            "x": 1.01,
            "xanchor": "left",
            "y": end,
            "yanchor": "middle",
            "text": name.partition(" ")[0],
            "showarrow": False,
            "font": {"color": colour, "size": 12},
        }
        for name, end in zip(reversed(figure.names), ends, strict=True)
    ]
    layout = _axes.layout(
        340,
        margin={"l": 56, "r": 60, "t": 40, "b": 48},
        title={"text": panel.label, "font": {"size": 14, "color": colour}, "x": 0, "xref": "paper"},
        xaxis=_axes.scaled(figure.x, panel.x, 0.015),
        yaxis=y,
        annotations=labels,
    )
    band = _band(figure, panel, colour, y["range"])
    return {"data": [*band, *edges, middle], "layout": layout}


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Push values that fall from first to last at least `gap` apart, around the middle one."""
    high, middle, low = (value if math.isfinite(value) else 0.0 for value in values)
    return [max(high, middle + gap), middle, min(low, middle - gap)]
