"""Layers with the names, the state and the arithmetic of those in other packages."""

import torch
from torch import nn


class BatchNormAct2d(nn.BatchNorm2d):
    """As in timm: dropping and an activation are parts of the layer."""

    def __init__(self, channels, act=None, drop=None, **options):
        super().__init__(channels, **options)
        self.drop = drop or nn.Identity()
        self.act = act or nn.Identity()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class FrozenBatchNormAct2d(nn.Module):
    """As in timm: buffers, and the parts of `BatchNormAct2d`."""

    def __init__(self, channels, act=None):
        super().__init__()
        self.eps = 1e-3
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)
        self.drop, self.act = nn.Identity(), act or nn.Identity()

    def forward(self, x):
        column = (1, -1, 1, 1)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return self.act(self.drop(x * scale.reshape(column) + shift.reshape(column)))


class DetrFrozenBatchNorm2d(nn.Module):
    """As in transformers: eps is no attribute."""

    def __init__(self, channels):
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(channels) + 0.5)

    def forward(self, x):
        column = (1, -1, 1, 1)
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(column) + shift.reshape(column)


class OldFrozenBatchNorm2d(DetrFrozenBatchNorm2d):
    """Called like the others, but without eps."""

    def forward(self, x):
        column = (1, -1, 1, 1)
        scale = self.weight * self.running_var.rsqrt()
        return (x - self.running_mean.reshape(column)) * scale.reshape(column) + self.bias.reshape(
            column
        )
