"""Results of a run: its trials that are whole; and the study that judges them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchnorm.lab.design import Experiment, Plan, Settings, Trial
from batchnorm.lab.judging._findings import Findings
from batchnorm.lab.records import Damage, Entry
from batchnorm.lab.running._store import Json

LAST = 5  # evaluations that say whether a trial trains: one alone is a matter of luck


@dataclass(frozen=True)
class TrialResult:
    """One trial that ended.

    Args:
        trial: its settings.
        evaluations: its records.
        diverged_at: step at which the loss was no longer finite, or `None`.
        chance: accuracy of a guess, which a diverged trial counts as.
    """

    trial: Trial
    evaluations: tuple[Entry, ...]
    diverged_at: int | None = None
    chance: float = math.nan

    def __getitem__(self, field: str) -> float:
        """A number of the last record, NaN where it is null."""
        value = self.evaluations[-1][field]
        return math.nan if value is None else float(value)

    def listed(self, field: str) -> NDArray[np.float64]:
        """Return a list of the last record, NaN where a number is null."""
        return np.array(self.evaluations[-1][field], np.float64)

    def steps_to(self, target: float) -> float:
        """Return the first evaluated step with at least `target` accuracy, or infinity."""
        reached = (e["step"] for e in self.evaluations if e["test_accuracy"] >= target)
        return float(next(reached, math.inf))

    def series(self, field: str, length: int, after: float = math.nan) -> NDArray[np.float64]:
        """Return one field over the schedule, NaN where it is null.

        Args:
            field: name of the field.
            length: length of the schedule.
            after: value from the step of a divergence on.
        """
        values = [math.nan if e[field] is None else e[field] for e in self.evaluations]
        return np.array(values + [after] * (length - len(values)), np.float64)

    @property
    def final_accuracy(self) -> float:
        """The last test accuracy; chance when the trial diverged."""
        return self.chance if self.diverged_at is not None else self["test_accuracy"]

    @property
    def settled_accuracy(self) -> float:
        """The mean of the last test accuracies; chance when the trial diverged."""
        if self.diverged_at is not None:
            return self.chance
        return float(np.mean([entry["test_accuracy"] for entry in self.evaluations[-LAST:]]))


@dataclass(frozen=True)
class Results:
    """A run as its report sees it.

    Args:
        study: the study.
        plan: what was to be done.
        config: the whole configuration.
        environment: the machine.
        trials: trials that ended and are whole.
        unfinished: trials that have not ended.
        damage: what was found damaged; those trials are left out unless only weights are.
        seconds: time spent in trials, over all workers.
    """

    study: "Study"
    plan: Plan
    config: Json
    environment: Json
    trials: tuple[TrialResult, ...]
    unfinished: tuple[Trial, ...]
    damage: tuple[Damage, ...]
    seconds: float

    @property
    def schedule(self) -> tuple[int, ...]:
        """The steps of the evaluations, where all trials have the same."""
        return self.study.work.schedule(self.plan, self.trials[0].trial)

    def of(self, arm: str, at: Settings) -> list[TrialResult]:
        """Return the trials of one arm at one point of the grid, by seed."""
        found = [t for t in self.trials if t.trial.arm == arm and t.trial.at == at]
        return sorted(found, key=lambda t: t.trial.seed)

    @property
    def diverged(self) -> tuple[TrialResult, ...]:
        """The trials whose loss was no longer finite."""
        return tuple(t for t in self.trials if t.diverged_at is not None)


@dataclass(frozen=True)
class Study(Experiment):
    """An experiment, and how its results are judged.

    Args:
        name: what the command line calls it.
        title: what a reader calls it.
        question: the question in one sentence.
        claims: which published claims it judges; see `claims.CLAIMS`.
        arms: what is compared.
        axes: the settings that are swept, in the order of the grid, with their names for readers.
        work: what a trial does.
        plans: plan by task and scale; the first task is the default.
        findings: judges the results.
    """

    findings: Callable[[Results], Findings]
