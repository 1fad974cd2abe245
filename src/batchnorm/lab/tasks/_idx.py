"""IDX files of the MNIST family, read strictly: a damaged file is an error."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchnorm._pages import read_plain, reason
from batchnorm.errors import DataError

_UNSIGNED_BYTE = 0x08


def find(folder: Path, name: str) -> Path:
    """Return the path of `name` or `name.gz` in `folder`.

    Args:
        folder: where to look.
        name: file name without ``.gz``.

    Returns:
        The plain file where both exist.

    Raises:
        DataError: neither exists.
    """
    for candidate in (folder / name, folder / f"{name}.gz"):
        if os.path.lexists(candidate):
            return candidate
    raise DataError(
        f"needed the file {name} or {name}.gz in {folder}, found neither: "
        "give --data-dir the folder that holds the four IDX files"
    )


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Args:
        path: the file; decompressed when its name ends in ``.gz``.
        dimensions: number of axes that the file must declare: 1 for labels, 3 for images.

    Returns:
        The array in the shape that the header declares.

    Raises:
        DataError: the file cannot be read, or is not exactly what its header says.
    """
    content = _content(path)
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise DataError(
            f"{path} is truncated: needed a header of {head} bytes, got {len(content)}: "
            "fetch the file again"
        )
    magic = struct.pack(">BBBB", 0, 0, _UNSIGNED_BYTE, dimensions)
    if content[:4] != magic:
        raise DataError(
            f"{path} has the wrong magic number: needed {magic.hex()} (unsigned bytes, "
            f"{dimensions} axes), got {content[:4].hex()}: check that it is the right IDX file"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    needed, came = math.prod(shape), len(content) - head
    if came != needed:
        word = "is truncated" if came < needed else "is too long"
        raise DataError(
            f"{path} {word}: its header declares {needed} values in the shape {shape}, "
            f"{came} follow: fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def read_pair(folder: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the images and labels of one part, such as ``train`` or ``t10k``.

    Args:
        folder: where the files lie.
        prefix: first word of both file names.

    Returns:
        Images ``(N, H, W)`` and labels ``(N,)``.

    Raises:
        DataError: a file is missing or damaged, or the two disagree in their count.
    """
    image_path = find(folder, f"{prefix}-images-idx3-ubyte")
    label_path = find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read(image_path, 3), read(label_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"needed one label for each image, got {len(images)} images in {image_path} and "
            f"{len(labels)} labels in {label_path}: the files are not of the same set"
        )
    return images, labels


def _content(path: Path) -> bytes:
    try:
        content = read_plain(path)
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}): fetch it again") from error
    except (EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} cannot be read ({error}): fetch the file again") from error
