"""Tables that the study commands print."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from batchnorm.cli._plain import visible
from batchnorm.lab import Study
from batchnorm.lab.judging._findings import Findings
from batchnorm.lab.ledger import Ledger

_COLOURS = {
    "reproduced": "green",
    "mixed": "yellow",
    "contradicted": "red",
    "cannot be told": "dim",
}


def say(text: str) -> None:
    """Print a line as it is, without wrapping a path."""
    Console().print(visible(text), markup=False, highlight=False, soft_wrap=True)


def studies_table(studies: Iterable[Study]) -> None:
    """Print the studies."""
    table = Table("Study", "Question", "Claims")
    for study in studies:
        table.add_row(study.name, study.question, ", ".join(study.claims))
    Console().print(table)


def verdicts_table(findings: Findings) -> None:
    """Print the headline and the verdicts."""
    table = Table("Claim", "Verdict", "Measured", show_lines=True)
    for verdict in findings.verdicts:
        colour = _COLOURS[verdict.outcome]
        table.add_row(
            verdict.claim, f"[{colour}]{verdict.outcome}[/{colour}]", "\n".join(verdict.effect)
        )
    say(findings.headline)
    Console().print(table)


def claims_table(found: Ledger) -> None:
    """Print every verdict with its main effect, and which studies have none yet."""
    table = Table("Claim", "Verdict", "Effect", "Study", show_lines=True)
    for one in found.judgements:
        verdict = one.verdict
        colour = _COLOURS[verdict.outcome]
        table.add_row(
            verdict.claim,
            f"[{colour}]{verdict.outcome}[/{colour}]",
            f"{verdict.statement}\n{verdict.effects[0]}",
            one.study.name,
        )
    Console().print(table)
    for part in found.missing:
        say(f"{part.study.name}: {part.reason}")
    for part in found.partial:
        say(f"{part.study.name}: {part.gaps}")
