"""Norms of weights, gradients and updates, by layer and by parameter."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import hypot
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from batchnorm._model._call import Forward
from batchnorm._model._record import Record
from batchnorm.measure._layers import by_layer, check_names
from batchnorm.measure._objective import Loss, objective
from batchnorm.measure._steps import Maker, step_of
from batchnorm.measure._vectors import distance, norm, ratio


@dataclass(frozen=True)
class Lengths(Record):
    """Euclidean norms that belong to one parameter, or to all of a layer.

    Attributes:
        name: of the parameter or the layer.
        weight: of the values.
        gradient: of the gradient; 0 where the loss does not depend on it.
        update: of the change that the next step of the optimizer would make.
    """

    name: str
    weight: float
    gradient: float
    update: float

    @property
    def ratio(self) -> float:
        """The update relative to the weight; NaN where that is zero."""
        return ratio(self.update, self.weight)


@dataclass(frozen=True)
class Norms(Record):
    """What `norms` found.

    Attributes:
        loss: at the model's parameters.
        layers: those that were asked for, in the order of the forward pass.
        parameters: each of theirs.
    """

    loss: float
    layers: tuple[Lengths, ...]
    parameters: tuple[Lengths, ...]


def norms(
    model: Module,
    batch: Any,
    loss: Loss | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: Optimizer | Maker | None = None,
    names: Iterable[str] | None = None,
    forward: Forward | None = None,
    training: bool | None = None,
) -> Norms:
    r"""Measure weights, gradients and updates, by layer and by parameter.

    With values W, gradient G and the values W' after a step of the optimizer:

    .. math::

        \lVert W \rVert \qquad \lVert G \rVert \qquad \lVert W' - W \rVert \qquad
        \frac{\lVert W' - W \rVert}{\lVert W \rVert}

    Before a batch normalization the output does not depend on the size of the weights, and the
    ratio of update to weight is the effective learning rate.

    Args:
        model: any model.
        batch: as for `internal_covariate_shift`.
        loss: as for `internal_covariate_shift`.
        learning_rate: as for `internal_covariate_shift`.
        optimizer: as for `internal_covariate_shift`.
        names: qualified names of the layers to report; `None` reports all.
        forward: as for `internal_covariate_shift`.
        training: as for `internal_covariate_shift`.

    Returns:
        The norms. One pass is made, and no step is taken.

    Raises:
        OptionError: as for `internal_covariate_shift`.
        DataError: as for `internal_covariate_shift`.
        MeasurementError: as for `internal_covariate_shift`.
        NonFiniteError: as for `internal_covariate_shift`.

    References:
        van Laarhoven (2017), "L2 Regularization versus Batch and Weight Normalization",
        for the effective learning rate.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(2.0)
        >>> record = norms(model, None, forward=lambda m, _: m.weight.sum(), learning_rate=0.5)
        >>> print(record.parameters[0])
        name weight
        weight 2
        gradient 1
        update 0.5
        ratio 0.25
    """
    step = step_of(model, learning_rate, optimizer)
    with objective(model, batch, loss, forward=forward, training=training) as function:
        found, calls = function.first()
        layers = by_layer(function.parameters, calls)
        wanted = check_names(names, layers, "layers with parameters that require a gradient")
        stepped = step(function, found)
        measured = {
            name: _lengths(name, function.start[name], found.gradient[name], stepped[name])
            for layer in wanted
            for name in layers[layer]
        }
    together = tuple(_together(name, [measured[p] for p in layers[name]]) for name in wanted)
    return Norms(found.loss, together, tuple(measured.values()))


def _lengths(name: str, weight: Tensor, gradient: Tensor, stepped: Tensor) -> Lengths:
    return Lengths(name, norm([weight]), norm([gradient]), distance([weight], [stepped]))


def _together(name: str, parts: list[Lengths]) -> Lengths:
    return Lengths(
        name,
        hypot(*(part.weight for part in parts)),
        hypot(*(part.gradient for part in parts)),
        hypot(*(part.update for part in parts)),
    )
