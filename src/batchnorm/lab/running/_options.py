"""Options of a run: what the user asks for, checked against the plans of the study."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from batchnorm.errors import OptionError
from batchnorm.lab import tasks
from batchnorm.lab.design import Experiment, Plan, Scale
from batchnorm.lab.networks._user_model import UserModel


@dataclass(frozen=True)
class Options:
    """What the user asks for; everything but `out` and `jobs` decides the records.

    Args:
        out: the run folder.
        task: one of `tasks.TASKS`, or `None` for the study's first.
        data_dir: folder with the task's files, or `None`.
        scale: which of the study's plans to take.
        seeds: number of seeds instead of the plan's.
        steps: steps of each trial instead of the plan's.
        changes: values of settings instead of the plan's, several for one that is swept.
        own: the user's model and data instead of the study's; there is no `task` then.
        device: PyTorch's name of the device.
        jobs: number of worker processes; `None` is one for each core, 1 is this process.
        checkpoint_seconds: shortest time between two checkpoints of a trial.
    """

    out: Path
    task: str | None = None
    data_dir: Path | None = None
    scale: Scale = "default"
    seeds: int | None = None
    steps: int | None = None
    changes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    own: UserModel | None = None
    device: str = "cpu"
    jobs: int | None = None
    checkpoint_seconds: float = 2.0


def default_folder(
    study: Experiment | None, task: str | None, scale: Scale, own: UserModel | None
) -> Path:
    """Return the run folder where none is given, such as ``runs/convergence-digits-quick``.

    Args:
        study: what to run, or `None` for all studies.
        task: the task that was asked for.
        scale: the scale.
        own: the user's model and data.

    Example:
        >>> default_folder(None, "mnist", "quick", None).as_posix()
        'runs/all-mnist-quick'
    """
    if own is not None:
        task = tasks.OWN
    elif study is not None:
        task = task or study.tasks[0]
    parts = ("all" if study is None else study.name, task, None if scale == "default" else scale)
    return Path("runs") / "-".join(part for part in parts if part)


def settle(study: Experiment, options: Options) -> Plan:
    """Check the options, and return how much of a study is done.

    Raises:
        OptionError: the study has no such plan, or an option is out of its range.
    """
    plan = study.plan(_task(study, options), options.scale)
    counts = {"--seeds": options.seeds, "--steps": options.steps, "--jobs": options.jobs}
    for name, value in counts.items():
        if value is not None:
            _at_least_one(value, name)
    _check_device(options.device)
    if options.steps is not None and plan.steps is None:
        raise OptionError(
            f"--steps needs a study whose trials take a number of steps, {study.name} has none: "
            "leave it out"
        )
    plan = plan.changed(options.changes)
    return replace(plan, seeds=options.seeds or plan.seeds, steps=options.steps or plan.steps)


def _task(study: Experiment, options: Options) -> str:
    if options.own is None:
        return options.task or study.tasks[0]
    if options.task is not None or options.data_dir is not None:
        raise OptionError("--model and --data take the place of --task and --data-dir: give either")
    return tasks.OWN


def load_task(study: Experiment, options: Options) -> tasks.Task:
    """Load the task that is asked for, or the user's own data."""
    name = _task(study, options)
    return tasks.load(name, options.data_dir) if options.own is None else options.own.task()


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise OptionError(f"{name} needs a number of at least 1, got {value}: give a larger one")


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"--device needs a device that PyTorch can use here, got {name!r} ({reason}): "
            "leave it out to use the CPU"
        ) from error
