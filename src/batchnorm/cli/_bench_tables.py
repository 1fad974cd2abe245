"""Tables that ``batchnorm bench`` prints."""

from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from batchnorm import bench
from batchnorm.cli._tables import say


def print_benchmark(found: bench.Benchmark) -> None:
    """Print the tables of times, of memory and of the training step, and what was left out."""
    console = Console()
    say(bench.headline(found))
    say(bench.machine_line(found))
    for grid in bench.grids(found):
        _print(console, grid)
    for line in bench.skipped(found):
        say(f"Left out: {line}")


def _print(console: Console, grid: bench.TextTable) -> None:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=grid.title,
        title_justify="left",
        title_style="bold",
    )
    for position, cells in enumerate(zip(grid.columns, *grid.rows, strict=True)):
        # The width is given, because a number cut short would be another number.
        width = max(map(len, cells))
        side: Literal["left", "right"] = "right" if position else "left"
        table.add_column(cells[0], justify=side, min_width=width, no_wrap=True)
    for position, row in enumerate(grid.rows):
        last = position == len(grid.rows) - grid.summaries - 1
        table.add_row(*row, end_section=last and grid.summaries > 0)
    console.print(table, crop=False)
