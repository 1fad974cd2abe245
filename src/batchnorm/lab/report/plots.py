"""Plotly figures from a study's figures, which are data.

A figure becomes a dictionary with ``data`` and ``layout``. Colours are tokens (see `palette`).
"""

from collections.abc import Sequence

from batchnorm.lab.judging.figures import Bars, Curves, Grids, Panels, Points
from batchnorm.lab.report import bars, curves, grids, points
from batchnorm.lab.report.axes import Plot


def draw(figure: Curves | Panels | Points | Grids | Bars, arms: Sequence[str]) -> list[Plot]:
    """Return the plots of a figure.

    Args:
        figure: What to draw.
        arms: Names of all arms in the order of the study, which decides their colours.
    """
    if isinstance(figure, Curves):
        return [curves.curves(figure, arms)]
    if isinstance(figure, Panels):
        return [curves.panel(figure, panel, arms) for panel in figure.panels]
    if isinstance(figure, Points):
        return [points.points(figure, arms)]
    if isinstance(figure, Bars):
        return [bars.bars(figure, arms)]
    return [grids.grid(figure, grid) for grid in figure.grids]
