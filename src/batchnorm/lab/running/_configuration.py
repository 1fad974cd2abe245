"""Configuration of a run: what decides its records, and whether a folder holds that run."""

import json
from dataclasses import asdict

import torch

from batchnorm._pages import environment, own_version
from batchnorm.errors import RunError
from batchnorm.lab.design import Experiment, Plan, Scale
from batchnorm.lab.networks._user_model import UserModel
from batchnorm.lab.running._store import Json, RunFolder
from batchnorm.lab.tasks import Task

FORMAT = 2
_NAME = "config.json"


def of(
    study: Experiment,
    task: Task,
    plan: Plan,
    *,
    scale: Scale,
    device: str,
    own: UserModel | None = None,
) -> Json:
    """Return everything that decides the records of a run, as JSON holds it."""
    content: Json = {
        "format": FORMAT,
        "study": study.name,
        "task": task.name,
        "description": task.describe(),
        "data": task.digest(),
        "chance": task.chance,
        "scale": scale,
        "device": device,
        **plan.to_json(),
        **({} if own is None else {"own": asdict(own)}),
        "made_with": {"batchnorm": own_version(), "torch": str(torch.__version__)},
    }
    understood: Json = json.loads(json.dumps(content))
    return understood


def read(folder: RunFolder) -> Json | None:
    """Return the configuration of a run folder, or `None` when it has none.

    Raises:
        RunError: it is damaged, or of another format.
    """
    content = folder.read_json(_NAME)
    if content is not None and content.get("format") != FORMAT:
        raise RunError(
            f"{folder.path} holds a run in format {content.get('format', 1)}, this version of "
            f"batchnorm reads format {FORMAT}: run the study again into another --out, or use the "
            "version that wrote it"
        )
    return content


def claim(folder: RunFolder, config: Json) -> None:
    """Make a new run folder.

    Raises:
        RunError: something else lies there, or it cannot be written.
    """
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        raise RunError(
            f"{folder.path} exists and is not a run folder (it has no {_NAME}): "
            "give --out a new or empty folder"
        )
    folder.create()
    folder.write_json("environment.json", environment())
    folder.write_json(_NAME, config)


def compare(folder: RunFolder, existing: Json, config: Json) -> None:
    """Check that a folder holds the run that was asked for.

    Raises:
        RunError: it holds another; the message names the first difference.
    """
    for key in sorted(existing.keys() | config.keys()):
        if existing.get(key) != config.get(key):
            raise RunError(
                f"{folder.path} holds a run with {key} = {existing.get(key)}, this command has "
                f"{key} = {config.get(key)}: give the same settings to resume it, or another --out"
            )
