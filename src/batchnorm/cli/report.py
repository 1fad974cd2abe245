"""``batchnorm report``: write the report of a run."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The run folder that `study run` wrote.")],
) -> None:
    """Write the report of a run, whole or not, as one HTML file in its folder."""
    from .. import lab
    from ..lab import report as page
    from ._tables import say, verdicts_table

    page.require()
    results = lab.load(run)
    for damage in results.damage:
        say(f"Damaged: {damage}")
    if results.unfinished:
        say(f"{len(results.unfinished)} trials have not ended; the report is of the others.")
    path = page.build(results, run / "report.html")
    verdicts_table(results.study.findings(results))
    say(f"Report: {path}")
