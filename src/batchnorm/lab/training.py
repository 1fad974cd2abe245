"""Training one trial: plain SGD, evaluated on a fixed schedule, resumable at every evaluation."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from . import schedule
from .records import Damage, Record
from .store import TrialFiles
from .study import Budget, Study, Trial
from .tasks import Task

FIELDS = ("step", "train_loss", "test_loss", "test_accuracy")
_MODEL, _PROBE, _STEP = "model.", "probe.", "step"


@dataclass(frozen=True)
class Settings:
    """How trials are run, as far as it does not change what they record.

    Args:
        device: Where to train.
        checkpoint_seconds: Shortest time between two checkpoints of a trial.
    """

    device: str = "cpu"
    checkpoint_seconds: float = 2.0


class TrialRun:
    """One trial in progress.

    Args:
        study: Where the arm and the probe come from.
        task: The data, on the device.
        budget: Steps and mini-batch.
        trial: What to train.
        files: Where to record it.
    """

    def __init__(
        self, study: Study, task: Task, budget: Budget, trial: Trial, files: TrialFiles
    ) -> None:
        generator = torch.Generator().manual_seed(trial.seed)
        model = study.arm(trial.arm).network(task, trial.scale, generator)
        self._model: nn.Module = model.to(task.train_x.device)
        self._parameters = list(self._model.parameters())
        self._probe = study.probe()
        self._task, self._budget, self._trial, self._files = task, budget, trial, files
        self._schedule = schedule.evaluation_steps(budget.steps)
        self._epoch = -1
        self._order = torch.empty(0)

    def run(self, settings: Settings, tell: Callable[[int], None]) -> Damage | None:
        """Train to the end, from the last checkpoint if there is one.

        Args:
            settings: How to run.
            tell: Called with the step at each evaluation.

        Returns:
            What was damaged and therefore done again, if anything was.
        """
        done, damage = self._resume()
        saved = time.monotonic()
        for index in range(done, len(self._schedule)):
            loss = self._advance(self._schedule[max(index - 1, 0)], self._schedule[index])
            if loss is not None and not math.isfinite(loss):
                self._finish("diverged", self._diverged_at)
                return damage
            record = self._evaluate(self._schedule[index], loss)
            self._files.append(record)
            tell(self._schedule[index])
            if time.monotonic() - saved >= settings.checkpoint_seconds:
                self._save(index)
                saved = time.monotonic()
        self._finish("finished", self._budget.steps)
        return damage

    def _resume(self) -> tuple[int, Damage | None]:
        """Return how many evaluations stand, and what was damaged."""
        history = self._files.history(self._schedule, FIELDS + self._probe.fields)
        state = self._files.load_checkpoint()
        damage = history.damage or (state if isinstance(state, Damage) else None)
        done = 0
        if damage is None and isinstance(state, dict):
            done = int(state[_STEP]) + 1
            if done > len(history.evaluations):  # the record was set back behind the checkpoint
                done = 0
            else:
                self._restore(state)
        self._files.rewind(history.evaluations[:done])
        return done, damage

    def _restore(self, state: dict[str, torch.Tensor]) -> None:
        self._model.load_state_dict(_strip(state, _MODEL))
        self._probe.restore(_strip(state, _PROBE))

    def _save(self, index: int) -> None:
        state = {_MODEL + key: value for key, value in self._model.state_dict().items()}
        state |= {_PROBE + key: value for key, value in self._probe.state().items()}
        self._files.save_checkpoint(state | {_STEP: torch.tensor(index)})

    def _finish(self, end: str, step: int) -> None:
        self._files.finish(self._model.state_dict(), {"end": end, "step": step})

    def _advance(self, start: int, stop: int) -> float | None:
        """Train from one step to another; return the mean loss, or the one that is not finite."""
        self._model.train()
        total = 0.0
        for step in range(start, stop):
            chosen = self._batch(step)
            logits = self._model(self._task.train_x[chosen])
            loss = F.cross_entropy(logits, self._task.train_y[chosen])
            value = loss.item()
            if not math.isfinite(value):
                self._diverged_at = step + 1
                return value
            gradients = torch.autograd.grad(loss, self._parameters)
            with torch.no_grad():
                for parameter, gradient in zip(self._parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=self._trial.rate)
            total += value
        return total / (stop - start) if stop > start else None

    def _batch(self, step: int) -> torch.Tensor:
        count, batch = len(self._task.train_x), self._budget.batch
        epoch, place = divmod(step, schedule.batches_per_epoch(count, batch))
        if epoch != self._epoch:
            order = schedule.order(self._trial.seed, epoch, count)
            self._order = torch.from_numpy(order).to(self._task.train_x.device)
            self._epoch = epoch
        return self._order[place * batch : (place + 1) * batch]

    def _evaluate(self, step: int, train_loss: float | None) -> Record:
        self._model.eval()
        with torch.no_grad(), self._probe.watching(self._model):
            logits = self._model(self._task.test_x)
        loss = F.cross_entropy(logits, self._task.test_y).item()
        right = (logits.argmax(1) == self._task.test_y).sum().item()
        return {
            "step": step,
            "train_loss": train_loss,
            "test_loss": loss if math.isfinite(loss) else None,
            "test_accuracy": right / len(self._task.test_y),
            **self._probe.measure(),
        }


def _strip(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
