"""Observers of a call (compilers, dispatch modes, functorch, tracers): they select its path."""

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad

_PLAIN_TYPES = (Tensor, torch.nn.Parameter)


def is_plain_eager(x: Tensor) -> bool:
    """Whether nothing observes this call, so that the dispatcher (8 µs) can be left out."""
    return not (
        torch.compiler.is_compiling()
        or type(x) not in _PLAIN_TYPES
        or _C._len_torch_dispatch_stack()
        or transformed()
    )


def transformed() -> bool:
    """Whether something differentiates or maps this call that knows torch's own operators only."""
    return (
        _C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or _C._get_tracing_state() is not None
    )


def tracing() -> bool:
    """Whether `torch.jit.trace` watches, for itself or for the exporter built on it."""
    return _C._get_tracing_state() is not None


def exporting() -> bool:
    """Whether the call becomes part of a program that others run, without this package."""
    return torch.compiler.is_exporting() or tracing()
