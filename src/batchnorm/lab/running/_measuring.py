"""Measurement without training: a function that looks at one trial and returns its record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from batchnorm.errors import RunError
from batchnorm.lab.design import Job, Plan, Trial
from batchnorm.lab.records import Damage, Entry, finite
from batchnorm.lab.tasks import Task

Function = Callable[[Trial, Task, torch.Generator], Mapping[str, Any]]


@dataclass(frozen=True)
class Measuring:
    """The work of a trial: call a function once, and keep what it returns.

    Args:
        function: takes the trial, the task and a generator seeded with the trial's seed; the only
            source of random numbers that it may use. Returns numbers, lists of numbers, texts or
            `None`. A number that is not finite is recorded as `None`.
        keys: what it returns.
    """

    function: Function
    keys: tuple[str, ...]
    keeps_weights = False

    @property
    def fields(self) -> tuple[str, ...]:
        """Keys of the record."""
        return ("step", *self.keys)

    def schedule(self, plan: Plan, trial: Trial) -> tuple[int, ...]:  # noqa: ARG002  (see Work)
        """Return the one step of the one record."""
        return (0,)

    def run(self, job: Job, tell: Callable[[int], None]) -> Damage | None:
        """Measure, and record it."""
        history = job.files.history((0,), self.fields, weights=False)
        generator = torch.Generator().manual_seed(job.trial.seed)
        record = self._record(self.function(job.trial, job.task, generator))
        job.files.rewind((record,))
        tell(0)
        job.files.finish(None, {"end": "finished", "step": 0})
        return history.damage

    def _record(self, measured: Mapping[str, Any]) -> Entry:
        if measured.keys() != set(self.keys):
            raise RunError(
                f"needed a record of {', '.join(self.keys)}, the function returned "
                f"{', '.join(measured)}: name in the study what its function measures"
            )
        return {"step": 0} | {key: finite(measured[key]) for key in self.keys}
