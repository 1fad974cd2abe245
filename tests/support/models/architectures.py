"""Architectures in torch alone, after the papers; small inputs serve, for they pool at the end."""

import torch
from torch import nn


class DenseLayer(nn.Module):
    def __init__(self, inputs, growth, norm):
        super().__init__()
        self.norm1, self.act1 = norm(inputs), nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.act2 = norm(4 * growth), nn.ReLU()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(self.act1(self.norm1(x)))
        return torch.cat((x, self.conv2(self.act2(self.norm2(y)))), 1)


def densenet(blocks=(6, 12, 24, 16), growth=32, outputs=10, norm=nn.BatchNorm2d):
    """Return a DenseNet; that of 121 layers has as many batch normalizations."""
    channels = 2 * growth
    stem = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
    parts = [stem, norm(channels), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for index, depth in enumerate(blocks):
        for _ in range(depth):
            parts.append(DenseLayer(channels, growth, norm))
            channels += growth
        parts += [norm(channels), nn.ReLU()]
        if index < len(blocks) - 1:
            parts += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
    )


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride=1, zero_init=False):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.act1, self.act2, self.act3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
        if zero_init:
            nn.init.zeros_(self.bn3.weight)

    def forward(self, x):
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        return self.act3(self.bn3(self.conv3(y)) + self.shortcut(x))


def resnet(blocks=(3, 4, 6, 3), width=64, outputs=10, *, zero_init=False):
    """Return a ResNet of bottleneck blocks; that of 50 layers has 53 batch normalizations."""
    parts = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    parts.append(nn.MaxPool2d(3, 2, 1))
    channels = width
    for index, depth in enumerate(blocks):
        for place in range(depth):
            stride = 2 if index and not place else 1
            parts.append(Bottleneck(channels, width << index, stride, zero_init))
            channels = 4 * (width << index)
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
    )


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down, self.act = nn.Conv2d(channels, channels // 4, 1), nn.SiLU()
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again without an activation: a linear bottleneck."""

    def __init__(self, inputs, outputs, act, *, stride=1, excite=False):
        super().__init__()
        wide = 4 * inputs
        self.expand = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), act()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            act(),
        )
        self.excite = SqueezeExcite(wide) if excite else nn.Identity()
        self.project = nn.Sequential(
            nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


def mobilenet(act=nn.ReLU6, *, excite=False, depth=4, width=8, outputs=5):
    """Return a small MobileNetV2; with `excite` and SiLU it is an EfficientNet."""
    blocks = [InvertedResidual(width, width, act, excite=excite) for _ in range(depth)]
    stem = nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), act()
    head = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), act()
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, outputs)
    return nn.Sequential(*stem, *blocks, *head, *pool)


def chain(depth, width=16, act=nn.ReLU, outputs=5):
    """Return a plain chain without shortcuts, in which rounding grows from layer to layer."""
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), act()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
