"""Internal covariate shift: how a layer's gradient changes when those before it take a step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.nn import Module
from torch.optim import Optimizer

from batchnorm._model._call import Forward
from batchnorm._model._record import Record
from batchnorm.measure._layers import by_layer, check_names
from batchnorm.measure._objective import Evaluation, Loss, Objective, Values, objective
from batchnorm.measure._steps import Maker, step_of
from batchnorm.measure._vectors import cosine, distance, norm, ratio


@dataclass(frozen=True)
class LayerShift(Record):
    """The shift of one layer.

    Attributes:
        name: of the layer.
        gradient: norm of its gradient G.
        distance: between G and the gradient G' after the step of the layers before it.
        cosine: of the angle between G and G'; NaN where one of them is zero.
    """

    name: str
    gradient: float
    distance: float
    cosine: float

    @property
    def relative(self) -> float:
        """The distance relative to the norm of G; NaN where that is zero."""
        return ratio(self.distance, self.gradient)


@dataclass(frozen=True)
class InternalCovariateShift(Record):
    """What `internal_covariate_shift` found.

    Attributes:
        loss: at the model's parameters.
        layers: those that were asked for, in the order of the forward pass.
        unused: names of layers that the loss does not depend on.
    """

    loss: float
    layers: tuple[LayerShift, ...]
    unused: tuple[str, ...]


def internal_covariate_shift(
    model: Module,
    batch: Any,
    loss: Loss | None = None,
    *,
    learning_rate: float | None = None,
    optimizer: Optimizer | Maker | None = None,
    names: Iterable[str] | None = None,
    forward: Forward | None = None,
    training: bool | None = None,
) -> InternalCovariateShift:
    r"""Measure how much the step of the preceding layers changes the gradient of each layer.

    .. math::

        G_i = \nabla_{W_i} L(W_1, \ldots, W_k) \qquad
        G_i' = \nabla_{W_i} L(W_1', \ldots, W_{i-1}', W_i, \ldots, W_k)

    on the same batch, where W' is what one step of the optimizer at W makes of the parameters. The
    more the two differ, the more a layer's step was computed for a problem that is no longer there.

    Args:
        model: any model. A layer is a module that holds parameters which require a gradient.
        batch: input and target of the `loss`; without one, whatever `forward` takes.
        loss: of the model's output and the target. `None` where `forward` returns the loss.
        learning_rate: length of a plain step of gradient descent, relative to the gradient.
        optimizer: instead of `learning_rate`, the optimizer of the model, which makes the step
            that it would make now; or what makes one from a list of parameters. The model's own
            stays as it is.
        names: qualified names of the layers to report; `None` reports all. All take their step.
        forward: calls the model, which it is given first, on a batch. `None` passes on a tensor,
            the first item of a tuple or list, or a mapping as keyword arguments.
        training: whether to measure in training or in evaluation mode; `None` leaves every module
            the mode that it has.

    Returns:
        Norms of G, distances and cosines by layer. The first layer has none before it, so its
        distance is 0.

    Raises:
        OptionError: not exactly one of `learning_rate` and `optimizer`, a learning rate that is
            not positive, an optimizer of other parameters, or a name that is no layer's.
        DataError: there is a `loss`, and `batch` is no pair.
        MeasurementError: no parameter requires a gradient, the loss is no single number or does not
            depend on the parameters, or a lazy module is uninitialized.
        NonFiniteError: the loss or its gradient is NaN or infinite.

    Note:
        As many passes as there are layers, each with the same random numbers and buffers. The
        gradients have the model's precision: for steps that change its digits little, measure
        ``copy.deepcopy(model).double()``. A gradient that is zero but for rounding, as that of a
        bias before a batch normalization, has a meaningless cosine. Activation checkpointing has
        to be that with ``use_reentrant=False``. The model, torch's generators of random numbers
        and the optimizer are afterwards as they were.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?",
        Definition 2.1.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(*(torch.nn.Linear(1, 1, bias=False) for _ in range(2)))
        >>> for weight in model.parameters():
        ...     _ = weight.data.fill_(1.0)
        >>> batch = torch.ones(1, 1), torch.zeros(1, 1)
        >>> mse = torch.nn.functional.mse_loss  # w1² w2², so that G = 2 and G' = 2 (1 - 0.2)²
        >>> print(internal_covariate_shift(model, batch, mse, learning_rate=0.1))
        loss 1
        name  gradient  distance  cosine  relative
        0     2         0         1       0
        1     2         0.72      1       0.36
    """
    step = step_of(model, learning_rate, optimizer)
    with objective(model, batch, loss, forward=forward, training=training) as function:
        before, calls = function.first()
        layers = by_layer(function.parameters, calls)
        wanted = check_names(names, layers, "layers with parameters that require a gradient")
        unused = [name for name in wanted if before.unused.issuperset(layers[name])]
        used = [name for name in wanted if name not in unused]
        shifts = tuple(_shifts(function, before, step(function, before), layers, used))
    return InternalCovariateShift(before.loss, shifts, tuple(unused))


def _shifts(
    function: Objective,
    before: Evaluation,
    stepped: Values,
    layers: dict[str, list[str]],
    wanted: list[str],
) -> Iterator[LayerShift]:
    """Let one layer after the other take its step, and look at the next one."""
    for place, (name, parameters) in enumerate(layers.items()):
        if name in wanted:
            after = function.evaluate(parameters) if place else before
            g, after_step = ([found.gradient[p] for p in parameters] for found in (before, after))
            yield LayerShift(name, norm(g), distance(g, after_step), cosine(g, after_step))
        function.set_parameters({parameter: stepped[parameter] for parameter in parameters})
