"""Registry of the tasks, by name."""

from collections.abc import Callable
from pathlib import Path

from batchnorm.errors import OptionError
from batchnorm.lab.tasks._cifar import cifar10
from batchnorm.lab.tasks._digits import digits
from batchnorm.lab.tasks._mnist import fashion_mnist, mnist
from batchnorm.lab.tasks._synthetic import drawn, linear_regression
from batchnorm.lab.tasks._task import Task

TASKS: dict[str, Callable[[Path | None], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "linear-regression": linear_regression,
    "drawn": drawn,
}


OWN = "own"


def load(name: str, data_dir: Path | None = None) -> Task:
    """Load a built-in task.

    Args:
        name: one of `TASKS`.
        data_dir: folder with the files; `None` downloads them. ``digits`` comes with
            scikit-learn, and what is drawn comes from a seed: neither takes a folder.

    Returns:
        The task on the CPU.

    Raises:
        OptionError: the name is unknown, or a folder is given where none is read.
        DataError: the data are missing, damaged or cannot be downloaded.
    """
    if name == OWN:
        raise OptionError("the task own needs --model and --data, got neither: name yours")
    if name not in TASKS:
        raise OptionError(f"needed a task out of {', '.join(TASKS)}, got {name!r}: choose one")
    return TASKS[name](data_dir)
