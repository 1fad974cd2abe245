"""What ``batchnorm bench`` prints."""

from rich import box
from rich.console import Console
from rich.table import Table

from ..lab.bench import Record, tables, words
from ._tables import say


def print_record(record: Record) -> None:
    """Print the tables of times, of memory and of the training step, and what was left out."""
    console = Console()
    say(words.machine_line(record))
    for table in tables(record):
        _print(console, words.times(table))
    for grid in (*words.memory(record), words.steps(record)):
        if grid.rows:
            _print(console, grid)
    for line in words.skipped(record):
        say(line)


def _print(console: Console, grid: words.Grid) -> None:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=grid.title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column(grid.columns[0], no_wrap=True)
    for column in grid.columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for position, row in enumerate(grid.rows):
        last = position == len(grid.rows) - grid.summaries - 1
        table.add_row(*row, end_section=last and grid.summaries > 0)
    console.print(table)
