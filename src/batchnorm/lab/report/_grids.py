"""Heat maps: every setting of an arm as a grid of cells."""

from batchnorm.lab.judging._figures import Grid, Grids
from batchnorm.lab.report import _axes
from batchnorm.lab.report._axes import Plot


def grid(figure: Grids, grid: Grid) -> Plot:
    """Draw a cell for each row and column, with what was measured in it."""
    width = len(grid.columns)
    cells = [
        (x, y, grid.texts[y][x].replace("\n", "<br>"))
        for y in range(len(grid.rows))
        for x in range(width)
    ]
    annotations = [
        {
            "x": x,
            "y": y,
            "text": text,
            "showarrow": False,
            "font": {"size": 11.5, "color": "@ink"},
        }
        for x, y, text in cells
    ]
    heat = {
        "type": "heatmap",
        "z": [_axes.clean(row) for row in grid.values],
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
        "z": [[0] * width for _ in grid.rows],
        "colorscale": [[0, "@none"], [1, "@none"]],
    }
    layout = _axes.layout(
        110 + 54 * len(grid.rows),
        margin={"l": 56, "r": 8, "t": 36, "b": 48},
        title={"text": grid.label, "font": {"size": 14}, "x": 0, "xref": "paper"},
        xaxis=_axes.axis(
            figure.column_title, tickvals=list(range(width)), ticktext=grid.columns, showgrid=False
        ),
        yaxis=_axes.axis(
            figure.row_title,
            tickvals=list(range(len(grid.rows))),
            ticktext=grid.rows,
            showgrid=False,
        ),
        annotations=annotations,
    )
    return {"data": [empty, heat], "layout": layout}
