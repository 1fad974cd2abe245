"""Probe protocol: what a study can measure during training, and when."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from batchnorm.lab.design import Settings
from batchnorm.lab.tasks import Task


@dataclass(frozen=True)
class Moment:
    """State of a training when it is measured.

    Args:
        step: steps taken.
        model: the network, in evaluation mode; a probe leaves it as it was.
        task: the data.
        inputs: the mini-batch of the next step.
        targets: what belongs to it.
        settings: the settings of the trial.
    """

    step: int
    model: nn.Module
    task: Task
    inputs: Tensor
    targets: Tensor
    settings: Settings


class Probe(Protocol):
    """Something that looks at the network while it is evaluated on the test set."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what is measured."""

    def watching(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which the passes over the test set, part by part, are observed."""

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Return the value of each of `fields`, for the passes just observed and the moment."""

    def state(self) -> dict[str, Tensor]:
        """Return what has to be kept for the next measurement."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned."""


class Nothing:
    """Measures nothing."""

    fields: tuple[str, ...] = ()

    def watching(self, model: nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def measure(self, moment: Moment) -> dict[str, Any]:  # noqa: ARG002
        return {}

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass
