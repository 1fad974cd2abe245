"""Findings of a study, as data: verdicts, figures and settings, for a renderer to show."""

from dataclasses import dataclass, field
from typing import Literal

from batchnorm.lab.judging._estimates import Estimate
from batchnorm.lab.judging._figures import Figure

Outcome = Literal["reproduced", "mixed", "contradicted", "cannot be told"]
Status = Literal["supported", "contradicted", "cannot be told"]


@dataclass(frozen=True)
class Effect:
    """An effect size with its interval, and what it has to be where a claim hangs on it.

    Args:
        name: what is compared.
        estimate: how large it is; `None` when the trials cannot be compared.
        above: what its whole interval must lie above for the claim to hold, or `None`.
        below: what it must lie below, or `None`.
        margin: the smallest value that counts as an effect, beyond the bound; an interval wholly
            short of it contradicts the claim. `None` is the bound itself.
    """

    name: str
    estimate: Estimate | None
    above: float | None = None
    below: float | None = None
    margin: float | None = None

    @property
    def decides(self) -> bool:
        """Whether the claim hangs on it."""
        return self.above is not None or self.below is not None

    @property
    def status(self) -> Status:
        """Whether its interval supports the claim, contradicts it, or leaves it open."""
        found = self.estimate
        if found is None or not found.determined:
            return "cannot be told"
        over = self.above is None or found.low > self.above
        under = self.below is None or found.high < self.below
        if over and under:
            return "supported"
        return "contradicted" if self._short(found) else "cannot be told"

    def _short(self, found: Estimate) -> bool:
        """Return whether the whole interval lies where the claim does not hold."""
        if self.above is not None:
            return found.high <= (self.above if self.margin is None else self.margin)
        if self.below is not None:
            return found.low >= (self.below if self.margin is None else self.margin)
        return False

    def __str__(self) -> str:
        return f"{self.name}: {self.estimate or 'no shared seed'}."


@dataclass(frozen=True)
class Verdict:
    """The judgement of one claim.

    Args:
        claim: its number, such as ``C1``.
        statement: what the literature says.
        source: where it says so.
        outcome: what the rule gave.
        measured: what was measured, in words.
        effects: its sizes; the first is the main one.
        rule: the rule, in words.
        reading: what it means, for someone who does not read code.
        remarks: further results in words.
        figure: which of the study's figures shows the claim.
    """

    claim: str
    statement: str
    source: str
    outcome: Outcome
    measured: str
    effects: tuple[Effect, ...]
    rule: str
    reading: str
    remarks: tuple[str, ...] = ()
    figure: int = 0

    @property
    def effect(self) -> tuple[str, ...]:
        """What was measured, and its sizes with their intervals, one a line."""
        return (self.measured, *map(str, self.effects), *self.remarks)


@dataclass(frozen=True)
class SettingRow:
    """A row of the table of settings: what the paper states and what this run chose."""

    name: str
    paper: str
    here: str


@dataclass(frozen=True)
class Explanation:
    """The study in plain words.

    Args:
        done: what was done.
        see: what there is to see.
        means: what it means for someone who trains networks.
    """

    done: str
    see: str
    means: str


@dataclass(frozen=True)
class Findings:
    """Everything that a study has to say.

    Args:
        headline: the main result in plain words.
        summary: a sentence below it, and the lines that it introduces.
        explanation: the study in plain words.
        verdicts: the claims judged.
        figures: figures and tables, in order; the first one represents the study.
        settings: what was stated, left open and chosen.
        notes: what to keep in mind.
    """

    headline: str
    explanation: Explanation
    verdicts: tuple[Verdict, ...]
    figures: tuple[Figure, ...]
    settings: tuple[SettingRow, ...]
    summary: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
