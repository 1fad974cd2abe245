"""``batchnorm report``: write the report of a run."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")],
) -> None:
    """Write the report of a run, whole or not, as HTML in its folder; all of them for all."""
    from batchnorm import lab
    from batchnorm.cli._tables import say, verdicts_table
    from batchnorm.lab import ledger
    from batchnorm.lab import report as page
    from batchnorm.lab.judging._loading import judging

    page.require()
    if ledger.holds(run):
        _all(run)
        return
    results = lab.load(run)
    for damage in results.damage:
        say(f"Damaged: {damage}")
    if results.unfinished:
        say(f"{len(results.unfinished)} trials have not ended; the report is of the others.")
    path = page.build(results, run / "report.html")
    with judging(run):
        verdicts_table(results.study.findings(results))
    say(f"Report: {path}")


def _all(folder: Path) -> None:
    from batchnorm.cli._tables import claims_table, say
    from batchnorm.lab import ledger
    from batchnorm.lab.report import _claims_page as page

    found = ledger.load(folder)
    path = page.write(found, found.parts)
    claims_table(found)
    say(f"Page: {path}")
