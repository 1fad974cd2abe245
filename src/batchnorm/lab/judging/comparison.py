"""Comparison of arms: the best setting of an arm, and how two arms differ over the seeds."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from batchnorm.errors import RunError
from batchnorm.lab.design import Settings
from batchnorm.lab.judging import intervals
from batchnorm.lab.judging._estimates import Difference, Extreme, Median, Offset, Ratio
from batchnorm.lab.judging._results import Results, TrialResult

_FINE = math.log1p(intervals.DIGIT)
Value = Callable[[TrialResult], float]
Rank = Callable[["Setting"], tuple[float, ...]]

RULE = (
    "Best setting of an arm for a target: the one with the fewest median steps to it; among "
    "equals, or where none reaches it, the highest median accuracy at the end."
)


@dataclass(frozen=True)
class Setting:
    """An arm at one point of the grid.

    Args:
        arm: name of the arm.
        at: the point.
        trials: its trials, by seed.
    """

    arm: str
    at: Settings
    trials: tuple[TrialResult, ...]

    def steps_to(self, target: float) -> Median:
        """Return the median number of steps to a target."""
        return self.median(lambda trial: trial.steps_to(target))

    def median(self, value: Value) -> Median:
        """Return the median of a value over the seeds."""
        return intervals.median([value(trial) for trial in self.trials])

    @property
    def final_accuracy(self) -> float:
        """Median accuracy at the end; a diverged trial counts as chance."""
        return float(np.median([trial.final_accuracy for trial in self.trials]))

    def words(self) -> str:
        """Return the setting for a reader."""
        return ", ".join(f"{name} {self.at[name]:g}" for name in reversed([*self.at]))


def settings(results: Results, arm: str, where: Settings | None = None) -> Iterator[Setting]:
    """Yield every setting of an arm that has a whole trial.

    Args:
        results: the run.
        arm: name of the arm.
        where: values that some of the settings must have.
    """
    wanted = (where or {}).items()
    for point in results.plan.points():
        trials = tuple(results.of(arm, point)) if wanted <= point.items() else ()
        if trials:
            yield Setting(arm, point, trials)


def fewest_steps(target: float) -> Rank:
    """Return the order of `RULE`."""
    return lambda setting: (setting.steps_to(target).value, -setting.final_accuracy)


def most_accurate(setting: Setting) -> tuple[float, ...]:
    """Order settings by their median accuracy at the end."""
    return (-setting.final_accuracy,)


def best(results: Results, arm: str, rank: Rank, where: Settings | None = None) -> Setting:
    """Return the best setting of an arm.

    Args:
        results: the run.
        arm: name of the arm.
        rank: the smaller, the better.
        where: values that some of the settings must have.

    Raises:
        RunError: the arm has no whole trial there.
    """
    return min(_candidates(results, arm, where), key=rank)


def _candidates(results: Results, arm: str, where: Settings | None) -> list[Setting]:
    """Return the settings of an arm that have whole trials, at least one."""
    found = list(settings(results, arm, where))
    if not found:
        place = f", {named(where)}" if where else ""
        raise RunError(
            f"the run has no whole trial of the arm {arm}{place}: give the command of the run "
            "again to go on"
        )
    return found


def picked_elsewhere(
    results: Results, arm: str, rank: Rank, where: Settings | None = None
) -> Setting:
    """Return an arm with the trial of each seed at the setting that is best on the other seeds.

    What is read was not picked for being high, so an interval over it holds for new seeds.

    Args:
        results: the run.
        arm: name of the arm.
        rank: the smaller, the better.
        where: values that some of the settings must have.

    Returns:
        The trials under the setting that is best on all seeds; where there is one seed only, there
        are no others, and that setting is taken.

    Raises:
        RunError: the arm has no whole trial there.
    """
    candidates = _candidates(results, arm, where)
    whole = min(candidates, key=rank)
    seeds = sorted({trial.trial.seed for one in candidates for trial in one.trials})
    if len(seeds) == 1:
        return whole
    found = (_picked_without(candidates, seed, rank) for seed in seeds)
    return Setting(arm, whole.at, tuple(trial for trial in found if trial is not None))


def _picked_without(candidates: Iterable[Setting], seed: int, rank: Rank) -> TrialResult | None:
    """Return the trial of a seed at the setting that is best on the others."""
    split = []
    for one in candidates:
        others = tuple(trial for trial in one.trials if trial.trial.seed != seed)
        own = [trial for trial in one.trials if trial.trial.seed == seed]
        if own and others:
            split.append((Setting(one.arm, one.at, others), own[0]))
    return min(split, key=lambda pair: rank(pair[0]))[1] if split else None


def best_of_each(results: Results, rank: Rank) -> dict[str, Setting]:
    """Return the best setting of each arm, by the name of the arm.

    Args:
        results: the run.
        rank: the smaller, the better.
    """
    return {arm.name: best(results, arm.name, rank) for arm in results.study.arms}


def only(results: Results, arm: str, where: Settings) -> Setting:
    """Return the setting of an arm that has these values, which are all that are swept.

    Raises:
        RunError: it has no whole trial.
    """
    return best(results, arm, lambda _: (), where)


def named(where: Settings) -> str:
    """Return values of settings for a reader."""
    return ", ".join(f"{name} {value:g}" for name, value in where.items())


def edges(results: Results, setting: Setting, given: Collection[str] = ()) -> tuple[str, ...]:
    """Return in which directions a better setting might lie outside the grid.

    Args:
        results: the run.
        setting: one that was picked.
        given: settings of it that were not picked.
    """
    found = []
    for name in reversed([*setting.at]):
        value, grid = setting.at[name], results.plan.grid[name]
        if name not in given and len(grid) > 1 and value in {min(grid), max(grid)}:
            words = results.study.axes[name].lower()
            found.append(f"{'smallest' if value == min(grid) else 'largest'} {words}")
    return tuple(found)


def ratio(above: Setting, below: Setting, value: Value) -> Ratio | None:
    """Return the geometric mean of the ratios of two settings over the seeds that both have.

    Args:
        above: the numerator.
        below: the denominator.
        value: what is compared; infinity where it overflowed.

    Returns:
        `None` when they share no seed.
    """
    ours, theirs = _pairs(above, below, value)
    return intervals.ratio(ours, theirs) if ours else None


def step_ratio(results: Results, above: Setting, below: Setting, target: float) -> Ratio | None:
    """Return how many times more steps to the target one setting takes than another.

    A number of steps is known to the distance of the evaluations.
    """
    ours, theirs = _pairs(above, below, lambda trial: trial.steps_to(target))
    if not ours:
        return None
    trials = (*above.trials, *below.trials)
    step = max(_gap(trial, target) for trial in trials)
    return intervals.ratio(ours, theirs, results.plan.steps or math.inf, step=step)


def _gap(trial: TrialResult, target: float) -> float:
    """Return the logarithm of the steps to a target over those of the evaluation before it."""
    steps = [entry["step"] for entry in trial.evaluations if entry["step"] > 0]
    reached = trial.steps_to(target)
    before = [step for step in steps if step < reached]
    return math.log(reached / before[-1]) if before and math.isfinite(reached) else _FINE


def offset(first: Setting, second: Setting, value: Value) -> Offset | None:
    """Return the mean difference of a number over the seeds that both settings have.

    Args:
        first: what it is subtracted from.
        second: what is subtracted.
        value: what is compared.

    Returns:
        `None` when they share no seed, or a number is not finite.
    """
    ours, theirs = _pairs(first, second, value)
    if not ours or not all(map(math.isfinite, (*ours, *theirs))):
        return None
    return intervals.offset(ours, theirs)


def accuracy_difference(first: Setting, second: Setting) -> Difference | None:
    """Return the difference of the accuracies at the end; a diverged trial counts as chance.

    Returns:
        `None` when they share no seed.
    """
    ours, theirs = _pairs(first, second, lambda trial: trial.final_accuracy)
    return intervals.difference(ours, theirs) if ours else None


def largest(trials: Iterable[TrialResult], value: Value) -> Extreme | None:
    """Return the largest value over trials, where chance plays no part.

    Args:
        trials: the trials.
        value: what is measured; NaN counts as infinite.
    """
    found = [value(trial) for trial in trials]
    values = [math.inf if math.isnan(v) else v for v in found]
    return Extreme(max(values), len(values)) if values else None


def _pairs(first: Setting, second: Setting, value: Value) -> tuple[list[float], list[float]]:
    """Return the values of two settings over the seeds that both have."""
    ours, theirs = ({t.trial.seed: value(t) for t in s.trials} for s in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
