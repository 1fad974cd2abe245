"""Run of every study, one after another, into the folder of a ledger."""

import shlex
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from batchnorm.errors import OptionError
from batchnorm.lab import tasks
from batchnorm.lab.judging._results import Study
from batchnorm.lab.ledger import _ledger
from batchnorm.lab.ledger._ledger import ALL, Ledger, Part
from batchnorm.lab.records import Damage
from batchnorm.lab.running import _engine, _workers
from batchnorm.lab.running._engine import Progress
from batchnorm.lab.running._options import Options, settle
from batchnorm.lab.studies import _registry

Tell = Callable[[float, float, str], None]
_DECIDING = ("scale", "task", "seeds", "steps", "device")


@dataclass(frozen=True)
class Ended:
    """A study has ended.

    Args:
        part: the study.
        ledger: all studies, this one included.
        redone: what was damaged and has been done again.
    """

    part: Part
    ledger: Ledger
    redone: tuple[Damage, ...]


def run(options: Options, tell: Tell) -> Iterator[Ended]:
    """Run every study, each into a folder of its own, or go on where that was interrupted.

    Args:
        options: how; `out` is the folder of the ledger.
        tell: called with the trials done, their total, and the title of the study that runs.

    Yields:
        Each study when it has ended.

    Raises:
        OptionError: an option is out of its range, or no study has a plan for it.
        DataError: a task cannot be loaded.
        RunError: the folder holds something else, or a worker was killed.
    """
    planned = plan(options, _registry.STUDIES.values())
    trials = [len(study.trials(settle(study, one))) for study, one in planned]
    for task, folder in {(one.task or "", one.data_dir) for _, one in planned}:
        tasks.load(task, folder)  # what is missing is told before anything is made
    asked = {name: getattr(options, name) for name in _DECIDING}
    found = _ledger.claim(options.out, _command(options), asked)
    with _workers.Pool() as pool:
        for at, (study, one) in enumerate(planned):
            outcome = _engine.run(study, one, _within(trials, at, study.title, tell), pool)
            part = _ledger.read(options.out, study)
            parts = (part if old.study is study else old for old in found.parts)
            found = replace(found, parts=tuple(parts))
            yield Ended(part, found, outcome.redone)


def plan(options: Options, studies: Collection[Study]) -> list[tuple[Study, Options]]:
    """Return which studies run, and how.

    A study without a plan for the task takes its first task. One that has no plan of the scale at
    all is left out. One whose trials take no number of steps leaves that out.

    Args:
        options: what is asked for.
        studies: all that there are.

    Raises:
        OptionError: an option is out of its range, or no study has a plan for it.
    """
    if options.changes or options.own is not None:
        raise OptionError(
            "all studies take no --set, --model or --data, because none of these fits them all: "
            "leave it out, or name one study"
        )
    if options.data_dir is not None and options.task is None:
        raise OptionError("--data-dir needs a --task that its files are of: give both, or neither")
    known = dict.fromkeys(
        task
        for study in studies
        for task, scale in study.plans
        if scale == options.scale and task != tasks.OWN
    )
    if options.task is not None and options.task not in known:
        raise OptionError(
            f"all studies at the scale {options.scale} need a task out of {', '.join(known)}, got "
            f"{options.task!r}: choose one, or leave it out"
        )
    return [
        (study, one)
        for study in studies
        for one in [_options(study, options)]
        if one is not None and settle(study, one)
    ]


def _options(study: Study, options: Options) -> Options | None:
    """Return the options for one study, or `None` when it has no plan of the scale."""
    fitting = (task for task in (options.task, *study.tasks) if task is not None)
    task = next((task for task in fitting if (task, options.scale) in study.plans), None)
    if task is None:
        return None
    takes_steps = study.plan(task, options.scale).steps is not None
    return replace(
        options,
        out=options.out / study.name,
        task=task,
        data_dir=options.data_dir if task == options.task else None,
        steps=options.steps if takes_steps else None,
    )


def _within(trials: list[int], at: int, title: str, tell: Tell) -> _engine.Tell:
    """Return what turns the progress of one study into that of all."""
    before, total = sum(trials[:at]), sum(trials)
    tell(before, total, title)

    def hear(step: Progress) -> None:
        tell(before + step.trials * step.done / step.total, total, title)

    return hear


def _command(options: Options) -> str:
    """Return the command that asks for these options."""
    words = ["batchnorm", "study", "run", ALL]
    if options.scale != "default":
        words += ["--quick"] if options.scale == "quick" else ["--scale", options.scale]
    for name in ("task", "data_dir", "seeds", "steps"):
        value = getattr(options, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    if options.device != "cpu":
        words += ["--device", options.device]
    return shlex.join([*words, "--out", str(options.out)])
