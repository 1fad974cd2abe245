"""Bar plots: values with their intervals, in groups beside each other."""

from collections.abc import Sequence
from dataclasses import replace

from batchnorm._pages._palette import token
from batchnorm.lab.judging._figures import Bars, Point
from batchnorm.lab.report import _axes
from batchnorm.lab.report._axes import Plot


def bars(figure: Bars, arms: Sequence[str]) -> Plot:
    """Draw the bars of each group beside each other, a colour for each arm."""
    shown = [arm for arm in arms if any(bar.arm == arm for bar in figure.bars)]
    data = [_arm([bar for bar in figure.bars if bar.arm == arm], arms.index(arm)) for arm in shown]
    layout = _axes.layout(
        380,
        barmode="group",
        bargap=0.25,
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 13}},
        xaxis=_axes.axis("", type="category", showgrid=False, tickangle=0),
        yaxis=_axis(figure),
        margin={"l": 56, "r": 16, "t": 48, "b": 48},
    )
    return {"data": data, "layout": layout}


def _axis(figure: Bars) -> Plot:
    values = [value for bar in figure.bars for value in (bar.low, bar.high)]
    if not figure.zoomed:
        return _axes.scaled(figure.axis, [0.0, *values])
    found = _axes.scaled(replace(figure.axis, percent=False), values, 0.3)
    return found | ({"tickformat": ".1~%"} if figure.axis.percent else {})


def _arm(bars: Sequence[Point], position: int) -> Plot:
    colour = token(position)
    return {
        "type": "bar",
        "name": bars[0].label,
        "x": [bar.group for bar in bars],
        "y": _axes.clean([bar.value for bar in bars]),
        "marker": {"color": colour},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": _axes.clean([bar.high - bar.value for bar in bars]),
            "arrayminus": _axes.clean([bar.value - bar.low for bar in bars]),
            "color": "@ink",
            "thickness": 1.5,
            "width": 4,
        },
        "customdata": [[bar.text, bar.note] for bar in bars],
        "hovertemplate": f"{bars[0].label}, %{{x}}: %{{customdata[0]}}<br>%{{customdata[1]}}"
        "<extra></extra>",
    }
