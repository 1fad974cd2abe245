"""User model and user data in place of a study's own, imported by name in every process."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import surgery
from batchnorm._model import _entry_points
from batchnorm.errors import DataError, OptionError
from batchnorm.lab.design import Experiment, Settings
from batchnorm.lab.networks._without import without_normalization
from batchnorm.lab.tasks import OWN, Task

MOST = 10_000
_EVERY, _FEWEST = 5, 20
_TRIED = 32

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


@dataclass(frozen=True)
class UserModel:
    """What to measure instead of a built-in network on a built-in task.

    Args:
        model: ``package.module:factory``; the factory takes no arguments, and draws its weights
            from torch's generator, which is seeded for each trial.
        data: ``package.module:loader``, an iterable of pairs of inputs and targets, or a function
            that returns one.
    """

    model: str
    data: str

    def task(self) -> Task:
        """Load the data: at most 10,000 examples, of which every fifth is for testing.

        Raises:
            OptionError: there is no such loader.
            DataError: the batches are not what a network can be trained on.
            RunError: the loader raised.
        """
        _import(self.data, "--data")
        with _seeded(0), _entry_points.blaming(self.data):
            inputs, targets = _gathered(_entry_points.batches_of(self.data), self.data)
        test = torch.arange(len(inputs)) % _EVERY == _EVERY - 1
        classes = not targets.is_floating_point()
        return Task(
            OWN,
            self.data,
            f"the first {len(inputs):,} examples that the loader gave, every fifth for testing",
            int(targets.max()) + 1 if classes else targets[0].numel(),
            tuple(inputs.shape[1:]),
            inputs[~test],
            targets[~test],
            inputs[test],
            targets[test],
        )

    def check(self, study: Experiment, task: Task) -> None:
        """Build the network of each arm once and try it, before anything is written.

        Args:
            study: one that was adapted.
            task: the data.

        Raises:
            OptionError: there is no such model.
            RunError: the factory, the model or the loss raised.
            SurgeryError: the model cannot be traced.
        """
        for arm in study.arms:
            assert arm.network is not None  # noqa: S101  (`adapt` gave it one)
            model = arm.network(task, {}, torch.Generator().manual_seed(0))
            with _entry_points.blaming(self.model), torch.no_grad():
                task.loss(model(task.train_x[:_TRIED]), task.train_y[:_TRIED])

    def adapt(self, study: AnyExperiment) -> AnyExperiment:
        """Return the study with the user's model as the network of its arms.

        Args:
            study: one that compares a network without and with batch normalization.

        Raises:
            OptionError: the study compares something else.
        """
        if OWN not in study.tasks:
            raise OptionError(
                f"--model needs a study that can take one, {study.name} compares networks of its "
                "own: run landscape or covariate-shift"
            )
        arms = tuple(
            replace(arm, network=UserNetwork(self.model, normalized=not arm.dashed))
            for arm in study.arms
        )
        return replace(study, arms=arms)


@dataclass(frozen=True)
class UserNetwork:
    """Builds a user's model, with or without batch normalization.

    A model that has some loses it where it is to have none: each layer becomes its own weight and
    bias. A model that has none gets it behind every linear map that a nonlinearity follows.

    Args:
        model: its name.
        normalized: whether it is to have batch normalization.
    """

    model: str
    normalized: bool

    def __call__(self, task: Task, settings: Settings, generator: torch.Generator) -> nn.Module:  # noqa: ARG002  (see Network)
        """Build the model from the seed of the generator.

        Raises:
            OptionError: there is no such model, or no place for batch normalization in it.
            RunError: the factory raised.
            SurgeryError: the model cannot be traced.
        """
        _import(self.model, "--model")
        with _seeded(generator.initial_seed()):
            model = copy.deepcopy(_entry_points.model_of(self.model, option="--model"))
        if any(isinstance(module, _BatchNorm) for module in model.modules()):
            if not self.normalized:
                without_normalization(model)
        elif self.normalized:
            self._insert(model, task.train_x[:_TRIED].cpu())
        return model

    def _insert(self, model: nn.Module, example: Tensor) -> None:
        with _entry_points.blaming(self.model):
            record = surgery.insert(model, example)
        if not record.done:
            raise OptionError(
                f"--model needs batch normalization, or linear maps with nonlinearities behind "
                f"them where it can be put, {self.model} has neither: put it in by hand"
            )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _import(name: str, option: str) -> None:
    """Import what a name needs, so that what the import draws does not come out of a later seed."""
    with _seeded(0):
        _entry_points.attribute(name, option)


def _gathered(batches: Iterable[Any], name: str) -> tuple[Tensor, Tensor]:
    """Return the examples of the first batches as two tensors."""
    parts: list[tuple[Tensor, Tensor]] = []
    count = 0
    for batch in batches:
        parts.append(_pair(batch, name))
        count += len(parts[-1][0])
        if count >= MOST:
            break
    if count < _FEWEST:
        raise DataError(
            f"--data needs at least {_FEWEST} examples, got {count} from {name}: check the loader"
        )
    try:
        inputs, targets = (torch.cat(side)[:MOST] for side in zip(*parts, strict=True))
    except RuntimeError as error:
        raise DataError(
            f"--data needs examples of one shape, got others from {name} ({error}): pad or crop "
            "them in the loader"
        ) from error
    if targets.is_floating_point():
        return inputs, targets
    if targets.min() < 0:
        raise DataError(
            f"--data needs classes from 0, got {int(targets.min())} from {name}: number them so"
        )
    return inputs, targets.long()


def _pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    if not (isinstance(batch, tuple | list) and len(batch) == 2) or not all(  # noqa: PLR2004
        isinstance(part, Tensor) and part.ndim and len(part) == len(batch[0]) for part in batch
    ):
        raise DataError(
            f"--data needs batches that are pairs of inputs and targets, as tensors of one length, "
            f"got a {_words(batch)} from {name}: let the loader yield (x, y)"
        )
    return batch[0].detach().cpu(), batch[1].detach().cpu()


def _words(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        inside = ", ".join(
            str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__
            for part in batch
        )
        return f"{type(batch).__name__} of {inside or 'nothing'}"
    return type(batch).__name__
