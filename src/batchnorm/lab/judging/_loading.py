"""Loading of results from a run folder: whole trials, and a list of what is damaged or missing."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from batchnorm._pages import parse_json, read_plain, reason
from batchnorm.errors import BatchNormError, OptionError, RunError
from batchnorm.lab.design import Plan, Trial
from batchnorm.lab.judging._results import Results, Study, TrialResult
from batchnorm.lab.networks._user_model import UserModel
from batchnorm.lab.records import Damage
from batchnorm.lab.running import _configuration
from batchnorm.lab.running._store import Json, RunFolder, damaged

Find = Callable[[str], Study]
_MOST_TRIALS = 1_000_000
_LONGEST = 1e9  # seconds that a trial can have taken


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
    with judging(path):
        ended, unfinished = _trials(study, plan, folder, config, damage)
    if not ended:
        found = f" ({damage[0]})" if damage else ""
        raise RunError(
            f"{path} has no whole trial to report{found}: give the command of the run again to go "
            "on"
        )
    seconds = _seconds(path / "timings.jsonl", damage)
    return Results(study, plan, config, environment, ended, unfinished, tuple(damage), seconds)


def _understand(config: Json, path: Path, find: Find) -> tuple[Study, Plan]:
    file = path / "config.json"
    try:
        study = find(config["study"])
        if config.get("own") is not None:
            study = UserModel(**config["own"]).adapt(study)
        plan, usual = Plan.from_json(config), study.plan(config["task"], config["scale"])
    except (ValueError, KeyError, OptionError) as error:
        raise damaged(file, str(error)) from error
    if plan.grid.keys() != usual.grid.keys():
        raise damaged(file, f"the study {study.name} sweeps {', '.join(usual.grid) or 'nothing'}")
    trials = plan.seeds * len(study.arms) * math.prod(map(len, plan.grid.values()))
    if trials > _MOST_TRIALS:
        raise damaged(file, f"no run has {trials:,} trials")
    return study, plan


@contextmanager
def judging(path: Path) -> Iterator[None]:
    """Turn what fails on records of a run that no study writes into one line.

    Args:
        path: the run folder.

    Raises:
        RunError: something failed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of numbers too large to be added
            yield
    except BatchNormError:
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise RunError(
            f"{path} cannot be judged, its configuration and records do not fit each other "
            f"({type(error).__name__}: {words}): run the study again into another --out"
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
    for trial, history in folder.histories(study, plan):
        damage += [history.damage] if history.damage else []
        if history.end is not None:
            at = history.end["step"] if history.end["end"] == "diverged" else None
            ended.append(TrialResult(trial, history.evaluations, at, chance))
        elif history.damage is None:
            unfinished.append(trial)
    return tuple(ended), tuple(unfinished)


def _seconds(path: Path, damage: list[Damage]) -> float:
    total = 0.0
    try:
        lines = read_plain(path).splitlines()
    except FileNotFoundError:
        return total
    except OSError as error:
        damage.append(Damage(path.name, None, f"it cannot be read ({reason(error)})"))
        return total
    for number, line in enumerate(lines, start=1):
        try:
            seconds = parse_json(line)["seconds"]
            if not isinstance(seconds, int | float) or not 0 <= seconds <= _LONGEST:
                raise ValueError(seconds)  # noqa: TRY301 -- one way to say that it is none
            total += seconds
        except (ValueError, KeyError, TypeError):
            damage.append(Damage(path.name, number, "the line is not a timing"))
    return total
