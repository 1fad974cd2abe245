"""VGG-like network, small: pairs of 3x3 convolutions, the image halved between them."""

import torch
from torch import nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._layers import Style, dropout
from batchnorm.lab.tasks import Task

WIDTH, SMALLEST = 16, 4


def vgg(
    task: Task,
    settings: Settings,
    generator: torch.Generator,
    *,
    activation: type[nn.Module] = nn.ReLU,
    norm: str | None = None,
) -> nn.Sequential:
    """Build pairs of convolutions; each pair has twice the channels and half the side.

    Args:
        task: its examples are images.
        settings: ``width``, the channels of the first pair, 16 where left out; `dropout` before
            the last map; ``scale`` (see `Style`).
        generator: source of the initial weights.
        activation: the nonlinearity.
        norm: the normalization after every convolution (see `Style`).

    References:
        Simonyan and Zisserman (2015), "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", for the shape.
    """
    style = Style(settings, generator, activation, norm)
    channels, side, _ = task.shape
    width = int(settings.get("width", WIDTH))
    layers: list[nn.Module] = [nn.Unflatten(1, task.shape)]
    while True:
        layers += [*style.convolved(channels, width), *style.convolved(width, width)]
        channels = width
        if side // 2 < SMALLEST:
            break
        layers.append(nn.MaxPool2d(2))
        side, width = side // 2, 2 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dropout(settings)]
    return nn.Sequential(*layers, style.linear(channels, task.outputs))
