"""The progress bar of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..lab import Progress as Step


@contextmanager
def following(title: str) -> Iterator[Callable[[Step], None]]:
    """Show a bar on stderr while the work tells how far it is.

    Args:
        title: What is going on.

    Yields:
        The function to tell.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("trials"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=None)

    def tell(step: Step) -> None:
        bar.start()  # not before there is something to tell: an error must stand alone
        bar.update(task, completed=step.trials * step.done / step.total, total=step.trials)

    try:
        yield tell
    finally:
        if bar.live.is_started:
            bar.stop()
