"""Machine facts: processor, memory caches, versions; nothing that names the machine or its user."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batchnorm._pages._version import own_version

Facts = dict[str, str | int]

_CPUINFO, _CACHES = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")


def facts() -> Facts:
    """Return what the speed of a program depends on: the machine and the versions.

    Example:
        >>> sorted(facts())[:4]
        ['allocator', 'batchnorm', 'caches', 'cores']
    """
    return {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "caches": caches(),
        "system": " ".join((platform.system(), platform.machine(), *libc())),
        "allocator": _allocator(),
        "load": _load(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numba": _version("numba"),
        "batchnorm": own_version(),
    }


def environment() -> dict[str, Any]:
    """Return what the numbers of a run may depend on: the versions and the devices."""
    return {
        "batchnorm": own_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor() -> str:
    """Return the model of the processor, as Linux reports it, or what Python knows."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


def caches() -> str:
    """Return the sizes of the data caches that the first core sees."""
    found = []
    for entry in sorted(_CACHES.glob("index*")) if _CACHES.is_dir() else ():
        level, kind, size = ((entry / name).read_text().strip() for name in _CACHE_FILES)
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found) or "unknown"


_CACHE_FILES = ("level", "type", "size")


def libc() -> tuple[str, ...]:
    """Return the name and version of the C library, where Python knows them."""
    return tuple(part for part in platform.libc_ver() if part)


def _load() -> str:
    """Return how many processes wanted to run in the last minute: at best none but this one."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _allocator() -> str:
    """Return what was asked of the C library's allocator, or put in its place."""
    preloaded = [Path(name).name for name in os.environ.get("LD_PRELOAD", "").split(":") if name]
    tuned = os.environ.get("GLIBC_TUNABLES", "")
    return " ".join((*preloaded, tuned)).strip() or "as the C library has it"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
