"""The figures that studies have in common, as data: from results to findings, nothing drawn yet."""

import math
from itertools import product

import numpy as np

from . import comparison
from .comparison import Setting
from .findings import Curve, Curves, Grid, Grids, Point, Points, Table
from .results import Results


def steps_text(value: float, limit: int) -> str:
    """Return a number of steps, or "> limit" when it is censored."""
    return f"> {limit:,}" if math.isinf(value) else f"{value:,.0f}"


def accuracy_curves(results: Results, target: float) -> Curves:
    """Return the test accuracy by step of each arm at its best setting."""
    curves = []
    for arm in results.study.arms:
        setting = comparison.best(results, arm.name, target)
        rows = np.array(
            [t.series("test_accuracy", len(results.schedule), after=0.1) for t in setting.trials]
        )
        curves.append(
            Curve(
                arm.name,
                arm.label,
                results.schedule,
                *(tuple(f(rows, axis=0).tolist()) for f in (np.median, np.min, np.max)),
            )
        )
    best = "; ".join(
        f"{arm.label}: {comparison.best(results, arm.name, target).words()}"
        for arm in results.study.arms
    )
    return Curves(
        "Test accuracy by training step",
        "Line: median over the seeds. Band: from the worst to the best seed. Each network at its "
        f"best setting for {target:.0%} accuracy ({best}). A diverged trial counts as chance.",
        "Test accuracy",
        tuple(curves),
        results.budget.targets,
    )


def steps_to_targets(results: Results) -> Points:
    """Return the median steps to each target of each arm, at its best setting for that target."""
    points = []
    for target, arm in product(results.budget.targets, results.study.arms):
        setting = comparison.best(results, arm.name, target)
        found = setting.steps_to(target)
        censored = f", {found.censored} of {found.seeds} censored" if found.censored else ""
        points.append(
            Point(
                arm.name,
                arm.label,
                target,
                found.value,
                found.low,
                found.high,
                setting.words() + censored,
            )
        )
    return Points(
        "Steps to reach an accuracy",
        "Dot: median over the seeds at the best setting for that accuracy. Line: 95 % interval. "
        f"A triangle stands for more than {results.budget.steps:,} steps: the accuracy was not "
        "reached.",
        tuple(points),
        results.budget.steps,
    )


def unit_bands(results: Results, setting: Setting) -> Curve:
    """Return the percentiles of the observed unit in the first trial of a setting."""
    length = len(results.schedule)
    trial = setting.trials[0]
    label = results.study.arm(setting.arm).label
    return Curve(
        setting.arm,
        f"{label} ({setting.words()})",
        results.schedule,
        *(tuple(trial.series(field, length).tolist()) for field in ("p50", "p15", "p85")),
    )


def grids(results: Results, target: float) -> Grids:
    """Return the median steps to a target of every arm in every setting."""
    return Grids(
        f"Every setting: median steps to {target:.0%} accuracy",
        "The stronger the blue, the fewer the steps. Grey: not reached within the steps of a "
        "trial. Below it the median accuracy at the end, or how many trials "
        "diverged (div.).",
        tuple(_grid(results, arm.name, arm.label, target) for arm in results.study.arms),
    )


def _grid(results: Results, arm: str, label: str, target: float) -> Grid:
    limit = results.budget.steps
    cells = {(s.scale, s.rate): s for s in comparison.settings(results, arm)}
    values, texts = [], []
    for scale in results.budget.scales:
        row = [cells.get((scale, rate)) for rate in results.budget.rates]
        values.append(tuple(_speed(setting, target, limit) for setting in row))
        texts.append(tuple(_cell(setting, target, limit) for setting in row))
    return Grid(
        arm, label, results.budget.scales, results.budget.rates, tuple(values), tuple(texts)
    )


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
    """Return the pairs of arms side by side at equal learning rates and weight scales."""
    label = {arm.name: arm.label for arm in results.study.arms}
    columns = ["Weight scale", "Learning rate"]
    for plain, normalized in pairs:
        columns += [label[plain], label[normalized], "Ratio [95 % interval]"]
    rows = []
    for scale, rate in product(results.budget.scales, results.budget.rates):
        row = [f"{scale:g}", f"{rate:g}"]
        for pair in pairs:
            row += _pair_cells(results, scale, rate, target, pair)
        rows.append(tuple(row))
    return Table(
        f"At equal settings: median steps to {target:.0%} accuracy",
        "The same learning rate and weight scale for both networks, so nothing was picked. "
        "Ratio: steps of the plain network over steps of the normalized one.",
        tuple(columns),
        tuple(rows),
    )


def _pair_cells(
    results: Results, scale: float, rate: float, target: float, pair: tuple[str, str]
) -> list[str]:
    found = [Setting(arm, scale, rate, tuple(results.of(arm, scale, rate))) for arm in pair]
    cells = [
        steps_text(s.steps_to(target).value, results.budget.steps) if s.trials else "no trial"
        for s in found
    ]
    ratio = comparison.step_ratio(results, found[0], found[1], target)
    return [*cells, ratio.brief if ratio else "no shared seed"]
