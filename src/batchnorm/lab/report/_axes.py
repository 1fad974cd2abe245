"""Axes and layout of plotly figures, and numbers that JSON can hold."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from batchnorm._pages import number
from batchnorm.lab.judging._figures import Axis

Plot = dict[str, Any]
_TRANSPARENT = "rgba(0,0,0,0)"
_FEW_DECADES = 4
_STEPS = (1, 2, 5, 10, 20, 50, 100)  # decades between two ticks
_FEW_VALUES, _CROWDED = 8, 0.06


def axis(title: str, **more: Any) -> Plot:
    """Return an axis with its title."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": "@soft"}},
        "gridcolor": "@line",
        "linecolor": "@line",
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 12, "color": "@soft"},
        **more,
    }


def layout(height: int, **more: Any) -> Plot:
    """Return the layout that all figures share, with what is particular to one."""
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


def scaled(axis_of: Axis, values: Iterable[float], room: float = 0.04) -> Plot:
    """Return an axis that holds the values.

    Args:
        axis_of: what it shows.
        values: what is drawn along it; those that are not finite, and on a logarithmic axis those
            that are not positive, need no place.
        room: what to leave free on either side, as a share.
    """
    if axis_of.percent:
        return axis(axis_of.title, tickformat=".0%", range=[0, 1.02])
    known = [v for v in values if math.isfinite(v) and (v > 0 or not axis_of.log)]
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    if not axis_of.log:
        pad = room * ((high - low) or abs(high) or 1.0)
        return axis(axis_of.title, range=[low - pad, high + pad])
    ends = math.log10(low), math.log10(high)
    pad = room * ((ends[1] - ends[0]) or 1.0)
    return axis(
        axis_of.title, type="log", range=[ends[0] - pad, ends[1] + pad], **_ticks(low, high)
    )


def _ticks(low: float, high: float) -> Plot:
    """Return the ticks of a logarithmic axis: 1, 3, 10, or decades only where they are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = last - first
    step = next((step for step in _STEPS if decades <= 8 * step), _STEPS[-1])
    first -= first % step
    heads = (1, 3) if decades <= _FEW_DECADES else (1,)
    return ticks(
        head * 10.0**power
        for power in range(first, last + 1, step)
        for head in heads
        if low * 0.999 <= head * 10.0**power <= high * 1.001
    )


def ticks(values: Iterable[float]) -> Plot:
    """Return ticks at values."""
    shown = [*values]
    return {"tickvals": shown, "ticktext": [number(tick) for tick in shown]}


def chosen(axis_of: Axis, values: Iterable[float]) -> Plot:
    """Return ticks at the values that were chosen, where they are few and not crowded."""
    shown = sorted({value for value in values if value > 0 or not axis_of.log})
    places = [place(axis_of, value) for value in shown]
    if not 1 < len(shown) <= _FEW_VALUES:
        return {}
    gap = min(right - left for left, right in pairwise(places)) / (places[-1] - places[0])
    return ticks(shown) if gap > _CROWDED else {}


def place(axis_of: Axis, value: float) -> float:
    """Return the place of an annotation: plotly wants the logarithm on a logarithmic axis."""
    if not axis_of.log:
        return value
    return math.log10(value) if value > 0 else -math.inf


def clean(values: Sequence[float]) -> list[float | None]:
    """Return the values with `None` where one is not finite, which JSON lacks."""
    return [value if math.isfinite(value) else None for value in values]
