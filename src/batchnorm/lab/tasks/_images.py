"""Image sets: checks of a part, and its conversion to tensors."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from batchnorm.errors import DataError

Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]
CLASSES = 10


def check(part: Part, shape: tuple[int, ...], where: str) -> None:
    """Check images and labels that were read.

    Args:
        part: the images ``(N, *shape)`` and their labels ``(N,)``.
        shape: what each image has to be.
        where: what to call the part.

    Raises:
        DataError: there are none, or something does not fit.
    """
    images, labels = part
    if images.ndim == 0 or len(images) == 0 or images.shape[1:] != shape:
        size = "x".join(map(str, shape))
        raise DataError(
            f"{where}: needed one or more images of {size} pixels, got the shape "
            f"{images.shape}: check the files"
        )
    if labels.shape != (len(images),):
        raise DataError(
            f"{where}: needed one label for each of {len(images)} images, got labels in the shape "
            f"{labels.shape}: check the files"
        )
    odd = labels[(labels < 0) | (labels >= CLASSES)]
    if len(odd):
        raise DataError(
            f"{where}: needed labels from 0 to {CLASSES - 1}, got {int(odd[0])}: check the files"
        )


def tensors(inputs: ArrayLike, labels: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs as float32, one row an example, and labels as int64."""
    array = np.array(inputs, np.float32)
    rows = torch.from_numpy(array.reshape(len(array), -1))
    return rows, torch.from_numpy(np.array(labels, np.int64))
