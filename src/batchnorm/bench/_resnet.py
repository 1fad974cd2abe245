"""ResNet-50's shape as a network, as torchvision writes it and with fused normalization."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from batchnorm import nn as ours

VARIANTS = ("torch", "drop-in", "fused")
_EXPANSION = 4
# With 1, torch's own float32 gradients of the untrained network are off by 1 to 3 %, and no two
# implementations train alike for more than a step.
RESIDUAL_SCALE = 0.2


@dataclass(frozen=True)
class Network:
    """The network of a training step, and the size of its input.

    Args:
        blocks: number of bottleneck blocks of each stage.
        width: channels of the first stage's bottlenecks; each stage doubles them.
        classes: number of classes.
        batch: images a step.
        side: height and width of an image.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    classes: int = 1000
    batch: int = 8
    side: int = 64

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        return self.batch, 3, self.side, self.side


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut.

    Args:
        channels: channels of the input.
        width: channels of the two inner normalizations.
        stride: of the second convolution, and of the shortcut's.
        variant: one of `VARIANTS`.
    """

    def __init__(self, channels: int, width: int, stride: int, variant: str) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.fused = variant == "fused"
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = _norm(width, variant, rectified=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = _norm(width, variant, rectified=True)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = _norm(out, variant, rectified=True)
        nn.init.constant_(self.bn3.weight, RESIDUAL_SCALE)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != out:
            self.shortcut.append(nn.Conv2d(channels, out, 1, stride, bias=False))
            self.shortcut.append(_norm(out, variant, rectified=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(bn(conv(...)) + shortcut(x))``."""
        if self.fused:
            y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
            fused: Tensor = self.bn3(self.conv3(y), residual=self.shortcut(x))
            return fused
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += self.shortcut(x)
        return torch.relu_(y)


class ResNet(nn.Module):
    """A residual network of bottleneck blocks; every variant has the same `state_dict`.

    Args:
        network: its dimensions.
        variant: ``torch`` has torch's layers, ``drop-in`` ours in the same code, ``fused`` ours
            with activation and residual in the same pass.

    References:
        He et al. (2016), "Deep Residual Learning for Image Recognition", Table 1.

    Example:
        >>> small = Network(blocks=(1, 1), width=8, classes=10)
        >>> ResNet(small, "fused")(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, network: Network, variant: str) -> None:
        super().__init__()
        self.fused = variant == "fused"
        channels = width = network.width
        self.conv = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn = _norm(channels, variant, rectified=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.Sequential()
        for stage, count in enumerate(network.blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                self.stages.append(Bottleneck(channels, width, stride, variant))
                channels = width * _EXPANSION
            width *= 2
        self.head = nn.Linear(channels, network.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        y = self.bn(self.conv(x))
        y = self.stages(self.pool(y if self.fused else torch.relu_(y)))
        logits: Tensor = self.head(y.mean((2, 3)))
        return logits


def _norm(channels: int, variant: str, *, rectified: bool) -> nn.BatchNorm2d:
    if variant == "torch":
        return nn.BatchNorm2d(channels)
    activation = "relu" if rectified and variant == "fused" else None
    return ours.BatchNorm2d(channels, activation=activation)
