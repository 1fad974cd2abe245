"""Digits of 8x8 pixels, which come with scikit-learn."""

from pathlib import Path

from batchnorm._pages import require
from batchnorm.errors import OptionError
from batchnorm.lab.tasks._images import CLASSES, tensors
from batchnorm.lab.tasks._task import Task


def digits(data_dir: Path | None) -> Task:
    """Return the task.

    Raises:
        OptionError: a folder is given.
        MissingExtraError: scikit-learn is not installed.
    """
    if data_dir is not None:
        raise OptionError(
            f"the task digits comes with scikit-learn and reads no folder, got {data_dir}: "
            "leave --data-dir out, or choose --task mnist"
        )
    require("the task digits", "sklearn")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels / 16, labels, test_size=0.25, stratify=labels, random_state=0
    )
    return Task(
        "digits",
        "Digits (8x8 pixels, from scikit-learn)",
        "pixels divided by 16; one fixed split, stratified by class, a quarter for the test",
        CLASSES,
        (1, 8, 8),
        *tensors(train_x, train_y),
        *tensors(test_x, test_y),
    )
