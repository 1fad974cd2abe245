"""Summaries of an arm: one number for each seed, made of all its settings; and arms compared.

Only seeds count of which every setting is whole: a share of some settings is another number.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from batchnorm.lab.design import Settings
from batchnorm.lab.judging import comparison, intervals
from batchnorm.lab.judging._estimates import Difference, Level, Ratio
from batchnorm.lab.judging._results import Results, TrialResult

Value = TypeVar("Value")
Trains = Callable[[TrialResult], bool]
Numbers = Mapping[int, float]


def reaches(target: float) -> Trains:
    """Return the rule that a trial trains when its last evaluations have a mean accuracy."""
    return lambda trial: trial.settled_accuracy >= target


def by_seed(
    results: Results, arm: str, value: Callable[[TrialResult], Value], where: Settings | None = None
) -> dict[int, Sequence[Value]]:
    """Return by seed the values of an arm over its settings.

    Args:
        results: the run.
        arm: name of the arm.
        value: what is taken of each trial.
        where: values that some of the settings must have.
    """
    wanted = (where or {}).items()
    total = sum(wanted <= point.items() for point in results.plan.points())
    found: dict[int, list[Value]] = {}
    for setting in comparison.settings(results, arm, where):
        for trial in setting.trials:
            found.setdefault(trial.trial.seed, []).append(value(trial))
    return {seed: values for seed, values in found.items() if len(values) == total}


def shares(
    results: Results, arm: str, trains: Trains, where: Settings | None = None
) -> dict[int, float]:
    """Return by seed the share of the settings in which an arm trains."""
    found = by_seed(results, arm, trains, where)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def highest(results: Results, arm: str, axis: str, trains: Trains) -> dict[int, float]:
    """Return by seed the highest value of a setting at which an arm trains, 0 where at none.

    The other settings are free: it is enough that one of their values lets the arm train.
    """
    found = by_seed(results, arm, lambda t: t.trial[axis] if trains(t) else 0.0)
    return {seed: max(values) for seed, values in found.items()}


def difference(first: Numbers, second: Numbers, settings: int) -> Difference | None:
    """Return the mean difference of two shares over the seeds that both have, if there are any.

    Args:
        first: shares by seed.
        second: those that are subtracted.
        settings: how many settings they are shares of.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    step = 1 / settings
    return intervals.difference([first[s] for s in seeds], [second[s] for s in seeds], step=step)


def share_of_seeds(results: Results, arm: str, trains: Trains, at: Settings) -> Level | None:
    """Return the share of the seeds that train at one setting, if there is a trial of it.

    Args:
        results: the run.
        arm: name of the arm.
        trains: whether a trial trains.
        at: the setting.
    """
    found = [all(hits) for hits in by_seed(results, arm, trains, at).values()]
    return intervals.share(found) if found else None


def difference_of_seeds(
    results: Results, first: str, second: str, trains: Trains, at: Settings
) -> Difference | None:
    """Return how many more of the seeds train at one setting in one arm than in another.

    Args:
        results: the run.
        first: name of the one arm.
        second: name of the other.
        trains: whether a trial trains.
        at: the setting.
    """
    ours, theirs = (by_seed(results, arm, trains, at) for arm in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    return intervals.share_difference(
        [all(ours[s]) for s in seeds], [all(theirs[s]) for s in seeds]
    )


def highest_ratio(
    results: Results, first: str, second: str, axis: str, trains: Trains
) -> Ratio | None:
    """Return how many times higher a setting may be in one arm than in another, to train.

    An arm that trains at none has its highest below the grid. The highest is known to the distance
    of the grid's values.

    Args:
        results: the run.
        first: name of the one arm.
        second: name of the other.
        axis: the setting.
        trains: whether a trial trains.
    """
    ours, theirs = (highest(results, arm, axis, trains) for arm in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    grid = sorted(results.plan.grid[axis])
    step = max(_gap(grid, found[seed]) for found in (ours, theirs) for seed in seeds)
    below, above = ([_inverse(found[seed]) for seed in seeds] for found in (ours, theirs))
    return intervals.ratio(above, below, 1 / grid[0], step=step)


def _inverse(value: float) -> float:
    return 1 / value if value else math.inf


def _gap(grid: Sequence[float], value: float) -> float:
    """Return the logarithm of the next value of the grid over one, of the last one at its end."""
    if len(grid) == 1:
        return math.log1p(intervals.DIGIT)
    at = min(bisect_right(grid, value), len(grid) - 1)
    return math.log(grid[at] / grid[at - 1]) if at else 0.0


def ratio(above: Numbers, below: Numbers) -> Ratio | None:
    """Return the geometric mean of the ratios over the seeds that both have.

    Returns:
        `None` when they share no seed, or a number is 0, so that nothing can be said of it.
    """
    seeds = sorted(above.keys() & below.keys())
    if not seeds or not all(above[seed] and below[seed] for seed in seeds):
        return None
    return intervals.ratio([above[s] for s in seeds], [below[s] for s in seeds])
