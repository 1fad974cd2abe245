"""Claims page: every claim with its verdict, its effect and a picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from batchnorm import _pages
from batchnorm._pages._palette import ARMS
from batchnorm.lab import ledger
from batchnorm.lab.judging._findings import SettingRow, Verdict
from batchnorm.lab.judging._loading import judging
from batchnorm.lab.judging._results import Results, Study
from batchnorm.lab.ledger import OUTCOMES, Judgement, Ledger, Part
from batchnorm.lab.report._forest import EffectLine, lines
from batchnorm.lab.report._study_page import build, require, save, template
from batchnorm.lab.report._thumbnails import caption, coloured, style, thumbnail

_PAGE = "index.html"


@dataclass(frozen=True)
class Card:
    """One verdict as the page shows it.

    Args:
        verdict: the verdict.
        study: who judged.
        anchor: name of its place in the page.
        report: where the study's report is.
        facts: on what, and how much.
        main: its main effect, and where it is mixed one that did not hold.
        others: its other effects.
        conditions: what became of its conditions, in words; empty where there is one.
        picture: the figure that shows it, small.
        caption: what the figure shows.
        key: colour and label of each arm in it.
        settings: the paper's settings and these.
    """

    verdict: Verdict
    study: Study
    anchor: str
    report: str
    facts: str
    main: tuple[EffectLine, ...]
    others: tuple[EffectLine, ...]
    conditions: str
    picture: str
    caption: str
    key: tuple[tuple[str, str], ...]
    settings: tuple[SettingRow, ...]


def write(found: Ledger, changed: Iterable[Part]) -> Path:
    """Write the page, and the reports of the studies that changed.

    Args:
        found: the ledger.
        changed: the studies whose reports are to be written.

    Returns:
        The page.

    Raises:
        MissingExtraError: a package is missing.
        RunError: a file cannot be written.
    """
    runs = {part.study.name: part.results for part in found.parts}
    for part in changed:
        if part.findings is None or part.results is None:
            continue
        report = found.path / part.study.name / "report.html"
        new = not report.exists()
        build(part.results, report)
        beside = ledger.neighbours(report.parent)
        before = runs.get(beside.previous.name) if beside and beside.previous else None
        if new and before is not None:  # its link to the next study leads somewhere now
            build(before, found.path / before.study.name / "report.html")
    with judging(found.path):
        page = render(found)
    return save(page, found.path / _PAGE)


def render(found: Ledger) -> str:
    """Return the page."""
    require()
    judgements = found.judgements
    return _pages.render(
        template("claims_page"),
        {"effects": template("effects")},
        ledger=found,
        cards=[_card(one) for one in judgements],
        claims=len({one.verdict.claim for one in judgements}),
        counts=[(outcome, found.count(outcome)) for outcome in OUTCOMES],
        elsewhere=[
            (one.study, one.results.config["task"])
            for one in found.parts
            if one.results is not None
            and found.asked.get("task") not in {None, one.results.config["task"]}
        ],
        machines=_machines(found),
        arms=ARMS,
        seconds=sum(part.results.seconds for part in found.parts if part.results),
    )


def _card(one: Judgement) -> Card:
    arms = [arm.name for arm in one.study.arms]
    figure = one.findings.figures[one.verdict.figure]
    found = lines(one.verdict)
    main = (found[0], *_failing(one.verdict, found[1:]))
    return Card(
        verdict=one.verdict,
        study=one.study,
        anchor=f"{one.verdict.claim}-{one.study.name}".lower(),
        report=f"{one.study.name}/report.html",
        facts=_facts(one.results),
        main=main,
        others=tuple(line for line in found if line not in main),
        conditions=_conditions(one.verdict),
        picture=thumbnail(figure, arms),
        caption=caption(figure),
        key=tuple((style(arm, arms), one.study.arm(arm).label) for arm in coloured(figure)),
        settings=one.findings.settings,
    )


def _failing(verdict: Verdict, others: Iterable[EffectLine]) -> list[EffectLine]:
    """Return the first effect that is not supported, unless the main one is not."""
    wanted = {"mixed": "contradicted", "cannot be told": "cannot be told"}.get(verdict.outcome)
    if verdict.effects[0].status in {None, wanted}:
        return []
    return [line for line in others if line.effect.decides and line.effect.status == wanted][:1]


def _conditions(verdict: Verdict) -> str:
    """Return what became of the conditions, where there are several."""
    found = [effect.status for effect in verdict.effects if effect.decides]
    counts = [(kind, found.count(kind)) for kind in dict.fromkeys(found)]
    words = ", ".join(f"{count} {kind}" for kind, count in counts)
    return f"{len(found)} conditions, {words}" if len(found) > 1 else ""


def _facts(results: Results) -> str:
    """Return on what a run was made, and how much of it."""
    plan = results.plan
    found = [f"task {results.config['task']}", _many(plan.seeds, "seed")]
    if plan.examples is not None:
        found.append(f"{plan.examples:,} examples a trial")
    elif plan.steps is not None:
        found.append(f"{plan.steps:,} steps a trial")
    return " · ".join([*found, _many(len(results.trials), "trial")])


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _machines(found: Ledger) -> list[str]:
    """Return the machines that the studies ran on, each once."""
    runs = [part.results for part in found.parts if part.results]
    return list(
        dict.fromkeys(
            ", ".join(f"{name} {value}" for name, value in one.environment.items() if value)
            for one in runs
        )
    )
