"""The compiled CPU backend: numba kernels on PyTorch's own threads; README.md says how."""

from typing import Any

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels import _eager, _mask
from batchnorm.kernels._select import (
    PLAIN,
    Backward,
    Epilogue,
    Forward,
    Running,
    Saved,
    gradient_dtype,
)

from . import _context as at
from ._compile import kernel
from ._memory import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from ._plan import Plan, plan
from ._pool import FRESH_PAGES, parallel_for, prefer_huge_pages
from ._values import IDENTITY, LEAKY_RELU, RELU, SILU

_STORAGE = {
    torch.float64: FLOAT64,
    torch.float32: FLOAT32,
    torch.bfloat16: BFLOAT16,
    torch.float16: FLOAT16,
}
# How a per-channel tensor is stored, in the numbers of `_values`.
_STORED = {torch.float64: 1, torch.float32: 2, torch.bfloat16: 3, torch.float16: 4}
_ACTIVATION = {"identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "silu": SILU}
# Tensors of the input's size that a pass reads and writes, without and with a residual.
_TENSORS = {
    ("forward", False): 2,
    ("forward", True): 3,
    ("backward", False): 3,
    ("backward", True): 4,
}

_parallel_for = parallel_for()  # at import, so that a libtorch without it is known at once


def forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    residual: Tensor | None = None,
    epilogue: Epilogue = PLAIN,
    running: Running | None = None,
) -> Forward:
    """Normalize, add the residual and activate: as `batchnorm.kernels._eager.forward`."""
    if x.numel() == 0:
        return _eager.forward(x, weight, bias, mean, var, eps, residual, epilogue, running)
    layout = plan(x)
    if layout is None:
        ordered = x.contiguous()
        out = forward(ordered, weight, bias, mean, var, eps, residual, epilogue, running)
        return out._replace(y=torch.empty_like(x).copy_(out.y))
    moved, momentum = _moved(running)
    if residual is not None:
        residual = _laid_out(residual, x)
    y = _fresh(x, layout)
    masked = residual is not None and epilogue.activation == "relu"
    # Zeros, so that its padding is the same in every run.
    mask = x.new_zeros(_mask.size(x.numel()), dtype=torch.uint8) if masked else None
    channels = layout.channels
    statistics = torch.empty((3, channels), dtype=torch.float64)
    first = statistics.data_ptr()
    scratch = torch.empty(layout.scratch, dtype=torch.float64) if layout.scratch else None
    weight, bias, mean, var = _dense(weight), _dense(bias), _dense(mean), _dense(var)
    call = (
        x.data_ptr(),
        y.data_ptr(),
        0,
        _address(residual),
        0,
        _address(mask),
        *_parameter(weight),
        *_parameter(bias),
        *_parameter(mean),
        *_parameter(var),
        first,
        first + 8 * channels,
        first + 16 * channels,
        0,
        0,
        0,
        _address(scratch),
        mean is None,
        *moved,
        eps,
        epilogue.alpha,
        momentum,
    )
    _run("forward", layout, x.dtype, epilogue, residual is not None, call)
    if mask is not None:
        mask[-1] = _mask.CPU
    if running is not None and moved is _UNMOVED:
        _eager.update_(running, statistics, _axes.count(x.shape))
    return Forward(y, statistics, mask)


def backward(
    dy: Tensor,
    saved: Saved,
    batch_statistics: bool,
    has_residual: bool = False,
    epilogue: Epilogue = PLAIN,
) -> Backward:
    """Differentiate `forward`: as `batchnorm.kernels._eager.backward`."""
    x = saved.x
    if x.numel() == 0:
        return _eager.backward(dy, saved, batch_statistics, has_residual, epilogue)
    layout = plan(x)
    if layout is None:
        ordered = saved._replace(x=x.contiguous())
        out = backward(dy, ordered, batch_statistics, has_residual, epilogue)
        dresidual = out.dresidual
        if dresidual is not None:
            dresidual = torch.empty_like(x).copy_(dresidual)
        return out._replace(dx=torch.empty_like(x).copy_(out.dx), dresidual=dresidual)
    masked = has_residual and epilogue.activation == "relu"
    mask = _mask.checked(saved.mask, _mask.CPU) if masked else None
    dy = _laid_out(dy, x)
    residual = None if saved.residual is None else _laid_out(saved.residual, x)
    dx = _fresh(x, layout)
    dresidual = _fresh(x, layout) if has_residual else None
    channels = layout.channels
    dtype = gradient_dtype(saved.weight)
    dweight, dbias = torch.empty(channels, dtype=dtype), torch.empty(channels, dtype=dtype)
    first = saved.statistics.data_ptr()
    scratch = torch.empty(layout.scratch, dtype=torch.float64) if layout.scratch else None
    weight, bias = _dense(saved.weight), _dense(saved.bias)
    call = (
        x.data_ptr(),
        dx.data_ptr(),
        dy.data_ptr(),
        _address(residual),
        _address(dresidual),
        _address(mask),
        *_parameter(weight),
        *_parameter(bias),
        0,
        0,
        0,
        0,
        first,
        0,
        first + 16 * channels,
        dweight.data_ptr(),
        dbias.data_ptr(),
        _STORED[dtype],
        _address(scratch),
        batch_statistics,
        *_UNMOVED,
        0.0,
        epilogue.alpha,
        0.0,
    )
    _run("backward", layout, x.dtype, epilogue, has_residual, call)
    return Backward(dx, dweight, dbias, dresidual)


_UNMOVED = (0, 0, 0, 0, 0)


def _moved(running: Running | None) -> tuple[tuple[int, ...], float]:
    """Return the addresses of what the kernel moves, if it can, and the weight of the batch."""
    if running is None:
        return _UNMOVED, 0.0
    mean, var, counter, momentum = running
    if isinstance(momentum, Tensor):
        return _UNMOVED, 0.0
    tensors = [tensor for tensor in (mean, var, counter) if tensor is not None]
    if not all(tensor.is_contiguous() for tensor in tensors):
        return _UNMOVED, 0.0
    torch.autograd.graph.increment_version(tensors)  # autograd has to see the change
    return (*_parameter(mean), *_parameter(var), _address(counter)), momentum


def _run(
    direction: str,
    layout: Plan,
    dtype: torch.dtype,
    epilogue: Epilogue,
    has_residual: bool,
    call: tuple[Any, ...],
) -> None:
    """Run a kernel over all tasks of a plan, phase by phase."""
    activation = _ACTIVATION[epilogue.activation]
    streamed = layout.streamed(_TENSORS[direction, has_residual])
    address = kernel(layout.layout, direction, _STORAGE[dtype], activation, has_residual, streamed)
    words = at.pack_call(*call)
    for phase in layout.phases:
        _parallel_for(0, layout.tasks, 1, address, words + phase)


def _fresh(x: Tensor, layout: Plan) -> Tensor:
    out = torch.empty_like(x)
    if layout.size > FRESH_PAGES:
        prefer_huge_pages(out.data_ptr(), out.numel() * out.element_size())
    return out


def _laid_out(tensor: Tensor, x: Tensor) -> Tensor:
    """Return a tensor of the shape of `x` in its memory format and dtype."""
    if tensor.stride() == x.stride() and tensor.dtype == x.dtype:
        return tensor
    return torch.empty_like(x).copy_(tensor)


def _dense(per_channel: Tensor | None) -> Tensor | None:
    return None if per_channel is None else per_channel.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _parameter(tensor: Tensor | None) -> tuple[int, int]:
    return (0, 0) if tensor is None else (tensor.data_ptr(), _STORED[tensor.dtype])
