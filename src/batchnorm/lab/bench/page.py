"""The page of a benchmark: one HTML file that needs nothing else."""

from importlib import resources
from itertools import groupby
from typing import Any

from ...errors import MissingExtraError
from ..report import frame
from . import bars, words
from .providers import PROVIDERS
from .ratios import Table, step_ratios, tables
from .records import Record


def require() -> None:
    """Check that what draws the page is there, before any time is spent.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the page needs the package {error.name}, which is not installed: "
            "pip install 'batchnorm[lab]'"
        ) from error


def render(record: Record) -> str:
    """Return the page of a record.

    Raises:
        MissingExtraError: What draws the page is missing.
    """
    require()
    found = tables(record)
    ratios = [r for t in found for row in t.rows for r in row.ratios.values()]
    axis = bars.Axis(ratios)
    step_axis = bars.Axis(r for step in record.steps for r in step_ratios(step).values())
    return frame.render(
        resources.files(__package__).joinpath("page.html.j2").read_text(),
        record=record,
        headline=headline(found),
        axis=axis,
        overview=bars.overview(found, axis),
        groups=_groups(found, axis),
        memory=words.memory(record),
        steps=words.steps(record),
        step_axis=step_axis,
        step_chart=bars.Chart(
            "Ratio: time of torch's step over the variant's",
            tuple(step_axis.line(step.layout, step_ratios(step)) for step in record.steps),
        ),
        skipped=words.skipped(record),
        providers=[PROVIDERS[name] for name in PROVIDERS if _timed(record, name)],
    )


def headline(found: tuple[Table, ...]) -> str:
    """Return in how many cases each peer is slower than ours, and in how many it is not."""
    parts = []
    for name in PROVIDERS:
        ratios = [r.ratios[name] for table in found for r in table.rows if name in r.ratios]
        if ratios:
            won = sum(ratio > 1 for ratio in ratios)
            parts.append(f"{name} in {won} of {len(ratios)}")
    if not parts:
        return "Nothing was compared."
    return f"Ours is faster than {', than '.join(parts)} timed cases."


def _timed(record: Record, name: str) -> bool:
    return any(name in found.seconds for found in record.measurements)


def _groups(found: tuple[Table, ...], axis: bars.Axis) -> list[dict[str, Any]]:
    """Return the tables by group, and within it by dtype and memory format."""
    groups = []
    for (group, level), members in groupby(found, lambda t: (t.group, t.level)):
        parts = [
            {
                "title": f"{dtype}, {layout}",
                "charts": [bars.of_table(table, axis) for table in inside],
                "grids": [words.times(table) for table in inside],
            }
            for (dtype, layout), inside in _by(list(members), lambda t: (t.dtype, t.layout))
        ]
        groups.append({"title": group, "level": level, "parts": parts})
    return groups


def _by(found: list[Table], key: Any) -> list[tuple[Any, list[Table]]]:
    return [(name, list(members)) for name, members in groupby(found, key)]
