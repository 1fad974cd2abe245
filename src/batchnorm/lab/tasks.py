"""The built-in tasks: which data a network is trained and tested on, as tensors."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, MissingExtraError, OptionError
from . import idx

_MNIST_TRAIN, _MNIST_TEST, _SIDE = 60_000, 10_000, 28


@dataclass(frozen=True)
class Task:
    """A classification task, split once and for all.

    Args:
        name: What the command line calls it.
        title: What a reader calls it.
        preparation: How the pixels became inputs, in words.
        classes: Number of classes.
        train_x: Training inputs ``(N, features)``, float32.
        train_y: Training labels ``(N,)``, int64.
        test_x: Test inputs ``(M, features)``, float32.
        test_y: Test labels ``(M,)``, int64.
    """

    name: str
    title: str
    preparation: str
    classes: int
    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor

    @property
    def features(self) -> int:
        """Number of inputs of each example."""
        return self.train_x.shape[1]

    def describe(self) -> str:
        """Return one sentence for the reader of a report."""
        return (
            f"{self.title}: {len(self.train_x):,} training and {len(self.test_x):,} test images, "
            f"{self.features} inputs, {self.classes} classes; {self.preparation}"
        )

    def digest(self) -> str:
        """Return a fingerprint of the data, so that a resumed run can tell that they changed."""
        content = hashlib.sha256()
        for tensor in (self.train_x, self.train_y, self.test_x, self.test_y):
            content.update(tensor.cpu().numpy().tobytes())
        return content.hexdigest()[:16]

    def to(self, device: torch.device) -> "Task":
        """Return the task with its tensors on ``device``."""
        return Task(
            self.name,
            self.title,
            self.preparation,
            self.classes,
            *(t.to(device) for t in (self.train_x, self.train_y, self.test_x, self.test_y)),
        )


def load(name: str, data_dir: Path | None = None) -> Task:
    """Load a built-in task.

    Args:
        name: One of `TASKS`.
        data_dir: Folder with the four IDX files; ``None`` downloads through scikit-learn.
            ``digits`` comes with scikit-learn and takes no folder.

    Returns:
        The task on the CPU.

    Raises:
        OptionError: The name is unknown, or a folder is given for ``digits``.
        DataError: The data are missing, damaged or cannot be downloaded.
    """
    if name not in TASKS:
        raise OptionError(f"needed a task out of {', '.join(TASKS)}, got {name!r}: choose one")
    return TASKS[name](data_dir)


def binarize(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return 1 where a pixel is brighter than half of the scale, else 0."""
    return (pixels > 127).astype(np.float32)  # noqa: PLR2004  (0.5 of 255 lies between 127 and 128)


def _unit_interval(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _digits(data_dir: Path | None) -> Task:
    if data_dir is not None:
        raise OptionError(
            f"the task digits comes with scikit-learn and reads no folder, got {data_dir}: "
            "leave --data-dir out, or choose --task mnist"
        )
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise _sklearn_missing(error) from error
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels / 16, labels, test_size=0.25, stratify=labels, random_state=0
    )
    return Task(
        "digits",
        "Digits (8x8 pixels, from scikit-learn)",
        "pixels divided by 16; one fixed split, stratified by class, a quarter for the test",
        10,
        _inputs(train_x),
        _labels(train_y),
        _inputs(test_x),
        _labels(test_y),
    )


def _mnist(data_dir: Path | None) -> Task:
    words = "pixels binarized at one half, as in the paper's section 4.1 (a binary image as input)"
    return _mnist_family("mnist", "MNIST", words, "mnist_784", binarize, data_dir)


def _fashion_mnist(data_dir: Path | None) -> Task:
    words = "pixels divided by 255 and kept grey, because half of each garment lies in the greys"
    return _mnist_family(
        "fashion-mnist", "Fashion-MNIST", words, "Fashion-MNIST", _unit_interval, data_dir
    )


TASKS: dict[str, Callable[[Path | None], Task]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion-mnist": _fashion_mnist,
}


def _mnist_family(
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
        train, test = idx.read_pair(data_dir, "train"), idx.read_pair(data_dir, "t10k")
    parts: list[torch.Tensor] = []
    for (images, labels), part in ((train, "training"), (test, "test")):
        _check_part(images, labels, f"{title} {part} set")
        parts += [_inputs(prepare(images).reshape(len(images), -1)), _labels(labels)]
    return Task(name, title, preparation, 10, *parts)


def _check_part(images: NDArray[np.uint8], labels: NDArray[np.uint8], where: str) -> None:
    if len(images) == 0 or images.shape[1:] != (_SIDE, _SIDE):
        raise DataError(
            f"{where}: needed one or more images of {_SIDE}x{_SIDE} pixels, got the shape "
            f"{images.shape}: check the files"
        )
    if int(labels.max()) > 9:  # noqa: PLR2004  (ten classes, 0 to 9)
        raise DataError(
            f"{where}: needed labels from 0 to 9, got {int(labels.max())}: check the files"
        )


_Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _download(openml: str) -> tuple[_Part, _Part]:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise _sklearn_missing(error) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each retry; the failure itself is told below
            pixels, labels = fetch_openml(
                openml, version=1, return_X_y=True, as_frame=False, parser="liac-arff"
            )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{openml} could not be downloaded from openml.org ({reason}): "
            "give --data-dir a folder with the four IDX files, or use --task digits"
        ) from error
    images = np.asarray(pixels).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    classes = np.asarray(labels).astype(np.uint8)
    if len(images) != _MNIST_TRAIN + _MNIST_TEST:
        raise DataError(
            f"needed {_MNIST_TRAIN + _MNIST_TEST:,} images of {openml}, openml.org sent "
            f"{len(images):,}: give --data-dir a folder with the four IDX files"
        )
    return (images[:_MNIST_TRAIN], classes[:_MNIST_TRAIN]), (
        images[_MNIST_TRAIN:],
        classes[_MNIST_TRAIN:],
    )


def _inputs(values: ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _labels(values: ArrayLike) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.int64))


def _sklearn_missing(error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"the built-in tasks need scikit-learn ({error}): pip install 'batchnorm[lab]'"
    )
