"""Providers that are compared, their levels, and why one is not available here."""

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch

from batchnorm.bench._cases import Case
from batchnorm.bench._providers import _blocks, _operators
from batchnorm.bench._providers._subjects import Inputs, Subject

LEVELS = ("module", "operator")
OURS, COPY = "ours", "copy"
_LONGEST_REASON = 200

Build = Callable[[Case, Inputs, bool], Subject]
# What PyTorch raises where oneDNN does not support a combination, or a compilation fails.
Unsupported = RuntimeError


@dataclass(frozen=True)
class Provider:
    """Something that can normalize.

    Args:
        name: how tables call it.
        title: what it is.
        levels: how it is built, for each level that it has.
        optional: whether a combination that it refuses is left out, with the reason.
        missing: returns why it is not available here at all, or `None`.
    """

    name: str
    title: str
    levels: dict[str, Build]
    optional: bool = False
    missing: Callable[[], str | None] = lambda: None

    def absence(self, level: str) -> str | None:
        """Return why this provider is not at a level, or `None` where it is."""
        if level not in self.levels:
            return f"there is no {level} level of it"
        return self.missing()


def compiler_missing() -> str | None:
    """Return why torch.compile cannot work, or `None`."""
    wanted = os.environ.get("CXX") or ("clang++" if platform.system() == "Darwin" else "g++")
    if shutil.which(wanted) is None:
        return "torch.compile needs a C++ compiler, and g++ (or what CXX names) was not found"
    return None


def onednn_missing() -> str | None:
    """Return why oneDNN cannot be used, or `None`."""
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call] # no types there
        return None
    return "this build of PyTorch has no oneDNN"


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            OURS,
            "batchnorm.nn layers, ReLU and residual in the same pass",
            {"module": _blocks.fused, "operator": _operators.fused},
        ),
        Provider(
            "torch",
            "torch.nn layers, then += residual and relu_ in place, as torchvision writes it",
            {"module": _blocks.eager, "operator": _operators.native},
        ),
        Provider(
            "compile",
            "torch.compile of the same torch code, for each shape anew, compiling not timed",
            {"module": _blocks.compiled},
            optional=True,
            missing=compiler_missing,
        ),
        Provider(
            "onednn",
            "torch.nn layers on tensors in the layout that oneDNN's convolutions leave (not timed)",
            {"module": _blocks.blocked, "operator": _operators.blocked},
            optional=True,
            missing=onednn_missing,
        ),
    )
}
PEERS = tuple(name for name in PROVIDERS if name != OURS)


def reason(error: BaseException) -> str:
    r"""Return an error as one line without paths, which name users and machines.

    Example:
        >>> reason(RuntimeError("no /home/somebody/tmp/x.cpp\nmore"))
        'RuntimeError: no x.cpp'
    """
    line = re.sub(r"/\S*/", "", next(iter(str(error).strip().splitlines()), ""))
    return f"{type(error).__name__}: {line}"[:_LONGEST_REASON]
