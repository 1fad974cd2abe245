"""Residual network, small: blocks of two 3x3 convolutions around a shortcut."""

import torch
from torch import Tensor, nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._layers import Style, dropout
from batchnorm.lab.tasks import Task

WIDTH, BLOCKS, STAGES = 16, 1, 3


class Block(nn.Module):
    """Two convolutions whose result is added to what went in.

    Args:
        style: what the layers have in common.
        inputs: channels that go in.
        outputs: channels that come out.
        stride: of the first convolution, and of the shortcut where the shape changes.
    """

    def __init__(self, style: Style, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *style.convolved(inputs, outputs, stride=stride),
            style.convolution(outputs, outputs, 3),
            *style.normalization(outputs, 2),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential(
            *([] if same else [style.convolution(inputs, outputs, 1, stride)])
        )
        self.activation = style.activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the nonlinearity of the sum."""
        result: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return result


def residual(
    task: Task,
    settings: Settings,
    generator: torch.Generator,
    *,
    activation: type[nn.Module] = nn.ReLU,
    norm: str | None = None,
) -> nn.Sequential:
    """Build three stages of residual blocks; each stage has twice the channels and half the side.

    Args:
        task: its examples are images.
        settings: ``width``, the channels of the first stage, 16 where left out; ``blocks``, the
            blocks of a stage, 1; `dropout` before the last map; ``scale`` (see `Style`).
        generator: source of the initial weights.
        activation: the nonlinearity.
        norm: the normalization after every convolution of a branch (see `Style`).

    References:
        He et al. (2016), "Deep Residual Learning for Image Recognition", section 4.2.
    """
    style = Style(settings, generator, activation, norm)
    channels, width = task.shape[0], int(settings.get("width", WIDTH))
    layers: list[nn.Module] = [nn.Unflatten(1, task.shape), *style.convolved(channels, width)]
    channels = width
    for stage in range(STAGES):
        for block in range(int(settings.get("blocks", BLOCKS))):
            stride = 2 if stage and not block else 1
            layers.append(Block(style, channels, width << stage, stride))
            channels = width << stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dropout(settings)]
    return nn.Sequential(*layers, style.linear(channels, task.outputs))
