"""The compiled CPU backend: numba kernels on PyTorch's own threads; README.md says how."""

import functools
import platform
from typing import Any, NamedTuple

import torch
from torch import Tensor

from batchnorm import _axes
from batchnorm.kernels import _eager, _mask
from batchnorm.kernels._running import Running, update_
from batchnorm.kernels._select import (
    PLAIN,
    Backward,
    Epilogue,
    Forward,
    Saved,
    gradient_dtype,
)

from . import _context as at
from ._compile import kernel, running_kernel
from ._memory import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, processor_has
from ._plan import plan
from ._pool import FRESH_PAGES, cache_sizes, parallel_for, prefer_huge_pages
from ._running import context_of
from ._values import IDENTITY, LEAKY_RELU, RELU, SILU, STORED

_STORAGE = {
    torch.float64: FLOAT64,
    torch.float32: FLOAT32,
    torch.bfloat16: BFLOAT16,
    torch.float16: FLOAT16,
}
_ACTIVATION = {"identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "silu": SILU}
# Tensors of the input's size that a pass reads and writes, without and with a residual.
_TENSORS = {
    ("forward", False): 2,
    ("forward", True): 3,
    ("backward", False): 3,
    ("backward", True): 4,
}

if platform.machine().lower() in ("x86_64", "amd64") and not processor_has("f16c"):
    raise ImportError("it needs a processor that converts float16 (F16C, from 2012 on)")

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
    launch = _launch(
        "forward", x.shape, x.stride(), x.dtype, residual is not None, epilogue.activation,
        torch.get_num_threads(), mean is not None,
    )  # fmt: skip
    if launch is None:
        ordered = x.contiguous()
        out = forward(ordered, weight, bias, mean, var, eps, residual, epilogue, running)
        return out._replace(y=torch.empty_like(x).copy_(out.y))
    if residual is not None:
        residual = _laid_out(residual, x)
    y = _fresh(x, launch)
    masked = residual is not None and epilogue.activation == "relu"
    # Zeros, so that its padding is the same in every run.
    mask = x.new_zeros(_mask.size(x.numel()), dtype=torch.uint8) if masked else None
    channels = launch.channels
    statistics = torch.empty((3, channels), dtype=torch.float64)
    first = statistics.data_ptr()
    scratch = torch.empty(launch.scratch, dtype=torch.float64) if launch.scratch else None
    weight, bias = _dense(weight), _dense(bias)
    population = _NONE
    if mean is not None:
        mean, var = _dense(mean), _dense(var)
        population = (*_parameter(mean), *_parameter(var))
    call = (
        x.data_ptr(),
        y.data_ptr(),
        0,
        _address(residual),
        0,
        _address(mask),
        *_parameter(weight),
        *_parameter(bias),
        *population,
        first,
        first + 8 * channels,
        first + 16 * channels,
        0,
        0,
        0,
        _address(scratch),
        mean is None,
        eps,
        epilogue.alpha,
    )
    _run(launch, call)
    if mask is not None:
        mask[-1] = _mask.CPU
    if running is not None:
        _update(running, statistics, _axes.count(x.shape))
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
    launch = _launch(
        "backward", x.shape, x.stride(), x.dtype, has_residual, epilogue.activation,
        torch.get_num_threads(),
    )  # fmt: skip
    if launch is None:
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
    dx = _fresh(x, launch)
    dresidual = _fresh(x, launch) if has_residual else None
    channels = launch.channels
    dtype = gradient_dtype(saved.weight)
    dweight, dbias = torch.empty(channels, dtype=dtype), torch.empty(channels, dtype=dtype)
    first = saved.statistics.data_ptr()
    scratch = torch.empty(launch.scratch, dtype=torch.float64) if launch.scratch else None
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
        *_NONE,
        first,
        0,
        first + 16 * channels,
        dweight.data_ptr(),
        dbias.data_ptr(),
        STORED[dtype],
        _address(scratch),
        batch_statistics,
        0.0,
        epilogue.alpha,
    )
    _run(launch, call)
    return Backward(dx, dweight, dbias, dresidual)


_NONE = (0, 0, 0, 0)


def _update(running: Running, statistics: Tensor, count: int) -> None:
    context = context_of(running, statistics, count)
    if context is None:
        update_(running, statistics[0], statistics[1], count)
    else:
        running_kernel()(0, 1, context)


class _Launch(NamedTuple):
    """What a call of a kernel needs that depends on no address.

    Attributes:
        address: the compiled kernel.
        tasks: number of tasks in each phase.
        phases: the plan's words of the context, for each phase.
        channels: number of channels.
        scratch: float64 values that the tasks hand on.
        size: bytes of the output.
    """

    address: int
    tasks: int
    phases: tuple[bytes, ...]
    channels: int
    scratch: int
    size: int


@functools.lru_cache(maxsize=1024)
def _launch(
    direction: str,
    shape: torch.Size,
    stride: tuple[int, ...],
    dtype: torch.dtype,
    has_residual: bool,
    activation: str,
    threads: int,
    inference: bool = False,
) -> _Launch | None:
    """Plan and compile; `None` where memory has to be put in order first."""
    size = shape.numel() * dtype.itemsize
    streamed = _TENSORS[direction, has_residual] * size > cache_sizes()[1]
    whole = inference or not streamed
    found = plan(shape, stride, dtype.itemsize, threads, whole=whole)
    if found is None:
        return None
    kind, inner = _STORAGE[dtype], _ACTIVATION[activation]
    address = kernel(found.layout, direction, kind, inner, has_residual, streamed)
    return _Launch(address, found.tasks, found.phases, found.channels, found.scratch, size)


def _run(launch: _Launch, call: tuple[Any, ...]) -> None:
    """Run a kernel over all tasks of a plan, phase by phase."""
    words = at.pack_call(*call)
    for phase in launch.phases:
        _parallel_for(0, launch.tasks, 1, launch.address, words + phase)


def _fresh(x: Tensor, launch: _Launch) -> Tensor:
    out = torch.empty_like(x)
    if launch.size > FRESH_PAGES:
        prefer_huge_pages(out.data_ptr(), launch.size)
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
    return (0, 0) if tensor is None else (tensor.data_ptr(), STORED[tensor.dtype])
