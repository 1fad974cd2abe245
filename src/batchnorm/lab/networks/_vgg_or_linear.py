"""Networks that Santurkar et al. measured: VGG for images, a linear one for vectors."""

import torch
from torch import nn

from batchnorm.lab.design import Settings
from batchnorm.lab.networks._linear import deep_linear
from batchnorm.lab.networks._vgg import vgg
from batchnorm.lab.tasks import Task


def vgg_or_linear(
    task: Task, settings: Settings, generator: torch.Generator, *, norm: str | None = None
) -> nn.Sequential:
    """Build a `vgg` where there are classes to tell apart, a `deep_linear` where there are values.

    Args:
        task: decides which.
        settings: those of the network.
        generator: source of the initial weights.
        norm: the normalization of the network.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?", appendix A.
    """
    if task.has_classes:
        return vgg(task, settings, generator, norm=norm)
    return deep_linear(task, settings, generator, norm=norm)
