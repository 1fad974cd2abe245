"""Summaries of an arm: one number for each seed, made of all its settings; and arms compared.

Only seeds count of which every setting is whole: a share of some settings is another number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from batchnorm.lab.design import Settings
from batchnorm.lab.judging import comparison, intervals
from batchnorm.lab.judging._estimates import Difference, Ratio
from batchnorm.lab.judging._results import Results, TrialResult

Value = TypeVar("Value")
Trains = Callable[[TrialResult], bool]
Numbers = Mapping[int, float]


def reaches(target: float) -> Trains:
    """Return the rule that a trial trains when it ends with at least an accuracy."""
    return lambda trial: trial.final_accuracy >= target


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


def difference(first: Numbers, second: Numbers) -> Difference | None:
    """Return the mean difference of two shares over the seeds that both have, if there are any."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return intervals.difference([first[s] for s in seeds], [second[s] for s in seeds])


def ratio(above: Numbers, below: Numbers) -> Ratio | None:
    """Return the ratio of two medians over the seeds that both have.

    Returns:
        `None` when they share no seed, or a number is 0, so that nothing can be said of it.
    """
    seeds = sorted(above.keys() & below.keys())
    if not seeds or not all(above[seed] and below[seed] for seed in seeds):
        return None
    return intervals.ratio([above[s] for s in seeds], [below[s] for s in seeds])
