"""Progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from batchnorm import lab


@contextmanager
def following(title: str) -> Iterator[Callable[[lab.Progress], None]]:
    """Show a bar on stderr while the work reports how far it is.

    Args:
        title: what is going on.

    Yields:
        The function to tell.
    """
    with _bar(title, "trials") as bar:
        yield lambda step: bar(step.trials * step.done / step.total, step.trials, title)


@contextmanager
def counting(unit: str) -> Iterator[Callable[[float, float, str], None]]:
    """Show a bar on stderr that names what is being done.

    Args:
        unit: what is counted.

    Yields:
        The function to tell how much is done, of how much, and what is being done.
    """
    with _bar("", unit) as bar:
        yield bar


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Callable[[float, float, str], None]]:
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # elsewhere it would leave an empty line
    )
    task = bar.add_task(title, total=None)

    def tell(done: float, total: float, label: str) -> None:
        bar.start()  # not before there is something to tell: an error must stand alone
        bar.update(task, completed=done, total=total, description=label)

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()
