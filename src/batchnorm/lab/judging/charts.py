"""Figures that studies have in common, as data: from results to findings, nothing drawn yet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from batchnorm.errors import RunError
from batchnorm.lab.design import Settings
from batchnorm.lab.judging import comparison
from batchnorm.lab.judging._estimates import Median
from batchnorm.lab.judging._figures import ACCURACY, STEPS, Axis, Bars, Curve, Curves, Point
from batchnorm.lab.judging._results import Results
from batchnorm.lab.judging.comparison import Rank, Setting, Value


def accuracy_curves(
    results: Results, rank: Rank, best_for: str, where: Settings | None = None
) -> Curves:
    """Return the test accuracy by step of each arm at its best setting.

    Args:
        results: the run.
        rank: order of the settings; the first one is taken.
        best_for: what for, in words.
        where: values that some of the settings must have.
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
        results: the run.
        setting: the one whose trials are taken.
        key: the field that holds the list.
        x: the values along the other axis.
        label: what to call it, in place of the arm's label.
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
        results: the run.
        axis: the setting.
        value: what is drawn.
        rank: order of the other settings; the first one is taken.
        where: values that some of the other settings must have.

    Raises:
        RunError: no trial of any arm has them.
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


def accuracy_sweep(
    results: Results,
    axis: str,
    title: str,
    caption: str,
    *,
    marks: tuple[float, ...] = (),
    where: Settings | None = None,
) -> Curves:
    """Return the accuracy at the end by one setting of the grid, each arm at its best others.

    Args:
        results: the run.
        axis: the setting.
        title: what a reader calls the figure.
        caption: how to read it.
        marks: accuracies to draw a line at.
        where: values that some of the other settings must have.
    """
    found = sweep(results, axis, lambda trial: trial.final_accuracy, where=where)
    return Curves(title, caption, log_axis(results, axis), ACCURACY, found, marks)


def log_axis(results: Results, name: str) -> Axis:
    """Return the logarithmic axis of a setting of the grid."""
    return Axis(f"{results.study.axes[name]} (logarithmic)", log=True)


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
        results: the run.
        groups: the name of each group, and which setting of an arm it shows.
        value: what is drawn.
        title: what a reader calls the figure.
        caption: how to read it.
        axis: what the values are.
        zoomed: whether the axis leaves out what no bar differs in.
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
        results: the run.
        setting: the one whose first trial is taken.
        fields: the middle, the lower and the upper one.
    """
    length = len(results.schedule)
    trial = setting.trials[0]
    bands = (trial.series(field, length).tolist() for field in fields)
    found = curve(results, setting.arm, results.schedule, *bands)
    return replace(found, label=f"{found.label} ({setting.words()})")


def _label(results: Results, setting: Setting) -> str:
    return results.study.arm(setting.arm).label
