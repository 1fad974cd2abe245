"""Arms against arms: which setting is an arm's best, and how two arms differ over the seeds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..errors import RunError
from . import statistics
from .results import Results, TrialResult
from .statistics import Median, Ratio

RULE = (
    "Best setting of an arm for a target: the weight scale and learning rate with the fewest "
    "median steps to it; among equals, or where none reaches it, the highest median accuracy at "
    "the end."
)


@dataclass(frozen=True)
class Setting:
    """An arm at one weight scale and learning rate.

    Args:
        arm: Name of the arm.
        scale: Standard deviation of the initial weights.
        rate: Learning rate.
        trials: Its trials, by seed.
    """

    arm: str
    scale: float
    rate: float
    trials: tuple[TrialResult, ...]

    def steps_to(self, target: float) -> Median:
        """Return the median number of steps to a target."""
        return statistics.median([trial.steps_to(target) for trial in self.trials])

    @property
    def final_accuracy(self) -> float:
        """Median accuracy at the end; a diverged trial counts as chance."""
        return float(np.median([trial.final_accuracy for trial in self.trials]))

    def words(self) -> str:
        """Return the setting for a reader."""
        return f"rate {self.rate:g}, scale {self.scale:g}"


def settings(results: Results, arm: str) -> Iterator[Setting]:
    """Yield every setting of an arm that has a whole trial."""
    for scale, rate in product(results.budget.scales, results.budget.rates):
        trials = tuple(results.of(arm, scale, rate))
        if trials:
            yield Setting(arm, scale, rate, trials)


def best(results: Results, arm: str, target: float) -> Setting:
    """Return the best setting of an arm by `RULE`.

    Raises:
        RunError: The arm has no whole trial.
    """

    def rank(setting: Setting) -> tuple[float, float]:
        return setting.steps_to(target).value, -setting.final_accuracy

    candidates = list(settings(results, arm))
    if not candidates:
        raise RunError(
            f"the run has no whole trial of the arm {arm}: give the command of the run again to "
            "go on"
        )
    return min(candidates, key=rank)


def edges(results: Results, setting: Setting) -> tuple[str, ...]:
    """Return in which directions a better setting might lie outside the grid."""
    found = []
    for name, value, grid in (
        ("learning rate", setting.rate, results.budget.rates),
        ("weight scale", setting.scale, results.budget.scales),
    ):
        if len(grid) > 1 and value in {min(grid), max(grid)}:
            found.append(f"{'smallest' if value == min(grid) else 'largest'} {name}")
    return tuple(found)


def ratio(
    above: Setting,
    below: Setting,
    value: Callable[[TrialResult], float],
    limit: float = math.inf,
) -> Ratio | None:
    """Return the ratio of the medians of two settings over the seeds that both have.

    Args:
        above: The numerator.
        below: The denominator.
        value: What is compared; infinity where censored.
        limit: Steps that a censored trial had.

    Returns:
        ``None`` when they share no seed.
    """
    ours, theirs = ({t.trial.seed: value(t) for t in s.trials} for s in (above, below))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    return statistics.ratio([ours[s] for s in seeds], [theirs[s] for s in seeds], limit)


def step_ratio(results: Results, above: Setting, below: Setting, target: float) -> Ratio | None:
    """Return how many times more steps to the target one setting takes than another."""
    return ratio(above, below, lambda trial: trial.steps_to(target), results.budget.steps)
