"""The networks that the studies train."""

import torch
from torch import nn

from ..nn import BatchNorm1d
from .tasks import Task

HIDDEN_LAYERS, WIDTH = 3, 100


def mlp(
    task: Task,
    scale: float,
    generator: torch.Generator,
    *,
    activation: type[nn.Module],
    normalized: bool,
) -> nn.Sequential:
    """Build the network of section 4.1: three hidden layers of 100 units.

    Batch normalization stands before each nonlinearity, and the bias of the linear map before it
    is left out because subtracting the mean would remove it (section 3.2).

    Args:
        task: Says the number of inputs and of classes.
        scale: Standard deviation of the Gaussian initial weights.
        generator: Source of the initial weights: the same one gives an arm with and an arm
            without normalization the same weights.
        activation: The nonlinearity.
        normalized: Whether to normalize every hidden layer.

    Returns:
        The network, with logits as its output.

    References:
        Ioffe and Szegedy (2015), sections 3.2 and 4.1.
    """
    layers: list[nn.Module] = []
    width = task.features
    for _ in range(HIDDEN_LAYERS):
        layers.append(gaussian_linear(width, WIDTH, scale, generator, bias=not normalized))
        if normalized:
            layers.append(BatchNorm1d(WIDTH))
        layers.append(activation())
        width = WIDTH
    layers.append(gaussian_linear(width, task.classes, scale, generator, bias=True))
    return nn.Sequential(*layers)


def gaussian_linear(
    inputs: int, outputs: int, scale: float, generator: torch.Generator, *, bias: bool
) -> nn.Linear:
    """Return a linear layer with weights from N(0, scale**2) and a bias of zero."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.normal_(0.0, scale, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def last_nonlinearity(model: nn.Module) -> nn.Module:
    """Return the last sigmoid or rectifier of ``model``, in the order of registration."""
    found = [m for m in model.modules() if isinstance(m, (nn.Sigmoid, nn.ReLU))]
    return found[-1]
