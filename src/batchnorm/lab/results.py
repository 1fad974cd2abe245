"""A run read back from its folder: the trials that are whole, and a list of what is not."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchnorm.errors import RunError
from batchnorm.lab import configuration, registry
from batchnorm.lab.own import Own
from batchnorm.lab.plan import Plan, Settings, Trial
from batchnorm.lab.records import Damage, Record
from batchnorm.lab.store import Json, RunFolder
from batchnorm.lab.study import Study

Find = Callable[[str], Study]


@dataclass(frozen=True)
class TrialResult:
    """One trial that ended.

    Args:
        trial: Its settings.
        evaluations: Its records.
        diverged_at: Step at which the loss was no longer finite, or ``None``.
        chance: Accuracy of a guess, which a diverged trial counts as.
    """

    trial: Trial
    evaluations: tuple[Record, ...]
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
        """Return the first evaluated step with at least ``target`` accuracy, or infinity."""
        reached = (e["step"] for e in self.evaluations if e["test_accuracy"] >= target)
        return float(next(reached, math.inf))

    def series(self, field: str, length: int, after: float = math.nan) -> NDArray[np.float64]:
        """Return one field over the schedule, NaN where it is null.

        Args:
            field: Name of the field.
            length: Length of the schedule.
            after: Value from the step of a divergence on.
        """
        values = [math.nan if e[field] is None else e[field] for e in self.evaluations]
        return np.array(values + [after] * (length - len(values)), np.float64)

    @property
    def final_accuracy(self) -> float:
        """The last test accuracy; chance when the trial diverged."""
        return self.chance if self.diverged_at is not None else self["test_accuracy"]


@dataclass(frozen=True)
class Results:
    """A run as its report sees it.

    Args:
        study: The study.
        plan: What was to be done.
        config: The whole configuration.
        environment: The machine.
        trials: Trials that ended and are whole.
        unfinished: Trials that have not ended.
        damage: What was found damaged; those trials are left out unless only weights are.
        seconds: Time spent in trials, over all workers.
    """

    study: Study
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


def load(path: Path, find: Find | None = None) -> Results:
    """Read a run folder.

    Args:
        path: The folder.
        find: Returns the study of a name; ``None`` knows the studies of `registry`.

    Returns:
        What it holds, damage listed and left out.

    Raises:
        RunError: It is no run folder, its configuration is damaged, or no trial has ended.
    """
    folder = RunFolder(path)
    config = configuration.read(folder)
    if config is None:
        raise RunError(
            f"{path} is not a run folder: needed a config.json in it, found none: "
            "give the folder that `batchnorm study run` wrote"
        )
    study, plan = _understand(config, path, find or registry.get)
    damage: list[Damage] = []
    environment, problem = _environment(folder)
    damage += problem
    ended, unfinished = _trials(study, plan, folder, config, damage)
    if not ended:
        raise RunError(
            f"{path} has no whole trial to report: give the command of the run again to go on"
        )
    seconds = _seconds(path / "timings.jsonl", damage)
    return Results(study, plan, config, environment, ended, unfinished, tuple(damage), seconds)


def _understand(config: Json, path: Path, find: Find) -> tuple[Study, Plan]:
    try:
        study = find(config["study"])
        if "own" in config:
            study = Own(**config["own"]).adapt(study)
        return study, Plan.from_json(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path / 'config.json'} is damaged: it has no usable {error}: run the study again "
            "into another --out"
        ) from error


def _environment(folder: RunFolder) -> tuple[Json, list[Damage]]:
    try:
        content = folder.read_json("environment.json")
    except RunError as error:
        return {}, [Damage("environment.json", None, str(error))]
    if content is None:
        return {}, [Damage("environment.json", None, "the file is missing")]
    return content, []


def _trials(
    study: Study, plan: Plan, folder: RunFolder, config: Json, damage: list[Damage]
) -> tuple[tuple[TrialResult, ...], tuple[Trial, ...]]:
    chance = math.nan if config["chance"] is None else float(config["chance"])
    ended: list[TrialResult] = []
    unfinished: list[Trial] = []
    for trial in study.trials(plan):
        history = folder.history(study, plan, trial)
        damage += [history.damage] if history.damage else []
        if history.end is not None:
            at = history.end["step"] if history.end["end"] == "diverged" else None
            ended.append(TrialResult(trial, history.evaluations, at, chance))
        elif history.damage is None:
            unfinished.append(trial)
    return tuple(ended), tuple(unfinished)


def _seconds(path: Path, damage: list[Damage]) -> float:
    total = 0.0
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            total += float(json.loads(line)["seconds"])
        except (ValueError, KeyError, TypeError):
            damage.append(Damage(path.name, number, "the line is not a timing"))
    return total
