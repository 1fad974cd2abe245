"""Layers with weights from a given generator, of which the networks are built."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._norm_layers import normalization


@dataclass(frozen=True)
class Style:
    """What the layers of one network have in common.

    Args:
        settings: those of the trial. Read here: ``scale``, the standard deviation of the initial
            weights (left out: the square root of 2 over the number of inputs of a unit, after He
            et al. 2015), and what the normalization reads.
        generator: source of the initial weights.
        activation: the nonlinearity.
        norm: a kind of normalization out of `norms.KINDS`, or `None` for none.
    """

    settings: Settings
    generator: torch.Generator
    activation: type[nn.Module]
    norm: str | None

    def dense(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Return a linear map, the normalization and the nonlinearity."""
        return [
            self.linear(inputs, outputs, bias=self.norm is None),
            *self.normalization(outputs, 1),
            self.activation(),
        ]

    def convolved(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1
    ) -> list[nn.Module]:
        """Return a convolution, the normalization and the nonlinearity."""
        return [
            self.convolution(inputs, outputs, kernel, stride),
            *self.normalization(outputs, 2),
            self.activation(),
        ]

    def linear(self, inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
        """Return a linear map with Gaussian weights and, if it has one, a bias of zero."""
        layer = nn.Linear(inputs, outputs, bias=bias)
        self._draw(layer.weight, inputs)
        if bias:
            nn.init.zeros_(layer.bias)
        return layer

    def convolution(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
        """Return a convolution that keeps the size at stride 1; a bias where nothing follows."""
        bias = self.norm is None
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
        self._draw(layer.weight, inputs * kernel**2)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        return layer

    def normalization(self, channels: int, dimensions: int) -> list[nn.Module]:
        """Return the normalization, if there is one."""
        if self.norm is None:
            return []
        return [normalization(self.norm, channels, dimensions, self.settings)]

    def _draw(self, weight: torch.Tensor, inputs: int) -> None:
        scale = self.settings.get("scale", math.sqrt(2 / inputs))
        with torch.no_grad():
            weight.normal_(0.0, scale, generator=self.generator)


def dropout(settings: Settings) -> list[nn.Module]:
    """Return the dropout that the setting ``dropout`` asks for, if it does."""
    share = settings.get("dropout", 0.0)
    return [nn.Dropout(share)] if share else []


def last_nonlinearity(model: nn.Module) -> nn.Module:
    """Return the last sigmoid or rectifier of `model`, in the order of registration."""
    found = [m for m in model.modules() if isinstance(m, (nn.Sigmoid, nn.ReLU))]
    return found[-1]
