"""Wording that the reports of all studies share: settings and notes."""

from collections.abc import Collection, Iterable

from batchnorm._pages import number
from batchnorm.lab.judging import comparison, intervals
from batchnorm.lab.judging._estimates import CONFIDENCE
from batchnorm.lab.judging._findings import SettingRow
from batchnorm.lab.judging._results import LAST, Results
from batchnorm.lab.judging.comparison import Setting

StatedRow = tuple[str, str, str]

NOT_STATED = "not stated"
_INTERVALS = (
    "Intervals are over {seeds} seeds; the arms share initial weights and data order, so seeds are "
    "compared in pairs. Differences and ratios (their logarithms) have Student's t intervals, "
    "shares of seeds exact ones (Clopper and Pearson). Equal seeds have an interval, too: another "
    "seed may differ by a step of what is measured in a share of up to {other:.0%}."
)
_MEDIANS = (
    "The bands and strokes of medians in the figures reach from one ordered seed to another and "
    "hold the median with at least {covered:.0%}."
)
_PICKED = (
    "For a verdict, the best setting of an arm is picked for each seed on the other seeds, and "
    "read on that one, so that no number was picked for being high. Figures and tables show the "
    "setting that is best on all seeds, which flatters it."
)
MOST_ACCURATE = "Best setting of an arm: the one with the highest median accuracy at the end."
_COUNTED = (
    "The steps to an accuracy are counted at the evaluations, which lie {every} steps or 5 % apart."
)
SETTLED = (
    f"A trial trains when the mean accuracy of its last {LAST} evaluations is high enough; one "
    "that diverged does not. A single evaluation at a high learning rate is a matter of luck."
)
_CENSORED = (
    "A trial that did not reach a target within its steps is censored: it stays in the median as "
    "'more than' its steps, and a ratio with a censored median is a bound."
)


def swept(results: Results, axis: str) -> str:
    """Return the values that a setting was swept over."""
    return ", ".join(number(value) for value in results.plan.grid[axis])


def settings(results: Results, rows: Iterable[StatedRow], data: str) -> tuple[SettingRow, ...]:
    """Return the table of settings.

    Args:
        results: the run.
        rows: name, what the paper states, and what this run chose; in the last, ``{rate}`` stands
            for the values of the setting ``rate``, ``{steps}`` and ``{examples}`` for the length
            of a trial.
        data: what the paper states of the data.
    """
    values = _values(results)
    seeds = f"{results.plan.seeds} seeds, shared by all arms"
    return (
        SettingRow("Data", data, f"{results.config['task']}, as described above"),
        *(SettingRow(name, paper, here.format_map(values)) for name, paper, here in rows),
        SettingRow("Repetitions", NOT_STATED, seeds),
    )


def _values(results: Results) -> dict[str, str]:
    """Return the settings of a run as words, by name."""
    plan = results.plan
    lengths = {"steps": plan.steps, "examples": plan.examples}
    return {
        **{name: f"{value:g}" for name, value in plan.fixed.items()},
        **{name: swept(results, name) for name in plan.grid},
        **{name: f"{value:,}" for name, value in lengths.items() if value is not None},
    }


def notes(
    results: Results,
    best: Iterable[Setting] = (),
    rule: str = "",
    given: Collection[str] = (),
) -> tuple[str, ...]:
    """Return what to keep in mind with any run.

    Args:
        results: the run.
        best: settings that were picked as best.
        rule: how they were picked.
        given: settings of them that were not picked, as each value has its own best.
    """
    seeds = results.plan.seeds
    other = 1 - ((1 - CONFIDENCE) / 2) ** (1 / seeds)
    found = [
        _INTERVALS.format(seeds=seeds, other=other),
        _MEDIANS.format(covered=intervals.coverage(seeds)),
    ]
    if rule:
        found = [rule, _PICKED, *found]
    if results.plan.targets:
        found += [_COUNTED.format(every=results.plan.every), _CENSORED]
    for setting in best:
        beyond = comparison.edges(results, setting, given)
        if beyond:
            label = results.study.arm(setting.arm).label
            found.append(
                f"The best setting of {label} lies on the edge of the grid "
                f"({' and '.join(beyond)}): a better one may lie outside it."
            )
    return tuple(dict.fromkeys(found))
