"""Which backend computes: chosen by name or by device, said once, never silently another."""

import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from batchnorm.errors import BackendError

_log = logging.getLogger("batchnorm")


class Forward(NamedTuple):
    """What a forward kernel returns.

    Attributes:
        y: output, with the shape, dtype and memory format of the input.
        mean: mean that was subtracted, float64 ``(C,)``.
        var: biased variance that was divided by, float64 ``(C,)``.
        invstd: ``1 / sqrt(var + eps)``, float64 ``(C,)``.
    """

    y: Tensor
    mean: Tensor
    var: Tensor
    invstd: Tensor


class Backward(NamedTuple):
    """What a backward kernel returns: `dx` like the input, the sums as float64 ``(C,)``."""

    dx: Tensor
    dweight: Tensor
    dbias: Tensor


class Backend(Protocol):
    """The functions that every backend module has."""

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        eps: float,
    ) -> Forward: ...

    def backward(
        self,
        dy: Tensor,
        x: Tensor,
        weight: Tensor | None,
        mean: Tensor,
        invstd: Tensor,
        batch_statistics: bool,
    ) -> Backward: ...


# In order of preference; a backend serves the device types that stand beside it.
_SERVES: dict[str, frozenset[str] | None] = {"eager": None}

_chosen: str | None = None


@functools.cache
def _load(name: str) -> Backend:
    return cast("Backend", importlib.import_module(f"batchnorm.kernels._{name}"))


@functools.cache
def _automatic(device_type: str) -> Backend:
    name = next(name for name, served in _SERVES.items() if served is None or device_type in served)
    _log.info("batchnorm computes on %s with the %s backend", device_type, name)
    return _load(name)


def available() -> tuple[str, ...]:
    """Return the names of the backends that can be had here.

    Example:
        >>> "eager" in available()
        True
    """
    return tuple(_SERVES)


def current(device: torch.device) -> Backend:
    """Return the backend that serves `device` now."""
    return _automatic(device.type) if _chosen is None else _load(_chosen)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Compute with the backend `name` inside the ``with`` block, on whatever device.

    Args:
        name: one of `available()`.

    Raises:
        BackendError: there is no backend of that name here.

    Example:
        >>> with backend("eager"):
        ...     y = torch.ops.batchnorm.forward(torch.randn(8, 3), None, None, None, None, 1e-5)[0]
    """
    global _chosen  # noqa: PLW0603 -- the choice is process-wide on purpose, as torch.backends are
    if name not in _SERVES:
        raise BackendError(
            f"backend must be one of {', '.join(available())}, got {name!r}: "
            "choose one that can be had here, or leave the choice to the device"
        )
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before
