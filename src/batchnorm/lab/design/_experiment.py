"""Experiment: arms, what a trial does, and how much is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol

import torch
from torch import nn

from batchnorm.errors import OptionError
from batchnorm.lab.design._plan import SCALES, Plan, Scale, Settings, Trial
from batchnorm.lab.records import Damage, TrialFiles
from batchnorm.lab.tasks import OWN, Task

Network = Callable[[Task, Settings, torch.Generator], nn.Module]


@dataclass(frozen=True)
class Arm:
    """One of the networks, or other things, that are compared.

    Args:
        name: short name, used in file names.
        label: name for readers.
        network: builds it from a task, the settings and a source of random numbers, where the
            work of the study is to train a network.
        settings: settings of this arm alone; they take the place of the plan's fixed ones.
        dashed: whether its curves are dashed, as those of networks without normalization are.
    """

    name: str
    label: str
    network: Network | None = None
    settings: Settings = field(default_factory=dict)
    dashed: bool = False


@dataclass(frozen=True)
class Job:
    """One trial to be done.

    Args:
        arm: the arm that the trial belongs to.
        schedule: the steps at which it is evaluated; the last one is its length.
        trial: what to do.
        task: the data, on the device.
        files: where to record it.
        checkpoint_seconds: shortest time between two checkpoints.
    """

    arm: Arm
    schedule: tuple[int, ...]
    trial: Trial
    task: Task
    files: TrialFiles
    checkpoint_seconds: float = 2.0


class Work(Protocol):
    """What the trials of a study do: `Training` or `Measuring`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Keys that every record has."""

    @property
    def keeps_weights(self) -> bool:
        """Whether a trial leaves weights behind."""

    def schedule(self, plan: Plan, trial: Trial) -> tuple[int, ...]:
        """Return the steps at which a trial is evaluated."""

    def run(self, job: Job, tell: Callable[[int], None]) -> Damage | None:
        """Do a trial, from where it stopped; return what was damaged and has been done again.

        Args:
            job: what to do.
            tell: called with each step that has been recorded.
        """


@dataclass(frozen=True)
class Experiment:
    """A comparison: everything that the engine needs to know about it.

    Args:
        name: what the command line calls it.
        title: what a reader calls it.
        question: the question in one sentence.
        claims: which published claims it judges; see `claims.CLAIMS`.
        arms: what is compared.
        axes: the settings that are swept, in the order of the grid, with their names for readers.
        work: what a trial does.
        plans: plan by task and scale; the first task is the default.
    """

    name: str
    title: str
    question: str
    claims: tuple[str, ...]
    arms: tuple[Arm, ...]
    axes: Mapping[str, str]
    work: Work
    plans: Mapping[tuple[str, Scale], Plan]

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it has plans for."""
        return tuple(dict.fromkeys(task for task, _ in self.plans))

    def plan(self, task: str, scale: Scale) -> Plan:
        """Return the plan for a task.

        Raises:
            OptionError: the study has no plan for the task, or none of this scale.
        """
        if task not in self.tasks:
            known = ", ".join(name for name in self.tasks if name != OWN)
            raise OptionError(f"the study {self.name} needs a task out of {known}, got {task!r}")
        scales = [known for known in SCALES if (task, known) in self.plans]
        if scale not in scales:
            raise OptionError(
                f"the study {self.name} on {task} needs a scale out of {', '.join(scales)}, got "
                f"{scale!r}: choose one, or another --task"
            )
        return self.plans[task, scale]

    def trials(self, plan: Plan) -> tuple[Trial, ...]:
        """Return every trial, seed by seed, so that an early stop leaves whole comparisons."""
        return tuple(
            Trial(arm.name, point, seed, {**plan.fixed, **arm.settings})
            for seed, point, arm in product(range(plan.seeds), plan.points(), self.arms)
        )
