"""What decides the records of a run, and whether a folder holds the run that was asked for."""

import os
import platform
from dataclasses import asdict

import numpy as np
import torch

from .. import __version__
from ..errors import RunError
from .store import Json, RunFolder
from .study import Budget, Study
from .tasks import Task


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def of(study: Study, task: Task, budget: Budget, *, quick: bool, device: str) -> Json:
    """Return everything that decides the records of a run."""
    return {
        "study": study.name,
        "task": task.name,
        "description": task.describe(),
        "data": task.digest(),
        "quick": quick,
        "device": device,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(budget).items()},
        "made_with": {"batchnorm": __version__, "torch": str(torch.__version__)},
    }


def claim(folder: RunFolder, config: Json) -> None:
    """Make a new run folder.

    Raises:
        RunError: Something else lies there, or it cannot be written.
    """
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise RunError(
            f"{folder.path} exists and is not a run folder (it has no config.json): "
            "give --out a new or empty folder"
        )
    folder.create()
    folder.write_json("environment.json", environment())
    folder.write_json("config.json", config)


def environment() -> Json:
    """Return what a reader needs to know about the machine."""
    return {
        "batchnorm": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def compare(folder: RunFolder, existing: Json, config: Json) -> None:
    """Check that a folder holds the run that was asked for.

    Raises:
        RunError: It holds another; the message names the first difference.
    """
    for key in sorted(existing.keys() | config.keys()):
        if existing.get(key) != config.get(key):
            raise RunError(
                f"{folder.path} holds a run with {key} = {existing.get(key)}, this command has "
                f"{key} = {config.get(key)}: give the same settings to resume it, or another --out"
            )
