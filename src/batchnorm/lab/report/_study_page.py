"""Report of a run as an HTML page: its findings, rendered."""

import json
import math
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from batchnorm import _pages
from batchnorm._pages import _palette
from batchnorm.lab import ledger
from batchnorm.lab.judging._figures import Table
from batchnorm.lab.judging._loading import judging
from batchnorm.lab.judging._results import Results
from batchnorm.lab.ledger import Neighbours
from batchnorm.lab.report._forest import lines
from batchnorm.lab.report._plots import draw


def require() -> None:
    """Check that the packages of a report are there, before any time is spent on training.

    Raises:
        MissingExtraError: one is missing.
    """
    _pages.require("a report", "jinja2", "plotly")


def build(results: Results, path: Path) -> Path:
    """Write the report of a run, with links to its neighbours where it is part of a ledger.

    Args:
        results: the run.
        path: the HTML file; it is replaced whole.

    Returns:
        `path`.

    Raises:
        MissingExtraError: a package is missing.
        RunError: the file cannot be written.
    """
    with judging(path.parent):
        page = render(results, ledger.neighbours(path.parent))
    return save(page, path)


def save(page: str, path: Path) -> Path:
    """Write a page whole.

    Raises:
        RunError: the file cannot be written.
    """
    _pages.write_atomically(path, page.encode())
    return path


def render(results: Results, beside: Neighbours | None = None) -> str:
    """Return the page.

    Args:
        results: the run.
        beside: its neighbours in a ledger, or `None`.
    """
    require()
    findings = results.study.findings(results)
    arms = [arm.name for arm in results.study.arms]
    sections = [_section(number, figure, arms) for number, figure in enumerate(findings.figures)]
    plots = {plot["id"]: plot["figure"] for section in sections for plot in section["plots"]}
    target = results.plan.headline_target if results.plan.targets else None
    return _pages.render(
        template("study_page"),
        {"effects": template("effects")},
        findings=findings,
        beside=beside,
        verdicts=[(verdict, lines(verdict)) for verdict in findings.verdicts],
        task_words=results.config["description"],
        target=target,
        censored=[
            trial
            for trial in results.trials
            if target and trial.diverged_at is None and math.isinf(trial.steps_to(target))
        ],
        study=results.study,
        results=results,
        sections=sections,
        plots=_embed(plots),
        palettes=_embed({"light": _palette.LIGHT, "dark": _palette.DARK}),
        plotly=_plotly(),
    )


def template(name: str) -> str:
    """Return a template of this folder."""
    return resources.files(__package__).joinpath(f"{name}.html.j2").read_text()


def _section(number: int, figure: Any, arms: list[str]) -> dict[str, Any]:
    section = {"title": figure.title, "caption": figure.caption, "plots": [], "table": None}
    if isinstance(figure, Table):
        return {**section, "table": figure}
    plots = [
        {"id": f"plot-{number}-{part}", "figure": plot}
        for part, plot in enumerate(draw(figure, arms))
    ]
    return {**section, "plots": plots}


def _embed(content: Any) -> str:
    """Return JSON that is safe inside a script element."""
    return json.dumps(content, allow_nan=False).replace("</", "<\\/")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
