"""Thread pool of PyTorch, cache sizes of the processor, huge pages."""

import contextlib
import ctypes
import functools
import os
from pathlib import Path
from typing import Any

import torch

MEGABYTE = 2**20
FRESH_PAGES = 2 * MEGABYTE  # from which on a huge page may fit
_MADV_HUGEPAGE = 14


@functools.cache
def parallel_for() -> Any:
    """Return libtorch's ``torch_parallel_for(begin, end, grain, kernel, context)``.

    Raises:
        AttributeError: this libtorch does not export it (before 2.10).
        OSError: there is no libtorch beside the package.
    """
    name = {"nt": "torch_cpu.dll"}.get(os.name, "libtorch_cpu.so")
    function = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / name)).torch_parallel_for
    size = ctypes.c_int64
    function.argtypes = [size, size, size, ctypes.c_void_p, ctypes.c_char_p]
    function.restype = ctypes.c_int32
    return function


@functools.cache
def cache_sizes() -> tuple[int, int]:
    """Return the bytes of a core's own cache and of the largest one it reaches.

    As Linux tells them; 512 kB and 32 MB where the system does not say.
    """
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with contextlib.suppress(OSError, ValueError):  # some virtual machines leave these out
            level = int((index / "level").read_text())
            sizes[level] = int((index / "size").read_text().strip().removesuffix("K")) * 1024
    return sizes.get(2, MEGABYTE // 2), max(sizes.values(), default=32 * MEGABYTE)


@functools.cache
def _madvise() -> Any:
    try:
        return ctypes.CDLL(None).madvise
    except (AttributeError, TypeError, OSError):  # not a system with madvise
        return None


def prefer_huge_pages(address: int, size: int) -> None:
    """Advise the system to back fresh memory with huge pages, before it is first touched."""
    advise = _madvise()
    if advise is not None:
        page = os.sysconf("SC_PAGE_SIZE")
        start = (address + page - 1) // page * page
        length = max(address + size - start, 0) // page * page
        advise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_HUGEPAGE)
