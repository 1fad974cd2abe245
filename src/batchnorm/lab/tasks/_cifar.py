"""CIFAR-10: from the binary or the python version, from arrays, or downloaded."""

import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchnorm._pages import read_plain, reason, require, write_atomically
from batchnorm.errors import DataError
from batchnorm.lab.tasks import _pickles
from batchnorm.lab.tasks._images import CLASSES, Part, check, tensors
from batchnorm.lab.tasks._task import Task

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as published beside it
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def cifar10(data_dir: Path | None) -> Task:
    """Return CIFAR-10, each colour centred and scaled by the training set.

    Args:
        data_dir: folder with the binary version (``data_batch_1.bin``, ...), the python version
            (``data_batch_1``, ...), either in the folder of that name that its archive has, or one
            ``.npz`` file with the arrays `x_train`, `y_train`, `x_test` and `y_test`, the images
            ``(N, 32, 32, 3)``. `None` downloads the binary version.

    Raises:
        DataError: the data are missing, damaged or cannot be downloaded.
    """
    train, test = _downloaded() if data_dir is None else _read(data_dir)
    for part, words in ((train, "training"), (test, "test")):
        check(part, _SHAPE, f"CIFAR-10 {words} set")
    mean, std = (f(train[0], (0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    if not std.all():
        raise DataError("CIFAR-10 training set: needed images that differ, got one colour only")
    parts = (tensors((images - mean) / std, labels) for images, labels in (train, test))
    words = "each colour centred and scaled by its mean and deviation over the training set"
    return Task("cifar10", "CIFAR-10", words, CLASSES, _SHAPE, *chain.from_iterable(parts))


def _read(folder: Path) -> tuple[Part, Part]:
    for inner, suffix, read in (
        ("cifar-10-batches-bin", ".bin", _binary),
        ("cifar-10-batches-py", "", _python),
    ):
        for place in (folder, folder / inner):
            if os.path.lexists(place / f"{_BATCHES[0]}{suffix}"):
                train = _joined(
                    read(_content(place / f"{name}{suffix}"), place / f"{name}{suffix}")
                    for name in _BATCHES
                )
                last = place / f"test_batch{suffix}"
                return train, read(_content(last), last)
    return _arrays(folder)


def _content(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({reason(error)}): CIFAR-10 has five training files and one "
            "for the test; fetch them again"
        ) from error


def _joined(parts: Iterable[Part]) -> Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _binary(content: bytes, path: Path) -> Part:
    """Return the records of one label and 3x32x32 pixels each."""
    count, rest = divmod(len(content), 1 + _PIXELS)
    if rest or not count:
        raise DataError(
            f"{path} is truncated or no CIFAR-10 file: needed records of {1 + _PIXELS} bytes, got "
            f"{len(content)} bytes: fetch the file again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(count, 1 + _PIXELS)
    return rows[:, 1:].reshape(count, *_SHAPE), rows[:, 0]


def _python(content: bytes, path: Path) -> Part:
    rows, labels = _pickles.batch(content, path, _PIXELS)
    return rows.reshape(len(rows), *_SHAPE), labels


def _arrays(folder: Path) -> tuple[Part, Part]:
    found = [arrays for path in sorted(folder.glob("*.npz")) if (arrays := _four(path))]
    if len(found) != 1:
        raise DataError(
            f"needed CIFAR-10 in {folder} as data_batch_1.bin and so on, as data_batch_1 and so "
            f"on, or as one .npz file with the arrays {', '.join(_ARRAYS)}; found no batches and "
            f"{len(found)} such .npz files: give --data-dir the folder that holds them"
        )
    x_train, y_train, x_test, y_test = found[0]
    return _channels_first(x_train, y_train), _channels_first(x_test, y_test)


def _four(path: Path) -> tuple[NDArray[np.uint8], ...] | None:
    """Return the four arrays of a file, or `None` when it holds something else."""
    try:
        with np.load(io.BytesIO(read_plain(path)), allow_pickle=False) as content:
            if not set(_ARRAYS) <= set(content.files):
                return None
            arrays = tuple(content[name] for name in _ARRAYS)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}): fetch it again") from error
    except Exception as error:  # a damaged archive raises whatever it likes
        words = f"{type(error).__name__}: {error!s:.150}"
        raise DataError(f"{path} cannot be read ({words}): fetch the file again") from error
    for name, array in zip(_ARRAYS, arrays, strict=True):
        axes = 4 if name.startswith("x") else 1
        if array.dtype.kind not in "ui" or array.ndim < axes:
            raise DataError(
                f"{path}: needed integers in {name}, got {array.dtype} in the shape "
                f"{array.shape}: images have four axes, labels one; check the file"
            )
    return arrays


def _channels_first(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Part:
    return np.moveaxis(images, -1, 1), labels.reshape(-1)


def _downloaded() -> tuple[Part, Part]:
    require("downloading CIFAR-10", "sklearn")
    from sklearn.datasets import get_data_home

    try:
        kept = Path(get_data_home()) / URL.rpartition("/")[2]
        content = read_plain(kept) if kept.is_file() else b""
    except OSError as error:
        raise DataError(
            f"what scikit-learn has downloaded cannot be read ({error}): give --data-dir a folder "
            "with the files of CIFAR-10, or set SCIKIT_LEARN_DATA"
        ) from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5:
        content = _fetched()
        write_atomically(kept, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        parts = {}
        for name in (*_BATCHES, "test_batch"):
            member = archive.extractfile(f"cifar-10-batches-bin/{name}.bin")
            parts[name] = _binary(member.read() if member else b"", kept / name)
    return _joined(parts[name] for name in _BATCHES), parts["test_batch"]


def _fetched() -> bytes:
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            content: bytes = answer.read()
    except (OSError, urllib.error.URLError) as error:
        raise DataError(
            f"CIFAR-10 could not be downloaded from {URL} ({error}): give --data-dir a folder "
            "with its files, or use --task digits"
        ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MD5:
        raise DataError(
            f"needed the archive with the MD5 sum {MD5} from {URL}, got {found}: try again later, "
            "or give --data-dir a folder with the files"
        )
    return content
