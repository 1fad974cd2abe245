"""Pickles of CIFAR-10's python version, read without running the code that a pickle can hold.

A pickle names functions that its reader is to call. This reader calls none of them: stand-ins take
their place, which only remember what they were given, and what they remember is checked.
"""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from batchnorm.errors import DataError


class _Remembered:
    """What a pickle says of an object: the arguments it is made with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Remembered):
    """Stands in for an array."""


class _Type(_Remembered):
    """Stands in for the type of an array's values."""


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # its name since NumPy 2
    ("numpy", "ndarray"): _Remembered,
    ("numpy", "dtype"): _Type,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch needs")
        return _STAND_INS[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to {pid!r} outside itself")


def batch(content: bytes, path: Path, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the rows and labels of one batch, without calling anything that the file names.

    Args:
        content: the file's content.
        path: what to call the file in an error.
        width: values of a row.

    Returns:
        Rows ``(N, width)`` and labels ``(N,)``.

    Raises:
        DataError: it is no such batch.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="bytes").load()
        return _rows(found[b"data"], width), _labels(found[b"labels"])
    except Exception as error:  # a damaged pickle raises whatever it likes, says its documentation
        raise DataError(
            f"{path} is no batch of CIFAR-10's python version ({type(error).__name__}: {error}): "
            "fetch the file again, or take the binary version"
        ) from error


def _rows(array: Any, width: int) -> NDArray[np.uint8]:
    if not isinstance(array, _Array):
        raise TypeError("its data are not an array")
    _, shape, kind, fortran, raw = array.state
    if not isinstance(kind, _Type) or kind.arguments[0] not in {"u1", b"u1"} or fortran:
        raise ValueError("its array is not of unsigned bytes, row after row")
    return np.frombuffer(raw, np.uint8).reshape(shape[0], width)


def _labels(labels: Any) -> NDArray[np.uint8]:
    if not isinstance(labels, list):
        raise TypeError("its labels are not a list")
    return np.frombuffer(bytes(labels), np.uint8)
