"""Optimizer steps that are computed and not taken."""

import copy
import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch.nn import Module, Parameter
from torch.optim import SGD, Optimizer

from batchnorm.errors import OptionError
from batchnorm.measure._objective import Evaluation, Objective, Values

Maker = Callable[[list[Parameter]], Optimizer]
Step = Callable[[Objective, Evaluation], Values]


def check_learning_rate(learning_rate: float) -> None:
    """Refuse a step that is none.

    Raises:
        OptionError: it is not positive and finite.
    """
    if not 0.0 < learning_rate < math.inf:
        raise OptionError(
            f"learning_rate must be positive and finite, got {learning_rate}: "
            "take the one that the model is trained with"
        )


def step_of(
    model: Module, learning_rate: float | None, optimizer: Optimizer | Maker | None
) -> Step:
    """Return what computes the values of the parameters after a step, without taking it.

    Args:
        model: what has the parameters.
        learning_rate: of plain gradient descent.
        optimizer: that of the model, whose state is taken into account; or what makes one for a
            list of parameters. Instead of a learning rate.

    Raises:
        OptionError: both or none are given, the learning rate is not positive, or the optimizer
            has none of the model's parameters.
    """
    if (learning_rate is None) == (optimizer is None):
        raise OptionError(
            "either learning_rate or optimizer is needed, got "
            f"{'none' if optimizer is None else 'both'}: give the one that says how far a step goes"
        )
    if learning_rate is not None:
        check_learning_rate(learning_rate)
        optimizer = partial(SGD, lr=learning_rate)
    assert optimizer is not None  # noqa: S101 -- the first check
    if isinstance(optimizer, Optimizer):
        _check_own(model, optimizer)
    return partial(_stepped, optimizer)


def _stepped(optimizer: Optimizer | Maker, objective: Objective, found: Evaluation) -> Values:
    copies = {name: Parameter(value.clone()) for name, value in objective.start.items()}
    for name in copies.keys() - found.unused:
        copies[name].grad = found.gradient[name].clone()
    if isinstance(optimizer, Optimizer):
        stepping = _copied(optimizer, objective, copies)
    else:
        stepping = optimizer(list(copies.values()))
        if not isinstance(stepping, Optimizer):
            raise OptionError(
                "optimizer must be one or make one from a list of parameters, got a maker of "
                f"{type(stepping).__name__}: give functools.partial(torch.optim.Adam, lr=1e-3)"
            )
    stepping.step()
    return {name: parameter.detach() for name, parameter in copies.items()}


def _copied(optimizer: Optimizer, objective: Objective, copies: dict[str, Parameter]) -> Optimizer:
    """Return a copy of the optimizer, with its state, that steps the copies."""
    stands_for = {id(p): copies[name] for name, p in objective.parameters.items()}
    return copy.deepcopy(optimizer, stands_for)


def _check_own(model: Module, optimizer: Optimizer) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for parameter in _parameters(optimizer)):
        raise OptionError(
            "an optimizer of this model's parameters is needed, got a "
            f"{type(optimizer).__name__} of others: make it from model.parameters()"
        )


def _parameters(optimizer: Optimizer) -> Iterable[torch.Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
