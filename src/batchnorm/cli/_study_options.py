"""Parsing of the options of ``batchnorm study run``."""

import math

from batchnorm.errors import OptionError
from batchnorm.lab import UserModel


def user_model_of(model: str | None, data: str | None) -> UserModel | None:
    """Return the user's model and data, or `None` where none are given.

    Raises:
        OptionError: only one of them is given.
    """
    if (model is None) != (data is None):
        missing = (
            "--data package.module:loader" if data is None else "--model package.module:factory"
        )
        raise OptionError(f"--model and --data need each other, got one of them: add {missing}")
    return None if model is None or data is None else UserModel(model, data)


def setting_of(text: str) -> tuple[str, tuple[float, ...]]:
    """Return the name and the values of a setting.

    Raises:
        OptionError: it is not written as in ``rate=0.1,1``.

    Example:
        >>> setting_of("rate=0.1,1")
        ('rate', (0.1, 1.0))
    """
    name, equals, listed = text.partition("=")
    try:
        values = tuple(float(value) for value in listed.split(","))
    except ValueError:
        values = ()
    if not (name and equals and values and all(map(math.isfinite, values))):
        raise OptionError(f"--set needs a name and numbers as in rate=0.1,1, got {text!r}")
    return name, values
