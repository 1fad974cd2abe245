"""What a study is: arms, what is measured, how much of it, and how the results are judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import OptionError
from .probes import Probe
from .tasks import Task

if TYPE_CHECKING:
    from .findings import Findings
    from .results import Results

Network = Callable[[Task, float, torch.Generator], nn.Module]


@dataclass(frozen=True)
class Arm:
    """One kind of network under comparison.

    Args:
        name: Short name, used in file names.
        label: Name for readers.
        network: Builds it from a task, a weight scale and a source of random numbers.
    """

    name: str
    label: str
    network: Network


@dataclass(frozen=True)
class Trial:
    """One training run: an arm with its settings and a seed."""

    arm: str
    scale: float
    rate: float
    seed: int

    @property
    def id(self) -> str:
        """Name of the trial and of its files."""
        return f"{self.arm}_scale{self.scale:g}_rate{self.rate:g}_seed{self.seed}"


@dataclass(frozen=True)
class Budget:
    """How much is trained, and the targets that the steps are counted to.

    Args:
        steps: Steps of each trial.
        seeds: Number of seeds; they are 0, 1, 2, ...
        scales: Standard deviations of the initial weights.
        rates: Learning rates, the same ones for every arm.
        targets: Test accuracies, ascending; the middle one gives the headline.
        batch: Mini-batch size.
    """

    steps: int
    seeds: int
    scales: tuple[float, ...]
    rates: tuple[float, ...]
    targets: tuple[float, ...]
    batch: int = 60

    @property
    def headline_target(self) -> float:
        """The target that the headline speaks of."""
        return self.targets[len(self.targets) // 2]


@dataclass(frozen=True)
class Study:
    """A comparison: everything that the engine and the report need to know about it.

    Args:
        name: What the command line calls it.
        title: What a reader calls it.
        question: The question in one sentence.
        claims: Which published claims it judges.
        arms: The networks compared.
        probe: Makes the measurement taken at each evaluation.
        budgets: Budget by task and by whether it is the quick one.
        findings: Judges the results.
    """

    name: str
    title: str
    question: str
    claims: tuple[str, ...]
    arms: tuple[Arm, ...]
    probe: Callable[[], Probe]
    budgets: Mapping[tuple[str, bool], Budget]
    findings: "Callable[[Results], Findings]"

    def arm(self, name: str) -> Arm:
        """Return the arm called ``name``."""
        return next(arm for arm in self.arms if arm.name == name)

    def budget(self, task: str, *, quick: bool) -> Budget:
        """Return the budget for a task.

        Raises:
            OptionError: The study has no budget for the task.
        """
        if (task, quick) not in self.budgets:
            known = ", ".join(sorted({name for name, _ in self.budgets}))
            raise OptionError(f"the study {self.name} needs a task out of {known}, got {task!r}")
        return self.budgets[task, quick]

    def trials(self, budget: Budget) -> tuple[Trial, ...]:
        """Return every trial, seed by seed, so that an early stop leaves whole comparisons."""
        return tuple(
            Trial(arm.name, scale, rate, seed)
            for seed, scale, rate, arm in product(
                range(budget.seeds), budget.scales, budget.rates, self.arms
            )
        )
