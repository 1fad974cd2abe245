"""CPU backend, compiled: numba kernels on PyTorch's own threads; README.md explains how."""

import platform
from typing import NoReturn

import torch
from torch import Tensor

from batchnorm.errors import DeviceError
from batchnorm.kernels import _eager, _mask
from batchnorm.kernels._call import Backward, Call, Forward, GradientCall, gradient_dtype
from batchnorm.kernels._cpu import _context as at
from batchnorm.kernels._cpu._compile import update_kernel
from batchnorm.kernels._cpu._launch import Launch, fresh, launch, run
from batchnorm.kernels._cpu._memory import processor_has
from batchnorm.kernels._cpu._running import context_of
from batchnorm.kernels._cpu._values import STORED
from batchnorm.kernels._running import RunningStats, update_

if platform.machine().lower() in ("x86_64", "amd64") and not processor_has("f16c"):
    raise ImportError("it needs a processor that converts float16 (F16C, from 2012 on)")

_NONE = (0, 0, 0, 0)


def forward(call: Call, running: RunningStats | None = None) -> Forward:
    """Normalize, add the residual and activate: as `batchnorm.kernels._eager.forward`."""
    x, weight, bias, mean, var, eps, residual, activation, alpha = call
    if x.numel() == 0:
        return _eager.forward(call, running)
    launched = launch(
        "forward", x.shape, x.stride(), x.dtype, residual is not None, activation,
        torch.get_num_threads(), mean is not None,
    )  # fmt: skip
    if launched is None:
        out = forward(call._replace(x=x.contiguous()), running)
        return out._replace(y=torch.empty_like(x).copy_(out.y))
    y = fresh(x, launched)
    mask = None
    if residual is not None:
        residual = _laid_out(residual, x)
        if activation == "relu":
            # Zeros, so that its padding is the same in every run.
            mask = x.new_zeros(_mask.size(x.numel()), dtype=torch.uint8)
    statistics = torch.empty_like(launched.statistics)
    first, channels = statistics.data_ptr(), launched.channels
    update = None
    if running is not None:
        update = context_of(running, first, channels, launched.per_channel)
    scratch = _scratch(launched)
    weight, bias, mean, var = _dense(weight), _dense(bias), _dense(mean), _dense(var)
    words = at.pack_call(
        x.data_ptr() or _freed(x),
        y.data_ptr(),
        0,
        0 if residual is None else residual.data_ptr() or _freed(residual),
        0,
        0 if mask is None else mask.data_ptr(),
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
        0 if scratch is None else scratch.data_ptr(),
        mean is None,
        0 if update is None or not launched.alone else update_kernel(),
        eps,
        alpha,
    )
    run(launched, words, update)
    if mask is not None:
        mask[-1] = _mask.CPU
    if running is not None and update is None:
        update_(running, statistics[0], statistics[1], launched.per_channel)
    return Forward(y, statistics, mask)


def backward(call: GradientCall) -> Backward:
    """Differentiate `forward`: as `batchnorm.kernels._eager.backward`."""
    dy, x, weight, bias, residual, statistics, mask, _, flows, has_residual, _, alpha = call
    if x.numel() == 0:
        return _eager.backward(call)
    launched = launch(
        "backward", x.shape, x.stride(), x.dtype, has_residual, call.activation,
        torch.get_num_threads(),
    )  # fmt: skip
    if launched is None:
        return _backward_in_order(call)
    mask = _mask.checked(mask, _mask.CPU) if call.masked else None
    dy = _laid_out(dy, x)
    residual = None if residual is None else _laid_out(residual, x)
    dx = fresh(x, launched)
    dresidual = fresh(x, launched) if has_residual else None
    dtype, channels = gradient_dtype(weight), launched.channels
    template = launched.gradients if dtype is torch.float32 else launched.statistics[0]
    dweight, dbias = torch.empty_like(template), torch.empty_like(template)
    scratch = _scratch(launched)
    weight, bias = _dense(weight), _dense(bias)
    first = statistics.data_ptr()
    words = at.pack_call(
        x.data_ptr() or _freed(x),
        dx.data_ptr(),
        dy.data_ptr() or _freed(dy),
        0 if residual is None else residual.data_ptr() or _freed(residual),
        0 if dresidual is None else dresidual.data_ptr(),
        0 if mask is None else mask.data_ptr(),
        *_parameter(weight),
        *_parameter(bias),
        *_NONE,
        first,
        0,
        first + 16 * channels,
        dweight.data_ptr(),
        dbias.data_ptr(),
        STORED[dtype],
        0 if scratch is None else scratch.data_ptr(),
        flows,
        0,
        0.0,
        alpha,
    )
    run(launched, words)
    return Backward(dx, dweight, dbias, dresidual)


def _backward_in_order(call: GradientCall) -> Backward:
    """Differentiate on a copy whose memory is in order."""
    out = backward(call._replace(x=call.x.contiguous()))
    dx, dresidual = (
        None if found is None else torch.empty_like(call.x).copy_(found)
        for found in (out.dx, out.dresidual)
    )
    assert dx is not None  # noqa: S101 -- a backward has one
    return out._replace(dx=dx, dresidual=dresidual)


def _scratch(launched: Launch) -> Tensor | None:
    return torch.empty(launched.scratch, dtype=torch.float64) if launched.scratch else None


def _laid_out(tensor: Tensor, x: Tensor) -> Tensor:
    """Return a tensor of the shape of `x` in its memory format and dtype."""
    if tensor.stride() == x.stride() and tensor.dtype == x.dtype:
        return tensor
    return torch.empty_like(x).copy_(tensor)


def _dense(per_channel: Tensor | None) -> Tensor | None:
    return None if per_channel is None else per_channel.contiguous()


def _parameter(tensor: Tensor | None) -> tuple[int, int]:
    if tensor is None:
        return 0, 0
    return tensor.data_ptr() or _freed(tensor), STORED[tensor.dtype]


def _freed(tensor: Tensor) -> NoReturn:
    """Refuse a tensor whose memory somebody has given back, as sharded training does."""
    raise DeviceError(
        f"a tensor of shape {tuple(tensor.shape)} has no memory: its storage has been freed; "
        "gather or copy it before the layer is called"
    )
