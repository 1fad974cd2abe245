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

from ._running import Running

_log = logging.getLogger("batchnorm")


class Epilogue(NamedTuple):
    """What follows the normalization in the same pass: ``activation(normalized + residual)``.

    Attributes:
        activation: ``identity``, ``relu``, ``leaky_relu`` or ``silu``.
        alpha: slope of ``leaky_relu`` below zero.
    """

    activation: str = "identity"
    alpha: float = 0.0


PLAIN = Epilogue()


class Forward(NamedTuple):
    """What a forward kernel returns.

    Attributes:
        y: output, with the shape, dtype and memory format of the input.
        statistics: float64 ``(3, C)``: the mean that was subtracted, the biased variance that was
            divided by, and ``1 / sqrt(var + eps)``.
        mask: for ``relu`` with a residual, where the output is above zero (see `_mask`); otherwise
            `None`.
    """

    y: Tensor
    statistics: Tensor
    mask: Tensor | None


class Backward(NamedTuple):
    """What a backward kernel returns.

    Attributes:
        dx: gradient of the input, like the input.
        dweight: gradient of the scale, ``(C,)``, of `gradient_dtype`.
        dbias: gradient of the shift, ``(C,)``, of `gradient_dtype`.
        dresidual: gradient of the residual, like the input; `None` where there was none.
    """

    dx: Tensor
    dweight: Tensor
    dbias: Tensor
    dresidual: Tensor | None


def gradient_dtype(weight: Tensor | None) -> torch.dtype:
    """Return the dtype of the gradients of the parameters, as a backward kernel returns them.

    That of the scale, so that nothing is left to convert; float64 where that would be rounding
    twice.
    """
    return torch.float32 if weight is not None and weight.dtype == torch.float32 else torch.float64


class Saved(NamedTuple):
    """What a backward kernel is given of its forward.

    Attributes:
        x: the input.
        weight: the scale, or `None`.
        bias: the shift, or `None`; only an activation's derivative needs it.
        residual: the residual where the derivative of the activation needs it, or `None`.
        statistics: as the forward returned them.
        mask: as the forward returned it.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    residual: Tensor | None
    statistics: Tensor
    mask: Tensor | None


class Backend(Protocol):
    """The functions that every backend module has; `_eager` documents them."""

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor | None,
        var: Tensor | None,
        eps: float,
        residual: Tensor | None = None,
        epilogue: Epilogue = PLAIN,
        running: Running | None = None,
    ) -> Forward: ...

    def backward(
        self,
        dy: Tensor,
        saved: Saved,
        batch_statistics: bool,
        has_residual: bool = False,
        epilogue: Epilogue = PLAIN,
    ) -> Backward: ...


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
    return _automatic(device.type) if _chosen is None else _load(_chosen)


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
