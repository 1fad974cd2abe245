"""Training of a network, evaluated on a fixed schedule and resumable at every evaluation."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from batchnorm.errors import RunError
from batchnorm.lab.design import Job, Plan, Trial, _schedule
from batchnorm.lab.probes import Moment, Nothing, Probe
from batchnorm.lab.records import Damage, Entry, finite
from batchnorm.lab.running import _descent

FIELDS = ("step", "train_loss", "test_loss", "test_accuracy")
_EVALUATED_AT_ONCE = 1_000  # images: a convolution's activations of a whole test set fill gigabytes
_MODEL, _PROBE, _VELOCITY, _STEP = "model.", "probe.", "velocity.", "step"


@dataclass(frozen=True)
class Training:
    """The work of a trial: train the network of its arm by stochastic gradient descent.

    Settings read: ``batch``; ``train`` and ``test``, the number of training and of test
    examples, all where left out; and those of `Descent.of`. The network reads its own, and
    ``steps``, the length of the trial.

    Args:
        probe: makes what is measured at each evaluation beside loss and accuracy.
    """

    probe: Callable[[], Probe] = Nothing
    keeps_weights = True

    @property
    def fields(self) -> tuple[str, ...]:
        """Keys of an evaluation."""
        return FIELDS + self.probe().fields

    def schedule(self, plan: Plan, trial: Trial) -> tuple[int, ...]:
        """Return the steps at which a trial is evaluated."""
        return _schedule.evaluation_steps(plan.steps_of(trial), plan.every)

    def run(self, job: Job, tell: Callable[[int], None]) -> Damage | None:
        """Train to the end, from the last checkpoint if there is one."""
        with _own_randomness(job.task.train_x.device):
            return TrialRun(job, self.probe()).run(tell)


class TrialRun:
    """One training run in progress.

    Args:
        job: what to train, on what, and where to record it.
        probe: measures at each evaluation.
    """

    def __init__(self, job: Job, probe: Probe) -> None:
        network = job.arm.network
        if network is None:
            raise RunError(
                f"training needs an arm with a network, {job.arm.name} has none: give it one, or "
                "measure without training"
            )
        generator = torch.Generator().manual_seed(job.trial.seed)
        self._task, self._trial, self._files = job.task, job.trial, job.files
        self._checkpoint_seconds = job.checkpoint_seconds
        count, steps = len(job.task.train_x), job.schedule[-1]
        model = network(job.task, {**job.trial.settings, "steps": steps}, generator)
        self._model: nn.Module = model.to(job.task.train_x.device)
        self._parameters = list(self._model.parameters())
        self._descent = _descent.Descent.of(job.trial.settings, self._parameters)
        self._probe = probe
        self._count = min(int(job.trial.settings.get("train", count)), count)
        self._tested = int(job.trial.settings.get("test", len(job.task.test_x)))
        self._batch_size = min(int(job.trial["batch"]), self._count)
        self._schedule = job.schedule
        self._epoch = -1
        self._order = torch.empty(0)

    def run(self, tell: Callable[[int], None]) -> Damage | None:
        """Train to the end.

        Args:
            tell: called with the step at each evaluation.

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
            if time.monotonic() - saved >= self._checkpoint_seconds:
                self._save(index)
                saved = time.monotonic()
        self._finish("finished", self._schedule[-1])
        return damage

    def _resume(self) -> tuple[int, Damage | None]:
        """Return the number of evaluations that are kept, and what was damaged."""
        history = self._files.history(self._schedule, FIELDS + self._probe.fields, weights=True)
        state = self._files.load_checkpoint()
        damage = history.damage or (state if isinstance(state, Damage) else None)
        done = 0
        if damage is None and isinstance(state, dict):
            done = self._done(state)
            if done > len(history.evaluations):  # the record was set back behind the checkpoint
                done = 0
            else:
                self._restore(state)
        self._files.rewind(history.evaluations[:done])
        return done, damage

    def _done(self, state: dict[str, Tensor]) -> int:
        step = state.get(_STEP)
        if step is None or step.numel() != 1 or step.is_floating_point() or step < 0:
            raise self._files.foreign_checkpoint()
        return int(step) + 1

    def _restore(self, state: dict[str, Tensor]) -> None:
        try:
            self._model.load_state_dict(_strip(state, _MODEL))
            self._probe.restore(_strip(state, _PROBE))
            self._descent.restore(_strip(state, _VELOCITY))
        except (RuntimeError, KeyError) as error:
            raise self._files.foreign_checkpoint() from error

    def _save(self, index: int) -> None:
        state = {_MODEL + key: value for key, value in self._model.state_dict().items()}
        state |= {_PROBE + key: value for key, value in self._probe.state().items()}
        state |= {_VELOCITY + key: value for key, value in self._descent.state().items()}
        self._files.save_checkpoint(state | {_STEP: torch.tensor(index)})

    def _finish(self, end: str, step: int) -> None:
        self._files.finish(self._model.state_dict(), {"end": end, "step": step})

    def _advance(self, start: int, stop: int) -> float | None:
        """Train from one step to another; return the mean loss, or the one that is not finite."""
        self._model.train()
        torch.manual_seed(_schedule.noise_seed(self._trial.seed, start))
        total = 0.0
        for step in range(start, stop):
            chosen = self._batch(step)
            outputs = self._model(self._task.train_x[chosen])
            loss = self._task.loss(outputs, self._task.train_y[chosen])
            value = loss.item()
            if not math.isfinite(value):
                self._diverged_at = step + 1
                return value
            self._descent.step(torch.autograd.grad(loss, self._parameters))
            total += value
        return total / (stop - start) if stop > start else None

    def _batch(self, step: int) -> Tensor:
        count, batch = self._count, self._batch_size
        epoch, place = divmod(step, _schedule.batches_per_epoch(count, batch))
        if epoch != self._epoch:
            order = _schedule.order(self._trial.seed, epoch, count)
            self._order = torch.from_numpy(order).to(self._task.train_x.device)
            self._epoch = epoch
        return self._order[place * batch : (place + 1) * batch]

    def _evaluate(self, step: int, train_loss: float | None) -> Entry:
        self._model.eval()
        with torch.no_grad(), self._probe.watching(self._model):
            parts = torch.split(self._task.test_x[: self._tested], _EVALUATED_AT_ONCE)
            outputs = torch.cat([self._model(part) for part in parts])
        wanted = self._task.test_y[: self._tested]
        loss = self._task.loss(outputs, wanted).item()
        chosen = self._batch(step)
        moment = Moment(
            step, self._model, self._task, self._task.train_x[chosen], self._task.train_y[chosen],
            self._trial.settings,
        )  # fmt: skip
        return {
            "step": step,
            "train_loss": train_loss,
            "test_loss": loss if math.isfinite(loss) else None,
            "test_accuracy": self._task.accuracy(outputs, wanted),
            **{name: finite(value) for name, value in self._probe.measure(moment).items()},
        }


def _strip(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Seed and draw inside, and leave the caller's generators where they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
