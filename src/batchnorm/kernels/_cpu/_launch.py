"""Launch of a kernel: its plan and compiled code, once for a kind of input, and its run."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm.kernels._cpu._activations import NUMBERS
from batchnorm.kernels._cpu._compile import kernel, update_kernel
from batchnorm.kernels._cpu._memory import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from batchnorm.kernels._cpu._plan import plan
from batchnorm.kernels._cpu._pool import FRESH_PAGES, cache_sizes, parallel_for, prefer_huge_pages

_STORAGE = {
    torch.float64: FLOAT64,
    torch.float32: FLOAT32,
    torch.bfloat16: BFLOAT16,
    torch.float16: FLOAT16,
}
# Tensors of the input's size that a pass reads and writes, without and with a residual.
_TENSORS = {
    ("forward", False): 2,
    ("forward", True): 3,
    ("backward", False): 3,
    ("backward", True): 4,
}

_parallel_for = parallel_for()  # at import, so that a libtorch without it is known at once


class Launch(NamedTuple):
    """What a call of a kernel needs that depends on no address.

    Attributes:
        address: the compiled kernel.
        tasks: number of tasks in each phase.
        phases: the plan's words of the context, for each phase.
        channels: number of channels.
        per_channel: values per channel.
        scratch: float64 values that the tasks hand on.
        size: bytes of the output.
        alone: whether one thread does it all, in one phase.
        statistics: a template of those of a batch, without their memory: `torch.empty_like` is
            faster than to spell them out.
        gradients: a template of float32 gradients of the parameters, likewise.
    """

    address: int
    tasks: int
    phases: tuple[bytes, ...]
    channels: int
    per_channel: int
    scratch: int
    size: int
    alone: bool
    statistics: Tensor
    gradients: Tensor


@functools.lru_cache(maxsize=1024)
def launch(
    direction: str,
    shape: torch.Size,
    stride: tuple[int, ...],
    dtype: torch.dtype,
    has_residual: bool,
    activation: str,
    threads: int,
    inference: bool = False,
) -> Launch | None:
    """Plan and compile; `None` where memory has to be put in order first."""
    size = shape.numel() * dtype.itemsize
    streamed = _TENSORS[direction, has_residual] * size > cache_sizes()[1]
    whole = inference or not streamed
    found = plan(shape, stride, dtype.itemsize, threads, whole=whole)
    if found is None:
        return None
    kind, inner = _STORAGE[dtype], NUMBERS[activation]
    return Launch(
        kernel(found.layout, direction, kind, inner, has_residual, streamed),
        found.tasks,
        found.phases,
        found.channels,
        shape.numel() // found.channels,
        found.scratch,
        size,
        len(found.phases) == 1 and (found.tasks == 1 or threads == 1),
        torch.empty((), dtype=torch.float64).expand(3, found.channels),
        torch.empty((), dtype=torch.float32).expand(found.channels),
    )


def run(launched: Launch, call: bytes, update: bytes | None = None) -> None:
    """Run a kernel over all tasks of a plan, phase by phase; then update the running statistics.

    Args:
        launched: what is run.
        call: words of the call.
        update: words of the update, which the kernel does itself where it is `alone`.
    """
    address, tasks, phases, *_ = launched
    if update is not None and launched.alone:
        _parallel_for(0, tasks, tasks, address, call + phases[0] + update)
        return
    for phase in phases:
        _parallel_for(0, tasks, 1, address, call + phase)
    if update is not None:
        _parallel_for(0, 1, 1, update_kernel(), update)


def fresh(x: Tensor, launched: Launch) -> Tensor:
    """Return an uninitialized output like `x`."""
    out = torch.empty_like(x)
    if launched.size > FRESH_PAGES:
        prefer_huge_pages(out.data_ptr(), launched.size)
    return out
