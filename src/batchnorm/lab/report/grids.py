"""Every setting of an arm as a grid of cells."""

from ..findings import Grid
from . import axes
from .axes import Plot


def grid(grid: Grid) -> Plot:
    """Draw a cell for each weight scale and learning rate, with what was measured in it."""
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
    known = axes.clean([value for _, _, value, _ in cells])
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
    layout = axes.layout(
        110 + 54 * len(rows),
        margin={"l": 56, "r": 8, "t": 36, "b": 48},
        title={"text": grid.label, "font": {"size": 14}, "x": 0, "xref": "paper"},
        xaxis=axes.axis(
            "Learning rate", tickvals=list(range(width)), ticktext=columns, showgrid=False
        ),
        yaxis=axes.axis(
            "Weight scale", tickvals=list(range(len(rows))), ticktext=rows, showgrid=False
        ),
        annotations=annotations,
    )
    return {"data": [empty, heat], "layout": layout}
