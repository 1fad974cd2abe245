"""Providers of the module level: our layer, and how ordinary code does the same with its peers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from batchnorm import nn as ours
from batchnorm.bench._cases import Case
from batchnorm.bench._providers import _onednn
from batchnorm.bench._providers._subjects import Block, Inputs

Call = Callable[..., Tensor]


def _of_images(case: Case) -> bool:
    return len(case.shape) == 4  # noqa: PLR2004 -- N, C, H and W


def _loaded(layer: nn.Module, inputs: Inputs, training: bool) -> tuple[Tensor, ...]:
    """Give a layer the parameters of the case, and return them."""
    layer.train(training)
    layer.load_state_dict({"weight": inputs.weight, "bias": inputs.bias}, strict=False)
    return tuple(layer.parameters())


def fused(case: Case, inputs: Inputs, training: bool) -> Block:
    """Return our layer, with activation and residual in the same pass."""
    kind = ours.BatchNorm2d if _of_images(case) else ours.BatchNorm1d
    layer = kind(case.shape[1], activation="relu" if case.rectified else None)
    parameters = _loaded(layer, inputs, training)
    return Block(layer, inputs, parameters)


def eager(case: Case, inputs: Inputs, training: bool) -> Block:
    """Return torch's layer, and behind it what torchvision's ResNet does, in place."""
    kind = nn.BatchNorm2d if _of_images(case) else nn.BatchNorm1d
    layer = kind(case.shape[1])
    parameters = _loaded(layer, inputs, training)
    return Block(_followed(layer, case), inputs, parameters)


def compiled(case: Case, inputs: Inputs, training: bool) -> Block:
    """Return the same as one compiled graph, for exactly this shape; compiling is not timed."""
    torch._dynamo.reset()  # noqa: SLF001 -- the documented way, else shapes become dynamic
    block = eager(case, inputs, training)
    return Block(torch.compile(block.call, dynamic=False), inputs, block.parameters)


@contextmanager
def repeatable() -> Iterator[None]:
    """Let compiled graphs be differentiated again and again, as ``backward`` does.

    Else torch.compile reuses the memory of what forward kept. It has to hold while compiling and
    while differentiating: PyTorch asks both times.
    """
    from torch._functorch import config

    with config.patch(donated_buffer=False):
        yield


def blocked(case: Case, inputs: Inputs, training: bool) -> Block:
    """Return torch's layer on tensors in oneDNN's own layout, converted beforehand."""
    return eager(case, _onednn.converted(inputs), training)


def _followed(layer: nn.Module, case: Case) -> Call:
    if case.residual:

        def added(x: Tensor, residual: Tensor) -> Tensor:
            y = layer(x)
            y += residual
            return torch.relu_(y)

        return added
    if case.rectified:
        return lambda x: torch.relu_(layer(x))
    return layer
