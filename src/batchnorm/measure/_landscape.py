"""Loss landscape along the gradient: how far the gradient can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module

from batchnorm._model._call import Forward
from batchnorm._model._record import Record
from batchnorm.errors import OptionError
from batchnorm.measure._objective import Evaluation, Loss, Objective, objective
from batchnorm.measure._steps import check_learning_rate
from batchnorm.measure._vectors import distance, norm, ratio

_MULTIPLES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)


@dataclass(frozen=True)
class LandscapePoint(Record):
    """One point along the gradient.

    Attributes:
        step: how many gradients away it is, a multiple of the learning rate.
        distance: between the parameters there and at the start; where the step is tiny, rounding
            makes it differ from the step times the norm of the gradient.
        loss: there.
        gradient_change: norm of the difference to the gradient at the start.
        relative_change: the same relative to the norm of the gradient at the start.
    """

    step: float
    distance: float
    loss: float
    gradient_change: float
    relative_change: float

    @property
    def smoothness(self) -> float:
        """Change of the gradient over distance; NaN where the parameters did not change."""
        return ratio(self.gradient_change, self.distance)


@dataclass(frozen=True)
class LossLandscape(Record):
    """What `loss_landscape` found; its ranges are least and largest value over the points.

    Attributes:
        loss: at the model's parameters.
        gradient: norm of the gradient there.
        points: in the order asked for.
    """

    loss: float
    gradient: float
    points: tuple[LandscapePoint, ...]

    @property
    def loss_range(self) -> tuple[float, float]:
        """Range of the loss."""
        return _range([point.loss for point in self.points])

    @property
    def gradient_predictiveness(self) -> tuple[float, float]:
        """Range of the change of the gradient; the smaller, the further the gradient holds."""
        return _range([point.gradient_change for point in self.points])

    @property
    def relative_predictiveness(self) -> tuple[float, float]:
        """Range of the change of the gradient relative to its norm at the start."""
        return _range([point.relative_change for point in self.points])

    @property
    def effective_smoothness(self) -> float:
        """The effective beta-smoothness: largest smoothness of the points that are elsewhere."""
        return _range([point.smoothness for point in self.points if point.distance])[1]


def loss_landscape(
    model: Module,
    batch: Any,
    loss: Loss | None = None,
    *,
    learning_rate: float,
    multiples: Sequence[float] = _MULTIPLES,
    forward: Forward | None = None,
    training: bool | None = None,
) -> LossLandscape:
    r"""Measure the loss and the change of its gradient along the gradient.

    At the points :math:`x_\eta = x - \eta \nabla L(x)`, on the same batch:

    .. math::

        L(x_\eta) \qquad
        \lVert \nabla L(x) - \nabla L(x_\eta) \rVert \qquad
        \beta = \max_\eta \frac{\lVert \nabla L(x) - \nabla L(x_\eta) \rVert}
            {\lVert x - x_\eta \rVert}

    Args:
        model: any model; the parameters that require a gradient are those of the loss.
        batch: input and target of the `loss`; without one, whatever `forward` takes.
        loss: of the model's output and the target. `None` where `forward` returns the loss.
        learning_rate: the one that the model is trained with, or would be.
        multiples: the steps :math:`\eta` as multiples of it, any number of them. The paper's ranges
            are 1/2 to 4 (VGG) and 1/100 to 30 (deep linear network); it does not say at how many
            points.
        forward: as for `internal_covariate_shift`.
        training: as for `internal_covariate_shift`.

    Returns:
        All points, the ranges over them, and the effective smoothness.

    Raises:
        OptionError: the learning rate or a multiple is not positive and finite, or there is none.
        DataError: as for `internal_covariate_shift`.
        MeasurementError: as for `internal_covariate_shift`.
        NonFiniteError: as for `internal_covariate_shift`.

    Note:
        One pass more than there are points. Where the loss overflows on the way, its value is
        reported as infinite or NaN, and so are the ranges. Otherwise as for
        `internal_covariate_shift`.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", section 3.1
        and figure 4.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(2.0)
        >>> parabola = lambda model, batch: 1.5 * model.weight.square().sum()  # curvature 3
        >>> steps = {"learning_rate": 0.1, "multiples": [1, 2]}
        >>> print(loss_landscape(model, None, forward=parabola, **steps))
        loss 6
        gradient 6
        loss_range 0.96 2.94
        gradient_predictiveness 1.8 3.6
        relative_predictiveness 0.3 0.6
        effective_smoothness 3
        step  distance  loss  gradient_change  relative_change  smoothness
        0.1   0.6       2.94  1.8              0.3              3
        0.2   1.2       0.96  3.6              0.6              3
    """
    check_learning_rate(learning_rate)
    _check_multiples(multiples)
    with objective(model, batch, loss, forward=forward, training=training) as function:
        start, _ = function.first()
        points = tuple(_point(function, start, learning_rate * m) for m in multiples)
    return LossLandscape(start.loss, norm(start.gradient.values()), points)


def _point(function: Objective, start: Evaluation, step: float) -> LandscapePoint:
    there = {
        name: torch.add(function.start[name], gradient, alpha=-step)
        for name, gradient in start.gradient.items()
    }
    function.set_parameters(there)
    found = function.evaluate(start.gradient)
    change = distance(start.gradient.values(), found.gradient.values())
    return LandscapePoint(
        step,
        distance((function.start[name] for name in there), there.values()),
        found.loss,
        change,
        ratio(change, norm(start.gradient.values())),
    )


def _range(values: list[float]) -> tuple[float, float]:
    if not values or any(map(math.isnan, values)):
        return math.nan, math.nan
    return min(values), max(values)


def _check_multiples(multiples: Sequence[float]) -> None:
    if not len(multiples) or not all(0.0 < multiple < math.inf for multiple in multiples):
        raise OptionError(
            f"multiples must be positive and finite, at least one of them, got {multiples}: "
            "take numpy.linspace(0.5, 4, 8)"
        )
