"""Moments of the input that reaches a layer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import _axes, functional
from batchnorm._moments import Moments
from batchnorm.functional import Comoments
from batchnorm.nn._decorrelated import DecorrelatedLayer
from batchnorm.nn._layer import Layer


@torch.no_grad()
def input_moments(layer: _BatchNorm, x: Tensor, options: Mapping[str, Any]) -> Moments | Comoments:
    """Return the exact moments of the values that count in an input.

    Args:
        layer: what is called, of torch or of ours; one that decorrelates has comoments.
        x: its input, shape ``(N, C, *)``.
        options: the keyword arguments of the call; our layers take a mask or sample weights.
    """
    if isinstance(layer, DecorrelatedLayer):
        return Comoments.of(x.detach(), layer.groups)
    return channel_moments(layer, x, options)


@torch.no_grad()
def channel_moments(layer: _BatchNorm, x: Tensor, options: Mapping[str, Any]) -> Moments:
    """Return what `input_moments` does, of a layer that takes each channel by itself."""
    if _axes.count(x.shape) < 2:  # noqa: PLR2004 -- nothing to normalize
        return Moments.of(x)
    mask = sample_weight = None
    if isinstance(layer, Layer):
        mask, sample_weight = options.get("mask"), options.get("sample_weight")
    # The kernels find them some ten times faster than `Moments.of`, whose copy is float64.
    return functional.normalize(x.detach(), mask=mask, sample_weight=sample_weight)[1]
