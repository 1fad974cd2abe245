"""Loading of results from a run folder: whole trials, and a list of what is damaged or missing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

from batchnorm.errors import RunError
from batchnorm.lab.design import Plan, Trial
from batchnorm.lab.judging._results import Results, Study, TrialResult
from batchnorm.lab.networks._user_model import UserModel
from batchnorm.lab.records import Damage
from batchnorm.lab.running import _configuration
from batchnorm.lab.running._store import Json, RunFolder

Find = Callable[[str], Study]


def load(path: Path, find: Find) -> Results:
    """Read a run folder.

    Args:
        path: the folder.
        find: returns the study of a name.

    Returns:
        What it holds, damage listed and left out.

    Raises:
        RunError: it is no run folder, its configuration is damaged, or no trial has ended.
    """
    folder = RunFolder(path)
    config = _configuration.read(folder)
    if config is None:
        raise RunError(
            f"{path} is not a run folder: needed a config.json in it, found none: "
            "give the folder that `batchnorm study run` wrote"
        )
    study, plan = _understand(config, path, find)
    damage: list[Damage] = []
    environment, problem = _environment(folder)
    damage += problem
    ended, unfinished = _trials(study, plan, folder, config, damage)
    if not ended:
        raise RunError(
            f"{path} has no whole trial to report: give the command of the run again to go on"
        )
    seconds = _seconds(path / "timings.jsonl", damage)
    return Results(study, plan, config, environment, ended, unfinished, tuple(damage), seconds)


def _understand(config: Json, path: Path, find: Find) -> tuple[Study, Plan]:
    try:
        study = find(config["study"])
        if "own" in config:
            study = UserModel(**config["own"]).adapt(study)
        return study, Plan.from_json(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path / 'config.json'} is damaged: it has no usable {error}: run the study again "
            "into another --out"
        ) from error


def _environment(folder: RunFolder) -> tuple[Json, list[Damage]]:
    try:
        content = folder.read_json("environment.json")
    except RunError as error:
        return {}, [Damage("environment.json", None, str(error))]
    if content is None:
        return {}, [Damage("environment.json", None, "the file is missing")]
    return content, []


def _trials(
    study: Study, plan: Plan, folder: RunFolder, config: Json, damage: list[Damage]
) -> tuple[tuple[TrialResult, ...], tuple[Trial, ...]]:
    chance = math.nan if config["chance"] is None else float(config["chance"])
    ended: list[TrialResult] = []
    unfinished: list[Trial] = []
    for trial in study.trials(plan):
        history = folder.history(study, plan, trial)
        damage += [history.damage] if history.damage else []
        if history.end is not None:
            at = history.end["step"] if history.end["end"] == "diverged" else None
            ended.append(TrialResult(trial, history.evaluations, at, chance))
        elif history.damage is None:
            unfinished.append(trial)
    return tuple(ended), tuple(unfinished)


def _seconds(path: Path, damage: list[Damage]) -> float:
    total = 0.0
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            total += float(json.loads(line)["seconds"])
        except (ValueError, KeyError, TypeError):
            damage.append(Damage(path.name, number, "the line is not a timing"))
    return total
