"""Compilation of a kernel when it is first needed, and its cache on disk."""

import functools
import hashlib
import logging
import threading
import time
from pathlib import Path
from typing import Any

from numba import cfunc, types
from numba.core.caching import FunctionCache
from numba.core.errors import NumbaError

from batchnorm.kernels._cpu import _planes, _rows, _running

_log = logging.getLogger("batchnorm")
_lock = threading.RLock()
_SIGNATURE = types.int64(types.int64, types.int64, types.CPointer(types.int64))
_KERNELS = {
    ("planes", "forward"): _planes.forward,
    ("planes", "backward"): _planes.backward,
    ("rows", "forward"): _rows.forward,
    ("rows", "backward"): _rows.backward,
}


@functools.cache
def _version() -> int:
    """Return a number that changes with any source here: numba watches one file only."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return int.from_bytes(digest.digest()[:4], "big")


_addresses: dict[tuple[Any, ...], int] = {}
_kept: dict[tuple[Any, ...], Any] = {}  # compiled code lives as long as its object


def kernel(
    layout: str, direction: str, storage: Any, activation: int, has_residual: bool, streamed: bool
) -> int:
    """Return the address of a kernel, compiled for this processor.

    Args:
        layout: ``planes`` or ``rows``.
        direction: ``forward`` or ``backward``.
        storage: how values are stored, one of `_memory`'s types.
        activation: one of `_values`'s numbers.
        has_residual: whether there is a residual.
        streamed: whether the output goes past the cache.
    """
    key = (layout, direction, storage, activation, has_residual, streamed)
    address = _addresses.get(key)
    if address is None:
        with _lock:
            if key not in _kept:
                make = _KERNELS[layout, direction]
                function = make(storage, activation, has_residual, streamed, _version())
                _kept[key] = _compile(function, f"{layout} {direction}")
            address = _addresses[key] = int(_kept[key].address)
    return address


@functools.cache
def update_kernel() -> int:
    """Return the address of the kernel that updates the running statistics, in one task."""
    with _lock:
        _kept[()] = _compile(_running.update(_version()), "running statistics")
    return int(_kept[()].address)


def _compile(function: Any, name: str) -> Any:
    start = time.perf_counter()
    try:
        found = cfunc(_SIGNATURE, cache=True)(function)
    except NumbaError:  # of the compiler: there is nothing else to try
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a damaged file makes of unpickling
        found = _compile_past(error, function)
    seconds = time.perf_counter() - start
    if seconds > 1.0:
        _log.info("batchnorm compiled its %s kernel in %.1f s", name, seconds)
    return found


def _compile_past(error: Exception, function: Any) -> Any:
    """Compile where the cache on disk can't be read or written, and mend it if possible."""
    kind = f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, RuntimeError) and "cannot cache" in str(error):
        _log.warning(
            "batchnorm cannot keep compiled kernels on disk (%s): set NUMBA_CACHE_DIR to a folder "
            "that can be written, or they are compiled in every process",
            error,
        )
        return cfunc(_SIGNATURE)(function)
    try:
        FunctionCache(function).flush()  # forgets what cannot be read
        found = cfunc(_SIGNATURE, cache=True)(function)
    except NumbaError:
        raise
    except Exception as again:  # noqa: BLE001 -- a full disk, above all
        _once(
            "batchnorm cannot use its cache of compiled kernels (%s; then %s): they are compiled "
            "in every process until the disk can be written, or NUMBA_CACHE_DIR names another",
            kind,
            f"{type(again).__name__}: {again}",
        )
        return cfunc(_SIGNATURE)(function)
    _once("batchnorm found a damaged file in its cache of compiled kernels (%s): made anew", kind)
    return found


_said: set[str] = set()


def _once(message: str, *details: object) -> None:
    """Log a warning, and the next ones of its kind where somebody looks closer."""
    _log.log(logging.DEBUG if message in _said else logging.WARNING, message, *details)
    _said.add(message)
