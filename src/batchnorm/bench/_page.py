"""HTML page of a benchmark: one file that needs nothing else."""

from importlib import resources
from itertools import groupby
from typing import Any

from batchnorm import _pages
from batchnorm.bench import _noise, _ratio_bars, _wording
from batchnorm.bench._measurements import Benchmark
from batchnorm.bench._providers import PROVIDERS
from batchnorm.bench._ratios import RatioTable, step_ratios, tables


def require() -> None:
    """Check that what draws the page is there, before any time is spent.

    Raises:
        MissingExtraError: it is not.
    """
    _pages.require("the page", "jinja2")


def render(record: Benchmark) -> str:
    """Return the page of a record.

    Raises:
        MissingExtraError: what draws the page is missing.
    """
    require()
    found = tables(record)
    busy = bool(_noise.reasons(record))
    ratios = [r for t in found for row in t.rows for r in row.ratios.values()]
    axis = _ratio_bars.RatioAxis(ratios)
    step_axis = _ratio_bars.RatioAxis(
        r for step in record.steps for r in step_ratios(step).values()
    )
    return _pages.render(
        resources.files(__package__).joinpath("page.html.j2").read_text(),
        record=record,
        headline=_noise.headline(record),
        busy=busy,
        axis=axis,
        overview=() if busy else _ratio_bars.overview(found, axis),
        groups=_groups(found, axis),
        memory=_wording.memory(record),
        steps=_wording.steps(record),
        step_axis=step_axis,
        step_chart=_ratio_bars.BarChart(
            "Ratio: time of torch's step over the variant's",
            tuple(step_axis.line(step.layout, step_ratios(step)) for step in record.steps),
        ),
        skipped=_wording.skipped(record),
        providers=[PROVIDERS[name] for name in PROVIDERS if _timed(record, name)],
    )


def _timed(record: Benchmark, name: str) -> bool:
    return any(name in found.seconds for found in record.measurements)


def _groups(found: tuple[RatioTable, ...], axis: _ratio_bars.RatioAxis) -> list[dict[str, Any]]:
    """Return the tables by group, and within it by dtype and memory format."""
    groups = []
    for (group, level), members in groupby(found, lambda t: (t.group, t.level)):
        parts = [
            {
                "title": f"{dtype}, {layout}",
                "charts": [_ratio_bars.of_table(table, axis) for table in inside],
                "grids": [_wording.times(table) for table in inside],
            }
            for (dtype, layout), inside in _by(list(members), lambda t: (t.dtype, t.layout))
        ]
        groups.append({"title": group, "level": level, "parts": parts})
    return groups


def _by(found: list[RatioTable], key: Any) -> list[tuple[Any, list[RatioTable]]]:
    return [(name, list(members)) for name, members in groupby(found, key)]
