"""Weights files: safetensors, and what `torch.save` wrote, read without running what they hold."""

import argparse
import pathlib
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batchnorm._pages import check_plain, reason, require
from batchnorm.errors import DataError, OptionError

# The order in which a trainer's dictionary is searched: trained weights come before averaged ones.
NAMES = (
    "state_dict", "model_state_dict", "model", "module", "network", "net", "weights", "params",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema",
)  # fmt: skip
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_DEEPEST = 4
_SCALAR = np.float64(0).__reduce__()[0]  # its module has another name since NumPy 2
# What trainers keep beside weights, and what does nothing but hold values.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    pathlib.WindowsPath,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilBHILefd"},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def read(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return the `state_dict` of a file, and under which names it stood there.

    Args:
        path: a ``.safetensors`` file or one of `torch.save`; a plain `state_dict`, or a trainer's
            dictionary that has one under the first of `NAMES` that it has.

    Returns:
        The `state_dict`, and its names joined by dots, with those that were passed over; empty
        where the file is one.

    Raises:
        OptionError: the file is of an unknown kind.
        DataError: it cannot be read, or holds no `state_dict`.
    """
    found = _content(path)
    names: list[str] = []
    left: list[str] = []
    while len(names) < _DEEPEST and isinstance(found, Mapping):
        here = [name for name in NAMES if isinstance(found.get(name), Mapping)]
        if not here:
            break
        found = found[here[0]]
        names.append(here[0])
        left += here[1:]
    if not isinstance(found, Mapping):
        raise DataError(
            f"{path} needs to hold a state_dict, got a {type(found).__name__}: save "
            "model.state_dict()"
        )
    _check(found, path)
    return found, ".".join(names) + (f" (not {', '.join(left)})" if left else "")


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        require("a .safetensors file", "safetensors")
        read: Callable[[], Any] = lambda: _safetensors(path)  # noqa: E731
    elif path.suffix in _PICKLED:
        read = lambda: _pickled(path)  # noqa: E731
    else:
        raise OptionError(
            f"--weights needs a .safetensors, .pt, .pth, .bin or .ckpt file, got {path}: "
            "save the state_dict as one of them"
        )
    try:
        check_plain(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that is refused below, or read rightly
            return read()
    except OSError as error:
        raise DataError(f"{path} cannot be read as weights ({reason(error)}): check it") from error
    except Exception as error:  # a damaged file makes its reader raise whatever it likes
        why, advice = _explained(error)
        raise DataError(f"{path} cannot be read as weights ({why}): {advice}") from error


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _pickled(path: Path) -> Any:
    with torch.serialization.safe_globals(_HARMLESS):
        return torch.load(path, map_location="cpu", weights_only=True)


def _explained(error: Exception) -> tuple[str, str]:
    """Return why a reader refused, and what to do, in place of its own advice to trust the file."""
    text = " ".join(str(error).split())
    if "TorchScript" in text:
        return "it is a TorchScript program", "save its state_dict(), or the model's"
    named = re.search(r"GLOBAL ([\w.]+)", text)
    if named is not None:
        return (
            f"it holds a {named[1]}, as a whole pickled model does; nothing of it was run",
            "where you trust it, load it in Python and save model.state_dict()",
        )
    text = re.split(r"WeightsUnpickler error: |Weights only load failed", text)[-1]
    words = f"{type(error).__name__}: {text[:150]}" if text else type(error).__name__
    return words, "check it, or save model.state_dict() again"


def _check(state: Mapping[Any, Any], path: Path) -> None:
    """Check that there are tensors with names, of a kind that can be copied into a model."""
    mappings = [name for name, value in state.items() if isinstance(value, Mapping)]
    if mappings and not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise DataError(
            f"{path} needs a state_dict, or one under one of the names {', '.join(NAMES)}; got "
            f"{_some(mappings)}: save the one that you want"
        )
    for name, value in state.items():
        if not isinstance(name, str):
            raise DataError(
                f"{path} needs names as keys, got the {type(name).__name__} {name!r:.40}: save "
                "model.state_dict()"
            )
        if name.endswith("_extra_state"):
            continue
        why = _unfit(value)
        if why is not None:
            raise DataError(f"{path} needs dense tensors with values, {name:.200} is {why}")


def _unfit(value: Any) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}: save model.state_dict()"
    if value.is_quantized:
        return "quantized: save value.dequantize()"
    if value.layout is not torch.strided or value.is_nested:
        return "sparse or nested: save value.to_dense()"
    if value.is_meta:
        return "a tensor on the device meta: save the model with its values"
    return None


def _some(names: list[Any]) -> str:
    shown = ", ".join(f"{name!s:.60}" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown  # noqa: PLR2004
