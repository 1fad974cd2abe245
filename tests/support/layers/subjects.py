"""What a law has to know of a module: how to make it, and what it does to which samples.

A law compares with the reference, which knows one batch, one scale and shift, and one pair of
running statistics. A subject says which samples of a batch are normalized together, by what each
sample is scaled and shifted, and which running statistics each part moves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch


class Running(NamedTuple):
    """Running statistics, as views of the module's buffers."""

    mean: torch.Tensor
    var: torch.Tensor
    counter: torch.Tensor


def own_affine(module, n):
    """Return the module's weight and bias for each of n samples, ``(N, C)``, or None."""
    return [
        None if values is None else values.expand(n, -1) for values in (module.weight, module.bias)
    ]


def whole(n, training):
    """Return the one part that a batch of n samples is: all of them."""
    return [torch.arange(n)]


def own_running(module, part):
    """Return the module's running statistics, for whatever part."""
    return Running(module.running_mean, module.running_var, module.num_batches_tracked)


@dataclass(frozen=True)
class Subject:
    """How the laws make a module, and what they compare it with.

    Attributes:
        make: called with the number of channels and torch's options; returns a module that is
            called with an input, and a residual and a mask where it takes them.
        affine: of a module and a number of samples: scale and shift of each sample, ``(N, C)``,
            differentiable in the module's parameters.
        parts: of a number of samples and whether in training: the samples normalized together.
        running: of a module and the number of a part: its running statistics.
    """

    make: Callable
    affine: Callable = own_affine
    parts: Callable = whole
    running: Callable = own_running

    def __call__(self, channels, **options):
        return self.make(channels, **options)


def subject_of(layer_type):
    """Return a plain layer's class as a subject."""
    return layer_type if isinstance(layer_type, Subject) else Subject(layer_type)
