"""Multilayer perceptron of the paper's section 4.1, of any depth."""

import torch
from torch import nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._layers import Style, dropout
from batchnorm.lab.tasks import Task

HIDDEN_LAYERS, WIDTH = 3, 100


def mlp(
    task: Task,
    settings: Settings,
    generator: torch.Generator,
    *,
    activation: type[nn.Module],
    norm: str | None = None,
) -> nn.Sequential:
    """Build the network of section 4.1: three hidden layers of 100 units.

    The normalization comes before each nonlinearity, and the bias of the linear map before it is
    left out because subtracting the mean would remove it (section 3.2).

    Args:
        task: decides the number of inputs and of outputs.
        settings: ``scale`` (see `Style`); ``depth``, 3 hidden layers where left out; ``width``,
            100 units; `dropout` after each nonlinearity, none.
        generator: source of the initial weights: the same one gives an arm with and an arm
            without normalization the same weights.
        activation: the nonlinearity.
        norm: the normalization of every hidden layer (see `Style`).

    Returns:
        The network, with logits as its output.

    References:
        Ioffe and Szegedy (2015), sections 3.2 and 4.1.
    """
    style = Style(settings, generator, activation, norm)
    units = int(settings.get("width", WIDTH))
    layers: list[nn.Module] = []
    inputs = task.features
    for _ in range(int(settings.get("depth", HIDDEN_LAYERS))):
        layers += [*style.dense(inputs, units), *dropout(settings)]
        inputs = units
    return nn.Sequential(*layers, style.linear(inputs, task.outputs))
