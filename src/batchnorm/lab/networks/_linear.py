"""Deep linear network: without nonlinearities, to show what depth alone does."""

import math

import torch
from torch import nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._layers import Style
from batchnorm.lab.tasks import Task

DEPTH, WIDTH = 25, 10


def deep_linear(
    task: Task,
    settings: Settings,
    generator: torch.Generator,
    *,
    norm: str | None = None,
) -> nn.Sequential:
    """Build a chain of linear maps, 25 of 10x10 where the settings say nothing else.

    Args:
        task: decides the number of inputs and of outputs.
        settings: ``depth`` and ``width``; ``scale``, where left out such that a map keeps the
            variance of its input.
        generator: source of the initial weights.
        norm: the normalization after every map but the last (see `Style`).

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?": 25 layers of
        10x10, 1,000 samples.
    """
    width, depth = int(settings.get("width", WIDTH)), int(settings.get("depth", DEPTH))
    style = Style({"scale": 1 / math.sqrt(width), **settings}, generator, nn.Identity, norm)
    layers: list[nn.Module] = []
    inputs = task.features
    for _ in range(depth - 1):
        layers += [style.linear(inputs, width, bias=False), *style.normalization(width, 1)]
        inputs = width
    return nn.Sequential(*layers, style.linear(inputs, task.outputs, bias=False))
