"""MNIST and Fashion-MNIST: from IDX files in a folder, or downloaded through scikit-learn."""

import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batchnorm._pages import require
from batchnorm.errors import DataError
from batchnorm.lab.tasks import _idx
from batchnorm.lab.tasks._images import CLASSES, Part, check, tensors
from batchnorm.lab.tasks._task import Task

_TRAIN, _TEST, _SIDE = 60_000, 10_000, 28


def mnist(data_dir: Path | None) -> Task:
    """Return MNIST, its pixels binarized.

    Raises:
        DataError: the data are missing, damaged or cannot be downloaded.
    """
    words = "pixels binarized at one half, as in the paper's section 4.1 (a binary image as input)"
    return _family("mnist", "MNIST", words, "mnist_784", binarize, data_dir)


def fashion_mnist(data_dir: Path | None) -> Task:
    """Return Fashion-MNIST, its pixels grey.

    Raises:
        DataError: the data are missing, damaged or cannot be downloaded.
    """
    words = "pixels divided by 255 and kept grey, because half of each garment lies in the greys"
    return _family(
        "fashion-mnist", "Fashion-MNIST", words, "Fashion-MNIST", _unit_interval, data_dir
    )


def binarize(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 1 where a pixel is brighter than half of the scale, else 0."""
    return (pixels > 127).astype(np.float32)  # noqa: PLR2004  (0.5 of 255 lies between 127 and 128)


def _unit_interval(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _family(
    name: str,
    title: str,
    preparation: str,
    openml: str,
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    data_dir: Path | None,
) -> Task:
    if data_dir is None:
        train, test = _download(openml)
    else:
        train, test = _idx.read_pair(data_dir, "train"), _idx.read_pair(data_dir, "t10k")
    for part, words in ((train, "training"), (test, "test")):
        check(part, (_SIDE, _SIDE), f"{title} {words} set")
    parts = (tensors(prepare(images), labels) for images, labels in (train, test))
    return Task(name, title, preparation, CLASSES, (1, _SIDE, _SIDE), *chain.from_iterable(parts))


def _download(openml: str) -> tuple[Part, Part]:
    require(f"downloading {openml}", "sklearn")
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each retry; the failure itself is told below
            pixels, labels = fetch_openml(
                openml, version=1, return_X_y=True, as_frame=False, parser="liac-arff"
            )
    except Exception as error:  # so does a damaged file that was downloaded before
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{openml} could not be downloaded from openml.org ({reason}): "
            "give --data-dir a folder with the four IDX files, or use --task digits"
        ) from error
    images = np.asarray(pixels).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    classes = np.asarray(labels).astype(np.uint8)
    if len(images) != _TRAIN + _TEST:
        raise DataError(
            f"needed {_TRAIN + _TEST:,} images of {openml}, openml.org sent "
            f"{len(images):,}: give --data-dir a folder with the four IDX files"
        )
    return (images[:_TRAIN], classes[:_TRAIN]), (images[_TRAIN:], classes[_TRAIN:])
