"""Figures that studies have in common, as data: from results to findings, nothing drawn yet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from batchnorm.errors import RunError
from batchnorm.lab.design import Settings
from batchnorm.lab.judging import comparison
from batchnorm.lab.judging.comparison import Rank, Setting, Value
from batchnorm.lab.judging.estimates import Median
from batchnorm.lab.judging.findings import (
    ACCURACY,
    STEPS,
    Axis,
    Bars,
    Curve,
    Curves,
    Grid,
    Grids,
    Point,
    Points,
    Table,
)
from batchnorm.lab.judging.results import Results


def steps_text(value: float, limit: float) -> str:
    """Return a number of steps, or "> limit" when it is censored."""
    return f"> {limit:,.0f}" if math.isinf(value) else f"{value:,.0f}"


def accuracy_curves(
    results: Results, rank: Rank, best_for: str, where: Settings | None = None
) -> Curves:
    """Return the test accuracy by step of each arm at its best setting.

    Args:
        results: The run.
        rank: Says which setting is best.
        best_for: What for, in words.
        where: Values that some of the settings must have.
    """
    chosen = [comparison.best(results, arm.name, rank, where) for arm in results.study.arms]
    chance = results.trials[0].chance
    words = "; ".join(f"{_label(results, s)}: {s.words()}" for s in chosen)
    return Curves(
        "Test accuracy by training step",
        "Line: median over the seeds. Band: from the worst to the best seed. Each network at its "
        f"best setting for {best_for} ({words}). A diverged trial counts as chance.",
        STEPS,
        ACCURACY,
        tuple(series(results, s, "test_accuracy", after=chance) for s in chosen),
        results.plan.targets,
    )


def series(results: Results, setting: Setting, field: str, after: float = math.nan) -> Curve:
    """Return the median of a field by step, with a band from the smallest to the largest."""
    steps = results.study.work.schedule(results.plan, setting.trials[0].trial)
    rows = np.array([t.series(field, len(steps), after) for t in setting.trials])
    middle, low, high = (f(rows, axis=0).tolist() for f in (np.median, np.min, np.max))
    return curve(results, setting.arm, steps, middle, low, high)


def curve(
    results: Results,
    arm: str,
    x: Sequence[float],
    middle: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> Curve:
    """Return the curve of an arm, under its label and in its dash."""
    found = results.study.arm(arm)
    return Curve(arm, found.label, tuple(x), tuple(middle), tuple(low), tuple(high), found.dashed)


def listed(
    results: Results, setting: Setting, key: str, x: Sequence[float], label: str = ""
) -> Curve:
    """Return the median of a list that was measured, with a band from smallest to largest.

    Args:
        results: The run.
        setting: Whose trials.
        key: The field that holds the list.
        x: Where its values stand.
        label: What to call it, in place of the arm's label.
    """
    rows = np.array([trial.listed(key) for trial in setting.trials])
    found = curve(
        results, setting.arm, x, *(f(rows, 0).tolist() for f in (np.median, np.min, np.max))
    )
    return replace(found, label=label or found.label)


def sweep(
    results: Results,
    axis: str,
    value: Value,
    *,
    rank: Rank = comparison.most_accurate,
    where: Settings | None = None,
) -> tuple[Curve, ...]:
    """Return the median of a value of each arm by one setting of the grid, with its interval.

    Args:
        results: The run.
        axis: The setting.
        value: What is drawn.
        rank: Says which of the other settings are best.
        where: Values that some of the other settings must have.

    Raises:
        RunError: No trial of any arm has them.
    """
    curves = []
    for arm in results.study.arms:
        found = [
            (x, comparison.best(results, arm.name, rank, at).median(value))
            for x in results.plan.grid[axis]
            if any(comparison.settings(results, arm.name, at := {**(where or {}), axis: x}))
        ]
        if found:
            x, medians = zip(*found, strict=True)
            middle, low, high = zip(*((m.value, m.low, m.high) for m in medians), strict=True)
            curves.append(curve(results, arm.name, x, middle, low, high))
    if not curves:
        raise RunError(
            f"the run has no whole trial with {comparison.named(where or {})}: give the command of "
            "the run again to go on"
        )
    return tuple(curves)


def log_axis(results: Results, name: str) -> Axis:
    """Return the logarithmic axis of a setting of the grid."""
    return Axis(f"{results.study.axes[name]} (logarithmic)", log=True)


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
        "Dot: median over the seeds at the best setting for that accuracy. Line: 95 % interval. "
        f"A triangle stands for more than {limit:,} steps: the accuracy was not reached.",
        STEPS,
        tuple(points),
        limit,
    )


def bars(
    results: Results,
    groups: Sequence[tuple[str, Callable[[str], Setting | None]]],
    value: Value,
    title: str,
    caption: str,
    axis: Axis = ACCURACY,
    *,
    zoomed: bool = False,
) -> Bars:
    """Return the median of a value of each arm in groups of bars.

    Args:
        results: The run.
        groups: The name of each group, and which setting of an arm it shows.
        value: What is drawn.
        title: What a reader calls the figure.
        caption: How to read it.
        axis: What the values are.
        zoomed: Whether the axis leaves out what no bar differs in.
    """
    found = []
    for (group, choose), arm in product(groups, results.study.arms):
        setting = choose(arm.name)
        if setting is not None:
            median = setting.median(value)
            found.append(_bar(setting, arm.label, group, median, axis))
    return Bars(title, caption, axis, tuple(found), zoomed)


def _bar(setting: Setting, label: str, group: str, median: Median, axis: Axis) -> Point:
    text = f"{median.value:.1%}" if axis.percent else f"{median.value:.3g}"
    return Point(
        setting.arm, label, group, median.value, median.low, median.high, text, setting.words()
    )


def unit_bands(results: Results, setting: Setting) -> Curve:
    """Return the percentiles of the observed unit in the first trial of a setting."""
    return bands(results, setting, ("p50", "p15", "p85"))


def bands(results: Results, setting: Setting, fields: tuple[str, str, str]) -> Curve:
    """Return three fields by step in the first trial of a setting.

    Args:
        results: The run.
        setting: Whose first trial.
        fields: The middle, the lower and the upper one.
    """
    length = len(results.schedule)
    trial = setting.trials[0]
    bands = (trial.series(field, length).tolist() for field in fields)
    found = curve(results, setting.arm, results.schedule, *bands)
    return replace(found, label=f"{found.label} ({setting.words()})")


def grids(results: Results, target: float, rows: str, columns: str) -> Grids:
    """Return the median steps to a target of every arm in every setting.

    Args:
        results: The run.
        target: The accuracy.
        rows: The setting that the rows stand for.
        columns: The setting that the columns stand for.
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
    """Return 1 for the fastest that can be told, 0 for the whole trial, NaN when not reached."""
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


def _label(results: Results, setting: Setting) -> str:
    return results.study.arm(setting.arm).label
