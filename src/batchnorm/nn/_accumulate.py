"""Accumulation of the statistics of several micro-batches into one update."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import OptionError
from batchnorm.nn._decorrelated import DecorrelatedLayer
from batchnorm.nn._layer import Layer
from batchnorm.nn._modes import check_model

_OURS = (Layer, DecorrelatedLayer)


@contextmanager
def accumulate_statistics(model: nn.Module) -> Iterator[None]:
    """Take the micro-batches inside the ``with`` block as one batch in the running statistics.

    Each micro-batch is still normalized with its own statistics, and its moments are kept; at the
    end of the block they are merged into one update, which is that of the whole batch. After an
    exception in the block the running statistics are as before.

    Args:
        model: any module with layers of `batchnorm.nn`.

    Raises:
        OptionError: the model has no such layer, has layers of `torch.nn` that would go on by
            themselves, or is in such a block already.
        NonFiniteError: at the end, where a layer has ``nonfinite="raise"``.

    Note:
        The gradients of the micro-batches are those of batches of their size: normalization with
        the statistics of the whole batch would need all of it at once.

    Example:
        >>> import torch
        >>> from batchnorm.nn import BatchNorm1d
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), BatchNorm1d(3))
        >>> batch = torch.randn(32, 4)
        >>> with accumulate_statistics(model):
        ...     for part in batch.split(8):
        ...         model(part).square().mean().backward()
        >>> model[1].num_batches_tracked.item()
        1
    """
    check_model(model)
    layers = _layers(model)
    for layer in layers:
        layer._accumulated = []  # noqa: SLF001 -- the layers' other half
    try:
        yield
        merged = [  # all of them, before the first is moved
            (layer, layer._merge(layer._accumulated))  # noqa: SLF001
            for layer in layers
            if layer._accumulated  # noqa: SLF001
        ]
        for layer, moments in merged:
            layer._update(moments)  # noqa: SLF001
    finally:
        for layer in layers:
            layer._accumulated = None  # noqa: SLF001


def _layers(model: nn.Module) -> list[Layer | DecorrelatedLayer]:
    found = [(name, module) for name, module in model.named_modules() if _normalizes(module)]
    others = [name or "model" for name, module in found if not isinstance(module, _OURS)]
    if others or not found:
        kind = "torch.nn layers" if others else "no batch normalization"
        raise OptionError(
            f"accumulate_statistics needs layers of batchnorm.nn, got {kind} {others[:3]}: "
            "convert the model first"
        )
    layers = [module for _, module in found if isinstance(module, _OURS)]
    if any(layer._accumulated is not None for layer in layers):  # noqa: SLF001
        raise OptionError(
            "accumulate_statistics cannot be nested, got a model inside such a block: "
            "put all micro-batches of a step into one block"
        )
    return layers


def _normalizes(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats
