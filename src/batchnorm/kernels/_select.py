"""Choice of the backend: by name or by device, logged once, never a silent fallback."""

import functools
import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch

from batchnorm.errors import BackendError
from batchnorm.kernels._call import Backward, Call, Forward, GradientCall
from batchnorm.kernels._running import RunningStats

_log = logging.getLogger("batchnorm")


class Backend(Protocol):
    """The functions that every backend module has; `_eager` documents them."""

    def forward(self, call: Call, running: RunningStats | None = None) -> Forward: ...

    def backward(self, call: GradientCall) -> Backward: ...


# In order of preference; a backend serves the device types that stand beside it.
_SERVES: dict[str, frozenset[str] | None] = {"cpu": frozenset({"cpu"}), "eager": None}

# What loading a backend raises where a package, a library or a symbol of it is missing.
_MISSING = (ImportError, OSError, AttributeError)

_chosen: str | None = None


@functools.cache
def _load(name: str) -> Backend:
    return cast("Backend", importlib.import_module(f"batchnorm.kernels._{name}"))


@functools.cache
def _automatic(device_type: str) -> Backend:
    for name, served in _SERVES.items():
        if served is not None and device_type not in served:
            continue
        try:
            found = _load(name)
        except _MISSING as error:
            _log.warning("batchnorm cannot use its %s backend here: %s", name, error)
            continue
        _log.info("batchnorm computes on %s with the %s backend", device_type, name)
        return found
    raise AssertionError("the eager backend serves every device")


def available() -> tuple[str, ...]:
    """Return the names of the backends that can be had here.

    Example:
        >>> "eager" in available()
        True
    """
    names = []
    for name in _SERVES:
        try:
            _load(name)
        except _MISSING:
            continue
        names.append(name)
    return tuple(names)


def current(device: torch.device) -> Backend:
    """Return the backend that serves `device` now."""
    return _of_device(device) if _chosen is None else _load(_chosen)


@functools.cache
def _of_device(device: torch.device) -> Backend:
    return _automatic(device.type)  # which takes longer to read than the device to look up


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Compute with the backend `name` inside the ``with`` block.

    Args:
        name: one of `available()`.

    Raises:
        BackendError: there is no backend of that name here.

    Example:
        >>> with backend("eager"):
        ...     y = torch.ops.batchnorm.forward(torch.randn(8, 3), None, None, None, None, 1e-5)[0]
    """
    global _chosen  # noqa: PLW0603 -- the choice is process-wide on purpose, as torch.backends are
    if name not in available():
        raise BackendError(
            f"backend must be one of {', '.join(available())}, got {name!r}: "
            "choose one that can be had here, or leave the choice to the device"
        )
    before, _chosen = _chosen, name
    try:
        yield
    finally:
        _chosen = before
