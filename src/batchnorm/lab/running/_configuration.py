"""Configuration of a run: what decides its records, and whether a folder holds that run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from batchnorm._pages import environment, own_version
from batchnorm.errors import RunError
from batchnorm.lab.design import Experiment, Plan, Scale
from batchnorm.lab.networks._user_model import UserModel
from batchnorm.lab.running._store import Json, RunFolder, damaged
from batchnorm.lab.tasks import OWN, Task

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
    if content is None:
        return None
    found = content.get("format", 1)
    if type(found) is int and found != FORMAT:
        raise RunError(
            f"{folder.path} holds a run in format {_short(found)}, this version of "
            f"batchnorm reads format {FORMAT}: run the study again into another --out, or use the "
            "version that wrote it"
        )
    wrong = next((key for key, fits in _KEYS.items() if not fits(content.get(key))), None)
    if wrong is not None:
        why = (
            f"{wrong} cannot be {content[wrong]!r:.60}"
            if wrong in content
            else f"it has no {wrong}"
        )
        raise damaged(folder.path / _NAME, why)
    if (content.get("own") is None) == (content["task"] == OWN):
        raise damaged(
            folder.path / _NAME, f"the task {OWN} and the user's own model need each other"
        )
    return content


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_share(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 < value <= 1)


def _is_texts(value: Any, names: tuple[str, ...] = ()) -> bool:
    return (
        isinstance(value, dict)
        and all(map(_is_text, value.values()))
        and (not names or tuple(sorted(value)) == names)
    )


_KEYS: Mapping[str, Callable[[Any], bool]] = {
    "format": lambda value: type(value) is int,
    **dict.fromkeys(("study", "task", "description", "data", "scale", "device"), _is_text),
    "chance": _is_share,
    "own": lambda value: value is None or _is_texts(value, ("data", "model")),
    "made_with": _is_texts,
}


def claim(folder: RunFolder, config: Json) -> None:
    """Make a new run folder.

    Raises:
        RunError: something else lies there, or it cannot be written.
    """
    if folder.path.exists() and not _is_unused(folder):
        raise RunError(
            f"{folder.path} exists and is not a run folder (it has no {_NAME}): "
            "give --out a new or empty folder"
        )
    folder.create()
    folder.write_json("environment.json", environment())
    folder.write_json(_NAME, config)


def _is_unused(folder: RunFolder) -> bool:
    """Return whether a folder holds nothing but what `claim` leaves where it is interrupted."""
    try:
        names = {path.name for path in folder.path.iterdir()}
        return names <= {"environment.json", "trials"} and (
            "trials" not in names or not any(folder.trials.iterdir())
        )
    except OSError:  # it is no folder, or cannot be read
        return False


def compare(folder: RunFolder, existing: Json, config: Json) -> None:
    """Check that a folder holds the run that was asked for.

    Raises:
        RunError: it holds another; the message names the first difference.
    """
    for key in sorted(existing.keys() | config.keys()):
        if existing.get(key) != config.get(key):
            raise RunError(
                f"{folder.path} holds a run with {key} = {_short(existing.get(key))}, this command "
                f"has {key} = {_short(config.get(key))}: give the same settings to resume it, or "
                "another --out"
            )


def _short(value: Any) -> str:
    return f"{value!s:.200}"
