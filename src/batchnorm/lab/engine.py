"""Running a study: settle the configuration, resume what is there, train what is missing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors import OptionError
from . import configuration, registry, schedule, tasks, workers
from .records import Damage
from .store import RunFolder
from .study import Budget, Study, Trial
from .training import FIELDS, Settings, TrialRun


@dataclass(frozen=True)
class Options:
    """What the user asks for; everything but ``out`` and ``jobs`` decides the records.

    Args:
        out: The run folder.
        task: One of `tasks.TASKS`.
        data_dir: Folder with IDX files, or ``None``.
        quick: Whether to take the study's quick budget.
        seeds: Number of seeds instead of the budget's.
        steps: Steps of each trial instead of the budget's.
        device: PyTorch's name of the device.
        jobs: Number of worker processes; ``None`` is one for each core, 1 is this process.
        checkpoint_seconds: Shortest time between two checkpoints of a trial.
    """

    out: Path
    task: str = "digits"
    data_dir: Path | None = None
    quick: bool = False
    seeds: int | None = None
    steps: int | None = None
    device: str = "cpu"
    jobs: int | None = None
    checkpoint_seconds: float = 2.0


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        done: Steps of training done, resumed ones included.
        total: Steps of training in all.
        trials_done: Trials ended.
        trials: Trials in all.
    """

    done: int
    total: int
    trials_done: int
    trials: int


Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Outcome:
    """What `run` did.

    Args:
        folder: The run folder.
        trained: Trials that were trained or resumed just now; 0 when the run was finished.
        redone: What was damaged and has been done again.
    """

    folder: RunFolder
    trained: int
    redone: tuple[Damage, ...]


def run(study: Study, options: Options, tell: Tell) -> Outcome:
    """Run a study, or go on with an interrupted run of it.

    Args:
        study: What to run.
        options: How.
        tell: Called as the work goes on.

    Returns:
        What was done.

    Raises:
        OptionError: An option is out of its range.
        DataError: The task cannot be loaded.
        RunError: The folder holds another run, or a worker was killed.
    """
    budget = _budget(study, options)
    device = _device(options.device)
    jobs = configuration.cores() if options.jobs is None else options.jobs
    _at_least_one(jobs, "--jobs")
    folder = RunFolder(options.out)
    existing = folder.read_json("config.json")
    task = tasks.load(options.task, options.data_dir)
    config = configuration.of(study, task, budget, quick=options.quick, device=options.device)
    if existing is None:
        configuration.claim(folder, config)
    else:
        configuration.compare(folder, existing, config)
    missing, redone = _missing(study, budget, folder)
    tracker = _Tracker(folder, len(study.trials(budget)), missing, budget.steps, tell)
    if missing:
        tracker.announce()
        settings = Settings(str(device), options.checkpoint_seconds)
        prepare = partial(_prepare, study.name, options, budget, settings)
        _train(prepare, missing, min(jobs, len(missing)), tracker)
    known = {str(damage) for damage in redone}
    redone += [damage for damage in tracker.damaged if str(damage) not in known]
    return Outcome(folder, len(missing), tuple(redone))


def _budget(study: Study, options: Options) -> Budget:
    budget = study.budget(options.task, quick=options.quick)
    for value, name in ((options.seeds, "--seeds"), (options.steps, "--steps")):
        if value is not None:
            _at_least_one(value, name)
    return replace(budget, seeds=options.seeds or budget.seeds, steps=options.steps or budget.steps)


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise OptionError(f"{name} needs a number of at least 1, got {value}: give a larger one")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(
            f"--device needs a device that PyTorch can use here, got {name!r} ({reason}): "
            "leave it out to use the CPU"
        ) from error
    return device


def _missing(study: Study, budget: Budget, folder: RunFolder) -> tuple[list[Trial], list[Damage]]:
    steps = schedule.evaluation_steps(budget.steps)
    missing, damaged = [], []
    for trial in study.trials(budget):
        history = folder.log(trial).history(steps, FIELDS + study.probe().fields)
        if history.end is None or history.damage is not None:
            missing.append(trial)
        if history.damage is not None:
            damaged.append(history.damage)
    return missing, damaged


class _Tracker:
    """Follows the trials of a run, wherever they are trained."""

    def __init__(
        self, folder: RunFolder, trials: int, missing: list[Trial], steps: int, tell: Tell
    ) -> None:
        self._folder, self._trials, self._steps, self._tell = folder, trials, steps, tell
        self._at = dict.fromkeys((trial.id for trial in missing), 0)
        self._ended = trials - len(missing)
        self._resumed = self._ended * steps
        self.damaged: list[Damage] = []

    def hear(self, event: Any) -> None:
        """Take the news of a step reached or of a trial ended."""
        if isinstance(event, workers.Done):
            seconds, damage = event.result
            self._folder.append_timing(event.job, seconds)
            self._at[event.job.id] = self._steps
            self._ended += 1
            self.damaged += [damage] if damage else []
        else:
            name, step = event
            self._at[name] = step
        self.announce()

    def announce(self) -> None:
        """Say how far the run is."""
        done = self._resumed + sum(self._at.values())
        self._tell(Progress(done, self._trials * self._steps, self._ended, self._trials))


def _train(
    prepare: Callable[[], workers.Work], missing: list[Trial], jobs: int, tracker: _Tracker
) -> None:
    if jobs > 1:
        for event in workers.run(prepare, missing, jobs):
            tracker.hear(event)
        return
    with _one_thread():
        work = prepare()
        for trial in missing:
            tracker.hear(workers.Done(trial, work(trial, tracker.hear)))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(name: str, options: Options, budget: Budget, settings: Settings) -> workers.Work:
    """Load what a worker needs and return the function that runs one trial."""
    torch.set_num_threads(1)
    study = registry.get(name)
    task = tasks.load(options.task, options.data_dir).to(torch.device(settings.device))
    folder = RunFolder(options.out)

    def work(trial: Trial, tell: workers.Tell) -> tuple[float, Damage | None]:
        start = time.perf_counter()
        one = TrialRun(study, task, budget, trial, folder.log(trial))
        damage = one.run(settings, lambda step: tell((trial.id, step)))
        return time.perf_counter() - start, damage

    return work
