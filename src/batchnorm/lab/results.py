"""A run read back from its folder: the trials that are whole, and a list of what is not."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RunError
from . import registry, schedule
from .records import Damage, Record
from .store import Json, RunFolder
from .study import Budget, Study, Trial
from .training import FIELDS

_CLASSES = 10


@dataclass(frozen=True)
class TrialResult:
    """One trial that ended.

    Args:
        trial: Its settings.
        evaluations: Its record.
        diverged_at: Step at which the loss was no longer finite, or ``None``.
    """

    trial: Trial
    evaluations: tuple[Record, ...]
    diverged_at: int | None

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
        if self.diverged_at is not None:
            return 1 / _CLASSES
        return float(self.evaluations[-1]["test_accuracy"])


@dataclass(frozen=True)
class Results:
    """A run as its report sees it.

    Args:
        study: The study.
        budget: What was to be trained.
        config: The whole configuration.
        environment: The machine.
        trials: Trials that ended and are whole.
        unfinished: Trials that have not ended.
        damage: What was found damaged; those trials are left out unless only weights are.
        seconds: Time spent in training, over all workers.
    """

    study: Study
    budget: Budget
    config: Json
    environment: Json
    trials: tuple[TrialResult, ...]
    unfinished: tuple[Trial, ...]
    damage: tuple[Damage, ...]
    seconds: float

    @property
    def schedule(self) -> tuple[int, ...]:
        """The steps of the evaluations."""
        return schedule.evaluation_steps(self.budget.steps)

    def of(self, arm: str, scale: float, rate: float) -> list[TrialResult]:
        """Return the trials of one setting, by seed."""
        wanted = (arm, scale, rate)
        found = [t for t in self.trials if (t.trial.arm, t.trial.scale, t.trial.rate) == wanted]
        return sorted(found, key=lambda t: t.trial.seed)

    @property
    def diverged(self) -> tuple[TrialResult, ...]:
        """The trials whose loss was no longer finite."""
        return tuple(t for t in self.trials if t.diverged_at is not None)


def load(path: Path) -> Results:
    """Read a run folder.

    Args:
        path: The folder.

    Returns:
        What it holds, damage listed and left out.

    Raises:
        RunError: It is no run folder, its configuration is damaged, or no trial has ended.
    """
    folder = RunFolder(path)
    config = folder.read_json("config.json")
    if config is None:
        raise RunError(
            f"{path} is not a run folder: needed a config.json in it, found none: "
            "give the folder that `batchnorm study run` wrote"
        )
    study, budget = _understand(config, path)
    damage: list[Damage] = []
    environment, problem = _environment(folder)
    damage += problem
    ended, unfinished = _trials(study, budget, folder, damage)
    if not ended:
        raise RunError(
            f"{path} has no whole trial to report: give the command of the run again to go on"
        )
    seconds = _seconds(path / "timings.jsonl", damage)
    return Results(study, budget, config, environment, ended, unfinished, tuple(damage), seconds)


def _understand(config: Json, path: Path) -> tuple[Study, Budget]:
    try:
        values: dict[str, Any] = {field.name: config[field.name] for field in fields(Budget)}
        lists = {key: tuple(v) for key, v in values.items() if isinstance(v, list)}
        return registry.get(config["study"]), Budget(**{**values, **lists})
    except (KeyError, TypeError) as error:
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
    study: Study, budget: Budget, folder: RunFolder, damage: list[Damage]
) -> tuple[tuple[TrialResult, ...], tuple[Trial, ...]]:
    steps = schedule.evaluation_steps(budget.steps)
    names = FIELDS + study.probe().fields
    ended: list[TrialResult] = []
    unfinished: list[Trial] = []
    for trial in study.trials(budget):
        history = folder.log(trial).history(steps, names)
        damage += [history.damage] if history.damage else []
        if history.end is not None:
            at = history.end["step"] if history.end["end"] == "diverged" else None
            ended.append(TrialResult(trial, history.evaluations, at))
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
