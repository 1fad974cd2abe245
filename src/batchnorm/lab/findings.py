"""What a study found, as data: verdicts, figures and tables that a renderer turns into a page."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["reproduced", "not reproduced", "mixed", "not determined"]


@dataclass(frozen=True)
class Verdict:
    """The judgement of one claim.

    Args:
        claim: Its number, such as ``C1``.
        statement: What the literature says.
        outcome: What the rule gave.
        effect: What was measured, and its sizes with their intervals, one a line.
        rule: The rule, in words.
        reading: What it means, for someone who does not read code.
    """

    claim: str
    statement: str
    outcome: Outcome
    effect: tuple[str, ...]
    rule: str
    reading: str


@dataclass(frozen=True)
class Curve:
    """A median over steps with a band; ``arm`` decides the colour and the dash."""

    arm: str
    label: str
    steps: tuple[int, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """Curves over the steps, with horizontal lines at the targets."""

    title: str
    caption: str
    y_title: str
    curves: tuple[Curve, ...]
    targets: tuple[float, ...]


@dataclass(frozen=True)
class Panels:
    """The same kind of band side by side, on one scale."""

    title: str
    caption: str
    y_title: str
    panels: tuple[Curve, ...]


@dataclass(frozen=True)
class Point:
    """Steps to a target: infinity where censored."""

    arm: str
    label: str
    target: float
    value: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class Points:
    """Steps to each target for each arm; ``limit`` is the number of steps that a trial had."""

    title: str
    caption: str
    points: tuple[Point, ...]
    limit: int


@dataclass(frozen=True)
class Grid:
    """One value for every scale (row) and rate (column) of an arm, with what to write in it."""

    arm: str
    label: str
    scales: tuple[float, ...]
    rates: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Grids:
    """A grid for each arm, in one colour scale from 0 to 1."""

    title: str
    caption: str
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Figure = Curves | Panels | Points | Grids | Table


@dataclass(frozen=True)
class Setting:
    """A setting: what the paper states and what this run chose."""

    name: str
    paper: str
    here: str


@dataclass(frozen=True)
class Findings:
    """Everything that a study has to say.

    Args:
        headline: The main result in plain words.
        summary: A sentence below it, and the lines that it introduces.
        verdicts: The claims judged.
        figures: Figures and tables, in order.
        settings: What was stated, left open and chosen.
        notes: What to keep in mind.
    """

    headline: str
    summary: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    figures: tuple[Figure, ...]
    settings: tuple[Setting, ...]
    notes: tuple[str, ...] = field(default=())
