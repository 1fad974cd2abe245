"""Inception network, small, with the options that the paper's experiments vary."""

import torch
from torch import Tensor, nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._layers import Style, dropout
from batchnorm.lab.tasks import Task

WIDTH, SMALL_IMAGE = 8, 16


class Module(nn.Module):
    """Four ways through, side by side: 1x1, 3x3, two times 3x3 in place of 5x5, and pooling.

    Args:
        style: what the layers have in common.
        inputs: channels that go in.
        width: channels that each way gives.
    """

    def __init__(self, style: Style, inputs: int, width: int) -> None:
        super().__init__()
        self.one = nn.Sequential(*style.convolved(inputs, width, 1))
        self.three = nn.Sequential(
            *style.convolved(inputs, width, 1), *style.convolved(width, width)
        )
        self.five = nn.Sequential(
            *style.convolved(inputs, width, 1),
            *style.convolved(width, width),
            *style.convolved(width, width),
        )
        self.pooled = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1), *style.convolved(inputs, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return what the four ways give, one after the other along the channels."""
        return torch.cat([way(x) for way in self.children()], 1)


def inception(
    task: Task,
    settings: Settings,
    generator: torch.Generator,
    *,
    activation: type[nn.Module] = nn.ReLU,
    norm: str | None = None,
    response: bool = False,
) -> nn.Sequential:
    """Build a convolution and two Inception modules, the image halved between them.

    Args:
        task: its examples are images. From 16 pixels on they are halved before the modules too.
        settings: ``width``, the channels of each way, 8 where left out; `dropout` before the
            last map, none; ``scale`` (see `Style`).
        generator: source of the initial weights.
        activation: the nonlinearity.
        norm: the normalization after every convolution (see `Style`).
        response: whether local response normalization follows the first convolution.

    References:
        Szegedy et al. (2015), "Going Deeper with Convolutions"; Ioffe and Szegedy (2015),
        section 4.2 and the appendix: 5x5 convolutions became two 3x3 ones.
    """
    style = Style(settings, generator, activation, norm)
    width = int(settings.get("width", WIDTH))
    channels, side, _ = task.shape
    layers = [nn.Unflatten(1, task.shape), *style.convolved(channels, 2 * width)]
    if response:
        layers.append(nn.LocalResponseNorm(5))
    if side >= SMALL_IMAGE:
        layers.append(nn.MaxPool2d(2))
    layers += [
        Module(style, 2 * width, width),
        nn.MaxPool2d(2),
        Module(style, 4 * width, width),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *dropout(settings),
    ]
    return nn.Sequential(*layers, style.linear(4 * width, task.outputs))
