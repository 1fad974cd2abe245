"""Small networks made of our layers, and what a few steps of training do to them."""

import torch

from batchnorm import nn
from batchnorm.nn import Layer


class Block(torch.nn.Module):
    """Two convolutions and a residual, as in a ResNet."""

    def __init__(self, inputs, outputs, activation="relu", **options):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, activation=activation, **options)
        self.conv2 = torch.nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, activation=activation, **options)
        self.shortcut = torch.nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, **options)

    def forward(self, x):
        residual = self.bn3(self.shortcut(x))
        return self.bn2(self.conv2(self.bn1(self.conv1(x))), residual)


def resnet(**options):
    """Return a network for images ``(N, 3, H, W)`` with 5 outputs and four of our layers."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        Block(3, 6, **options),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 5),
        nn.BatchNorm1d(5, **options),
    )


def layers(model):
    return [module for module in model.modules() if isinstance(module, Layer)]


def images(count, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=g, dtype=torch.float64).to(dtype)


def train(model, call, batches):
    """Train by gradient descent; return outputs and gradients of each step, and the buffers."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    steps = []
    for x in batches:
        optimizer.zero_grad()
        y = call(x)
        y.float().sub(0.3).square().mean().backward()
        # A step later they have other values.
        steps.append([y.detach(), *(p.grad.clone() for p in model.parameters())])
        optimizer.step()
    return steps, dict(model.named_buffers())
