"""Figures and tables of the steps to an accuracy, as data: by target, by setting, side by side."""

import math
from itertools import product

from batchnorm.lab.judging import comparison
from batchnorm.lab.judging._figures import STEPS, Grid, Grids, Point, Points, Table
from batchnorm.lab.judging._results import Results
from batchnorm.lab.judging.comparison import Setting


def steps_text(value: float, limit: float) -> str:
    """Return a number of steps, or "> limit" when it is censored."""
    return f"> {limit:,.0f}" if math.isinf(value) else f"{value:,.0f}"


def steps_to_targets(results: Results) -> Points:
    """Return the median steps to each target of each arm, at its best setting for that target."""
    limit = results.plan.steps or 0
    points = []
    for target, arm in product(results.plan.targets, results.study.arms):
        setting = comparison.best(results, arm.name, comparison.fewest_steps(target))
        found = setting.steps_to(target)
        censored = f", {found.censored} of {found.seeds} censored" if found.censored else ""
        points.append(
            Point(
                arm.name,
                arm.label,
                f"to {target:.0%} accuracy",
                found.value,
                found.low,
                found.high,
                steps_text(found.value, limit),
                setting.words() + censored,
            )
        )
    return Points(
        "Steps to reach an accuracy",
        "Dot: median over the seeds at the best setting for that accuracy. Line: its interval. "
        f"A triangle stands for more than {limit:,} steps: the accuracy was not reached.",
        STEPS,
        tuple(points),
        limit,
    )


def grids(results: Results, target: float, rows: str, columns: str) -> Grids:
    """Return the median steps to a target of every arm in every setting.

    Args:
        results: the run.
        target: the accuracy.
        rows: the setting of the rows.
        columns: the setting of the columns.
    """
    axes = results.study.axes
    return Grids(
        f"Every setting: median steps to {target:.0%} accuracy",
        "The stronger the blue, the fewer the steps. Grey: not reached within the steps of a "
        "trial. Below it the median accuracy at the end, or how many trials "
        "diverged (div.).",
        axes[rows],
        axes[columns],
        tuple(
            _grid(results, arm.name, arm.label, target, rows, columns) for arm in results.study.arms
        ),
    )


def _grid(results: Results, arm: str, label: str, target: float, rows: str, columns: str) -> Grid:
    limit = results.plan.steps or 0
    down, across = results.plan.grid[rows], results.plan.grid[columns]
    values, texts = [], []
    for y in down:
        row = [next(comparison.settings(results, arm, {rows: y, columns: x}), None) for x in across]
        values.append(tuple(_speed(setting, target, limit) for setting in row))
        texts.append(tuple(_cell(setting, target, limit) for setting in row))
    row_names, column_names = (tuple(f"{value:g}" for value in side) for side in (down, across))
    return Grid(arm, label, row_names, column_names, tuple(values), tuple(texts))


def _speed(setting: Setting | None, target: float, limit: int) -> float:
    """Return 1 for the fewest steps that count, 0 for the whole trial, NaN when not reached."""
    value = math.inf if setting is None else setting.steps_to(target).value
    if math.isinf(value):
        return math.nan
    finest = 5.0
    return 1.0 - math.log(max(value, finest) / finest) / math.log(max(limit, 6) / finest)


def _cell(setting: Setting | None, target: float, limit: int) -> str:
    if setting is None:
        return "no trial"
    text = steps_text(setting.steps_to(target).value, limit)
    diverged = sum(t.diverged_at is not None for t in setting.trials)
    if diverged:
        return f"{text}\n{diverged}/{len(setting.trials)} div."
    return f"{text}\n{setting.final_accuracy:.0%}"


def equal_settings(results: Results, target: float, pairs: tuple[tuple[str, str], ...]) -> Table:
    """Return the pairs of arms side by side at every point of the grid."""
    label = {arm.name: arm.label for arm in results.study.arms}
    columns = list(results.study.axes.values())
    for plain, normalized in pairs:
        columns += [label[plain], label[normalized], "Ratio [95 % interval]"]
    rows = []
    for point in results.plan.points():
        row = [f"{value:g}" for value in point.values()]
        for pair in pairs:
            row += _pair_cells(results, point, target, pair)
        rows.append(tuple(row))
    return Table(
        f"At equal settings: median steps to {target:.0%} accuracy",
        "The same settings for both networks, so nothing was picked. "
        "Ratio: steps of the plain network over steps of the normalized one.",
        tuple(columns),
        tuple(rows),
    )


def _pair_cells(
    results: Results, point: dict[str, float], target: float, pair: tuple[str, str]
) -> list[str]:
    found = [Setting(arm, point, tuple(results.of(arm, point))) for arm in pair]
    limit = results.plan.steps or 0
    cells = [steps_text(s.steps_to(target).value, limit) if s.trials else "no trial" for s in found]
    ratio = comparison.step_ratio(results, found[0], found[1], target)
    return [*cells, ratio.brief if ratio else "no shared seed"]
