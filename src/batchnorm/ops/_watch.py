"""Observers of a call (compilers, dispatch modes, functorch, tracers): they select its path."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import _C, Tensor
from torch.autograd import forward_ad

Result = TypeVar("Result")
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


def untraced(compute: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a function computes, for `torch.jit.trace` as if it had been there before."""
    state: Any = _C._get_tracing_state()
    if state is None:
        return compute(*arguments)
    try:
        _C._set_tracing_state(None)  # type: ignore[attr-defined] # torch's stubs lack it
        return compute(*arguments)
    finally:
        _C._set_tracing_state(state)  # type: ignore[attr-defined]


def exporting() -> bool:
    """Whether the call becomes part of a program that others run, without this package."""
    return torch.compiler.is_exporting() or tracing()


def recording_program() -> bool:
    """Whether `torch.export` watches, for a program that others may switch between its modes.

    They find batch normalization by torch's operator. An exporter to ONNX does not: in training it
    would make another function of that operator, with the variance that the buffers keep.
    """
    return torch.compiler.is_exporting() and not exporting_onnx()


def exporting_onnx() -> bool:
    """Whether the program becomes one of ONNX."""
    return torch.onnx.is_in_onnx_export()


# To be asked as it stands: Dynamo, by which the exporter tries again, takes torch's answer for no.
# The decorator that sets this loads Dynamo, which takes seconds.
exporting_onnx._dynamo_marked_constant = True  # type: ignore[attr-defined]
