"""What the figures have in common: axes, layout, and numbers that JSON can hold."""

import math
from collections.abc import Sequence
from typing import Any

Plot = dict[str, Any]
_TRANSPARENT = "rgba(0,0,0,0)"


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


def steps_axis(last: int) -> Plot:
    """Return the logarithmic axis of training steps."""
    ticks = [v for power in range(6) for v in (10**power, 3 * 10**power) if 5 <= v <= last]  # noqa: PLR2004
    return axis(
        "Training steps (logarithmic)",
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:,}" for tick in ticks],
        range=[math.log10(4.6), math.log10(last * 1.03)],
    )


def clean(values: Sequence[float]) -> list[float | None]:
    """Return the values with a gap where one is not finite: JSON has no word for those."""
    return [value if math.isfinite(value) else None for value in values]
