"""Synthetic tasks: a linear map to be found again, and no data at all."""

from pathlib import Path

import torch

from batchnorm.errors import OptionError
from batchnorm.lab.tasks._task import Task

_COUNT, _WIDTH, _NOISE, _SEED = 1_000, 10, 0.1, 0


def linear_regression(data_dir: Path | None) -> Task:
    """Return values that are a linear map of Gaussian inputs, with a little noise.

    Raises:
        OptionError: a folder is given.

    References:
        Santurkar et al. (2018), "How Does Batch Normalization Help Optimization?": 1,000 samples
        for a deep linear network of 10x10 layers.
    """
    _no_folder("linear-regression", data_dir)
    generator = torch.Generator().manual_seed(_SEED)
    matrix = torch.randn(_WIDTH, _WIDTH, generator=generator) / _WIDTH**0.5
    parts: list[torch.Tensor] = []
    for _ in ("training", "test"):
        x = torch.randn(_COUNT, _WIDTH, generator=generator)
        noise = torch.randn(_COUNT, _WIDTH, generator=generator)
        parts += [x, x @ matrix + _NOISE * noise]
    return Task(
        "linear-regression",
        "Linear regression (synthetic)",
        "inputs from N(0, 1); the values are a fixed random linear map of them plus noise of "
        f"standard deviation {_NOISE:g}",
        _WIDTH,
        (_WIDTH,),
        *parts,
    )


def drawn(data_dir: Path | None) -> Task:
    """Return the task of studies that draw what they need from the seed of each trial.

    Raises:
        OptionError: a folder is given.
    """
    _no_folder("drawn", data_dir)
    empty = torch.empty(0, 1)
    return Task(
        "drawn",
        "Random numbers",
        "no data set is read; each instance is drawn from its seed",
        1,
        (1,),
        *([empty] * 4),
    )


def _no_folder(name: str, data_dir: Path | None) -> None:
    if data_dir is not None:
        raise OptionError(
            f"the task {name} is drawn from a seed and reads no folder, got {data_dir}: "
            "leave --data-dir out"
        )
