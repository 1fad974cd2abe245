"""Plotly figures from a study's figures, which are data.

A figure becomes a dictionary with ``data`` and ``layout``. Colours are tokens (see `palette`).
"""

from collections.abc import Sequence

from batchnorm.lab.judging._figures import Bars, Curves, Grids, Panels, Points
from batchnorm.lab.report import _bars, _curves, _grids, _points
from batchnorm.lab.report._axes import Plot


def draw(figure: Curves | Panels | Points | Grids | Bars, arms: Sequence[str]) -> list[Plot]:
    """Return the plots of a figure.

    Args:
        figure: what to draw.
        arms: names of all arms in the order of the study, which decides their colours.
    """
    if isinstance(figure, Curves):
        return [_curves.curves(figure, arms)]
    if isinstance(figure, Panels):
        return [_curves.panel(figure, panel, arms) for panel in figure.panels]
    if isinstance(figure, Points):
        return [_points.points(figure, arms)]
    if isinstance(figure, Bars):
        return [_bars.bars(figure, arms)]
    return [_grids.grid(figure, grid) for grid in figure.grids]
