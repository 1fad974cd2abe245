"""From a study's figures, which are data, to what plotly.js draws.

A figure becomes a dictionary with ``data`` and ``layout``. Colours are tokens (see `palette`).
"""

import math
from collections.abc import Sequence
from typing import Any

from ..findings import Curve, Curves, Grid, Grids, Panels, Point, Points
from .palette import token

Plot = dict[str, Any]
_TRANSPARENT = "rgba(0,0,0,0)"


def draw(figure: Curves | Panels | Points | Grids, arms: Sequence[str]) -> list[Plot]:
    """Return the plots of a figure.

    Args:
        figure: What to draw.
        arms: Names of all arms in the order of the study, which decides their colours.
    """
    if isinstance(figure, Curves):
        return [_curves(figure, arms)]
    if isinstance(figure, Panels):
        return [_panel(figure, panel, arms) for panel in figure.panels]
    if isinstance(figure, Points):
        return [_points(figure, arms)]
    return [_grid(grid) for grid in figure.grids]


def _axis(title: str, **more: Any) -> Plot:
    return {
        "title": {"text": title, "font": {"size": 13, "color": "@soft"}},
        "gridcolor": "@line",
        "linecolor": "@line",
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 12, "color": "@soft"},
        **more,
    }


def _layout(height: int, **more: Any) -> Plot:
    return {
        "height": height,
        "paper_bgcolor": _TRANSPARENT,
        "plot_bgcolor": _TRANSPARENT,
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "@ink"},
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "showlegend": False,
        "hoverlabel": {"bgcolor": "@page", "bordercolor": "@line", "font": {"color": "@ink"}},
        **more,
    }


def _steps_axis(last: int) -> Plot:
    ticks = [v for power in range(6) for v in (10**power, 3 * 10**power) if 5 <= v <= last]  # noqa: PLR2004
    return _axis(
        "Training steps (logarithmic)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:,}" for tick in ticks],
        range=[math.log10(4.6), math.log10(last * 1.03)],
    )


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
        {**common, "y": _clean(curve.low[1:])},
        {**common, "y": _clean(curve.high[1:]), "fill": "tonexty", "fillcolor": f"{colour}/0.16"},
    ]


def _line(curve: Curve, colour: str, number: str) -> Plot:
    return {
        "x": curve.steps[1:],
        "y": _clean(curve.middle[1:]),
        "mode": "lines",
        "name": curve.label,
        "line": {"color": colour, "width": 2.5, "dash": "solid" if "bn" in curve.arm else "dash"},
        "hovertemplate": f"{curve.label}<br>step %{{x:,}}: %{{y:{number}}}<extra></extra>",
    }


def _curves(figure: Curves, arms: Sequence[str]) -> Plot:
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
    layout = _layout(
        430,
        margin={"l": 56, "r": 106, "t": 16, "b": 48},
        xaxis=_steps_axis(last),
        yaxis=_axis(figure.y_title, tickformat=".0%", range=[0, 1.02]),
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


def _panel(figure: Panels, panel: Curve, arms: Sequence[str]) -> Plot:
    colour = token(arms.index(panel.arm))
    edges = [
        {**_line(panel, colour, ".2f"), "y": _clean(side[1:]), "name": name}
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
    layout = _layout(
        340,
        margin={"l": 56, "r": 60, "t": 40, "b": 48},
        title={"text": panel.label, "font": {"size": 14, "color": colour}, "x": 0, "xref": "paper"},
        xaxis=_steps_axis(panel.steps[-1]),
        yaxis=_axis(figure.y_title, range=[low - pad, high + pad]),
        annotations=labels,
    )
    return {"data": [*_band(panel, colour), *edges, middle], "layout": layout}


def _spread(values: Sequence[float], gap: float) -> list[float]:
    """Push values that fall from first to last at least ``gap`` apart, around the middle one."""
    high, middle, low = (value if math.isfinite(value) else 0.0 for value in values)
    return [max(high, middle + gap), middle, min(low, middle - gap)]


def _points(figure: Points, arms: Sequence[str]) -> Plot:
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
    axis = _steps_axis(figure.limit)
    axis["range"] = [math.log10(4.6), math.log10(figure.limit * 3.2)]
    layout = _layout(
        90 + 30 * (rows + len(targets)),
        margin={"l": 96, "r": 12, "t": 20, "b": 48},
        xaxis=axis,
        yaxis=_axis(
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


def _grid(grid: Grid) -> Plot:
    columns, rows = ([f"{v:g}" for v in side] for side in (grid.rates, grid.scales))
    cells = [
        (x, y, grid.values[y][x], grid.texts[y][x].replace("\n", "<br>"))
        for y in range(len(rows))
        for x in range(len(columns))
    ]
    annotations = [
        {
            "x": x,
            "y": y,
            "text": text,
            "showarrow": False,
            "font": {"size": 11.5, "color": "@page" if value > 0.55 else "@ink"},  # noqa: PLR2004
        }
        for x, y, value, text in cells
    ]
    known = _clean([value for _, _, value, _ in cells])
    width = len(columns)
    table = [known[row * width : (row + 1) * width] for row in range(len(rows))]
    heat = {
        "type": "heatmap",
        "z": table,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "@low"], [1, "@high"]],
        "showscale": False,
        "xgap": 3,
        "ygap": 3,
        "hoverinfo": "skip",
    }
    empty = {
        **heat,
        "z": [[0] * width for _ in rows],
        "colorscale": [[0, "@none"], [1, "@none"]],
    }
    layout = _layout(
        110 + 54 * len(rows),
        margin={"l": 56, "r": 8, "t": 36, "b": 48},
        title={"text": grid.label, "font": {"size": 14}, "x": 0, "xref": "paper"},
        xaxis=_axis("Learning rate", tickvals=list(range(width)), ticktext=columns, showgrid=False),
        yaxis=_axis("Weight scale", tickvals=list(range(len(rows))), ticktext=rows, showgrid=False),
        annotations=annotations,
    )
    return {"data": [empty, heat], "layout": layout}


def _clean(values: Sequence[float]) -> list[float | None]:
    """Return the values with a gap where one is not finite: JSON has no word for those."""
    return [value if math.isfinite(value) else None for value in values]
