"""Tensors of a case, and the job that a provider does for each direction."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from batchnorm.bench._cases import Case
from batchnorm.bench._timing import Timed

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Inputs:
    """The tensors of a case, the same for every provider.

    Args:
        x: the input.
        residual: like the input, or `None`.
        dy: gradient of the output, like the input.
        weight: scale, float32 ``(C,)``.
        bias: shift, float32 ``(C,)``.
    """

    x: Tensor
    residual: Tensor | None
    dy: Tensor
    weight: Tensor
    bias: Tensor

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the input."""
        return self.x.numel() * self.x.element_size()

    def converted(self, convert: Callable[[Tensor], Tensor]) -> "Inputs":
        """Return the same values with input, residual and gradient in another layout."""
        residual = None if self.residual is None else convert(self.residual)
        return Inputs(convert(self.x), residual, convert(self.dy), self.weight, self.bias)


def draw(case: Case, dtype: str, layout: str) -> Inputs:
    """Draw the tensors of a case.

    Args:
        case: decides the shape.
        dtype: name of the dtype of the input; parameters are float32 beside all of them.
        layout: one of `cases.LAYOUTS`.

    Example:
        >>> from batchnorm.bench._cases import Case
        >>> draw(Case("sites", "", (2, 3, 4, 4)), "bfloat16", "channels_last").x.stride()
        (48, 1, 12, 3)
    """
    generator = torch.Generator().manual_seed(0)

    def tensor() -> Tensor:
        value = torch.randn(case.shape, generator=generator).to(getattr(torch, dtype))
        return value.contiguous(memory_format=FORMATS[layout])

    channels = case.shape[1]
    x, dy = tensor(), tensor()
    weight = torch.rand(channels, generator=generator) + 0.5
    bias = torch.randn(channels, generator=generator) / 4
    return Inputs(x, tensor() if case.residual else None, dy, weight, bias)


class Subject(Protocol):
    """A provider's code for one case."""

    def job(self, direction: str) -> Timed:
        """Return what is timed for a direction."""


@dataclass(frozen=True)
class Block:
    """A normalization as a network calls it: a layer and what follows it, under autograd.

    - ``forward`` runs the block with gradients enabled for the input, the residual and the
      parameters, updates the running statistics, and drops output and graph.
    - ``backward`` differentiates one graph again and again by `torch.autograd.grad` with
      ``retain_graph=True``: the gradients of input, residual, weight and bias, fresh each time.
    - ``forward-backward`` is both, the graph released.
    - ``inference`` runs the block in evaluation mode without gradients.

    Args:
        call: takes the input, and the residual where there is one.
        inputs: the tensors.
        parameters: weight and bias of the layer.
    """

    call: Callable[..., Tensor]
    inputs: Inputs
    parameters: tuple[Tensor, ...]

    def job(self, direction: str) -> Timed:
        """Return what is timed for a direction."""
        call, dy = self.call, self.inputs.dy
        learned = direction != "inference"
        given = (self.inputs.x, self.inputs.residual)
        tensors = [t.detach().requires_grad_(learned) for t in given if t is not None]
        wanted = (*tensors, *self.parameters)
        if direction == "backward":
            y = call(*tensors)
            return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)
        if direction == "forward-backward":
            return lambda: torch.autograd.grad(call(*tensors), wanted, dy)
        return lambda: call(*tensors)


def copying(x: Tensor) -> Timed:
    """Return a copy between two tensors like `x` that exist beforehand."""
    source, target = torch.randn_like(x), torch.zeros_like(x)
    return lambda: target.copy_(source)
