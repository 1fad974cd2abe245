"""Curves over the training steps, and percentiles side by side."""

import math
from collections.abc import Sequence

from ..findings import Curve, Curves, Panels
from . import axes
from .axes import Plot
from .palette import token


def _band(curve: Curve, colour: str) -> list[Plot]:
    """Return the traces of a band; the token's suffix asks the page for a thin colour."""
    line = {"width": 0}
    common: Plot = {
        "x": curve.steps[1:],
        "mode": "lines",
        "line": line,
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [
        {**common, "y": axes.clean(curve.low[1:])},
        {
            **common,
            "y": axes.clean(curve.high[1:]),
            "fill": "tonexty",
            "fillcolor": f"{colour}/0.16",
        },
    ]


def _line(curve: Curve, colour: str, number: str) -> Plot:
    return {
        "x": curve.steps[1:],
        "y": axes.clean(curve.middle[1:]),
        "mode": "lines",
        "name": curve.label,
        "line": {"color": colour, "width": 2.5, "dash": "solid" if "bn" in curve.arm else "dash"},
        "hovertemplate": f"{curve.label}<br>step %{{x:,}}: %{{y:{number}}}<extra></extra>",
    }


def curves(figure: Curves, arms: Sequence[str]) -> Plot:
    """Draw curves with their bands, each labelled at its end."""
    data: list[Plot] = []
    for curve in figure.curves:
        colour = token(arms.index(curve.arm))
        data += [*_band(curve, colour), _line(curve, colour, ".1%")]
    last = figure.curves[0].steps[-1]
    shapes = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": target,
            "y1": target,
            "line": {"color": "@target", "width": 1, "dash": "dot"},
            "layer": "below",
        }
        for target in figure.targets
    ]
    labels = _end_labels(figure.curves, arms)
    layout = axes.layout(
        430,
        margin={"l": 56, "r": 118, "t": 16, "b": 48},
        xaxis=axes.steps_axis(last),
        yaxis=axes.axis(figure.y_title, tickformat=".0%", range=[0, 1.02]),
        shapes=shapes,
        annotations=labels,
        hovermode="closest",
    )
    return {"data": data, "layout": layout}


def _end_labels(curves: Sequence[Curve], arms: Sequence[str]) -> list[Plot]:
    """Return a label at the end of each curve, pushed apart so that none covers another."""
    gap, top = 0.065, 1.0
    ordered = sorted(curves, key=lambda curve: -curve.middle[-1])
    labels = []
    for curve in ordered:
        top = min(curve.middle[-1], top)
        labels.append(
            {
                "xref": "paper",
                "x": 1.01,
                "xanchor": "left",
                "y": top,
                "yanchor": "middle",
                "text": f"<b>{curve.label}</b>",
                "showarrow": False,
                "font": {"color": token(arms.index(curve.arm)), "size": 13},
            }
        )
        top -= gap
    return labels


def panel(figure: Panels, panel: Curve, arms: Sequence[str]) -> Plot:
    """Draw the percentiles of one network, on the scale that all panels share."""
    colour = token(arms.index(panel.arm))
    edges = [
        {**_line(panel, colour, ".2f"), "y": axes.clean(side[1:]), "name": name}
        for side, name in ((panel.low, "15th"), (panel.high, "85th"))
    ]
    for edge in edges:
        edge["line"] = {"color": colour, "width": 1}
        edge["hovertemplate"] = (
            f"{edge['name']} percentile, step %{{x:,}}: %{{y:.2f}}<extra></extra>"
        )
    middle = _line(panel, colour, ".2f") | {"line": {"color": colour, "width": 2.5}}
    values = [v for p in figure.panels for side in (p.low, p.high) for v in side[1:]]
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = 0.05 * ((high - low) or 1.0)
    names = (("85th", panel.high), ("median", panel.middle), ("15th", panel.low))
    ends = _spread([side[-1] for _, side in names], 0.07 * (high - low + 2 * pad))
    labels = [
        {
            "xref": "paper",
            "x": 1.01,
            "xanchor": "left",
            "y": end,
            "yanchor": "middle",
            "text": name,
            "showarrow": False,
            "font": {"color": colour, "size": 12},
        }
        for (name, _), end in zip(names, ends, strict=True)
    ]
    layout = axes.layout(
        340,
        margin={"l": 56, "r": 60, "t": 40, "b": 48},
        title={"text": panel.label, "font": {"size": 14, "color": colour}, "x": 0, "xref": "paper"},
        xaxis=axes.steps_axis(panel.steps[-1]),
        yaxis=axes.axis(figure.y_title, range=[low - pad, high + pad]),
        annotations=labels,
    )
    return {"data": [*_band(panel, colour), *edges, middle], "layout": layout}


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Push values that fall from first to last at least ``gap`` apart, around the middle one."""
    high, middle, low = (value if math.isfinite(value) else 0.0 for value in values)
    return [max(high, middle + gap), middle, min(low, middle - gap)]
