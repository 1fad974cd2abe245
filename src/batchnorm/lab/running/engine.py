"""Engine that runs a study: settle the configuration, resume what is there, do what is missing."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from batchnorm._pages import cores
from batchnorm.errors import DataError, OptionError
from batchnorm.lab import tasks
from batchnorm.lab.design import Experiment, Job, Plan, Scale, Trial
from batchnorm.lab.networks.user_model import UserModel
from batchnorm.lab.records import Damage
from batchnorm.lab.running import configuration, workers
from batchnorm.lab.running.store import RunFolder


@dataclass(frozen=True)
class Options:
    """What the user asks for; everything but ``out`` and ``jobs`` decides the records.

    Args:
        out: The run folder.
        task: One of `tasks.TASKS`, or ``None`` for the study's first.
        data_dir: Folder with the task's files, or ``None``.
        scale: Which of the study's plans to take.
        seeds: Number of seeds instead of the plan's.
        steps: Steps of each trial instead of the plan's.
        changes: Values of settings instead of the plan's, several for one that is swept.
        own: The user's model and data instead of the study's; there is no ``task`` then.
        device: PyTorch's name of the device.
        jobs: Number of worker processes; ``None`` is one for each core, 1 is this process.
        checkpoint_seconds: Shortest time between two checkpoints of a trial.
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


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        done: Steps done, resumed ones included; a trial without steps counts as one.
        total: Steps in all.
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
        done: Trials that were done or resumed just now; 0 when the run was finished.
        redone: What was damaged and has been done again.
    """

    folder: RunFolder
    done: int
    redone: tuple[Damage, ...]


def run(
    study: Experiment, options: Options, tell: Tell, pool: workers.Pool | None = None
) -> Outcome:
    """Run a study, or go on with an interrupted run of it.

    Args:
        study: What to run.
        options: How.
        tell: Called as the work goes on.
        pool: Processes that serve several runs; ``None`` starts some for this run alone.

    Returns:
        What was done.

    Raises:
        OptionError: An option is out of its range.
        DataError: The task cannot be loaded.
        RunError: The folder holds another run, or a worker was killed.
    """
    if options.own is not None:
        study = options.own.adapt(study)
    plan = settle(study, options)
    jobs = cores() if options.jobs is None else options.jobs
    folder = RunFolder(options.out)
    existing = configuration.read(folder)
    task = _load(study, options)
    if options.own is not None and existing is None:
        options.own.check(study, task)
    config = configuration.of(
        study, task, plan, scale=options.scale, device=options.device, own=options.own
    )
    if existing is None:
        configuration.claim(folder, config)
    else:
        configuration.compare(folder, existing, config)
        folder.tidy()
    missing, redone = _missing(study, plan, folder)
    tracker = _Tracker(folder, study, plan, missing, tell)
    if missing:
        tracker.announce()
        prepare = partial(_prepare, study, options, plan, config["data"])
        _do(prepare, missing, min(jobs, len(missing)), tracker, pool)
    known = {str(damage) for damage in redone}
    redone += [damage for damage in tracker.damaged if str(damage) not in known]
    return Outcome(folder, len(missing), tuple(redone))


def _task(study: Experiment, options: Options) -> str:
    if options.own is None:
        return options.task or study.tasks[0]
    if options.task is not None or options.data_dir is not None:
        raise OptionError("--model and --data take the place of --task and --data-dir: give either")
    return tasks.OWN


def _load(study: Experiment, options: Options) -> tasks.Task:
    name = _task(study, options)
    return tasks.load(name, options.data_dir) if options.own is None else options.own.task()


def settle(study: Experiment, options: Options) -> Plan:
    """Check the options, and return how much of a study is done.

    Raises:
        OptionError: The study has no such plan, or an option is out of its range.
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


def _missing(study: Experiment, plan: Plan, folder: RunFolder) -> tuple[list[Trial], list[Damage]]:
    missing, damaged = [], []
    for trial in study.trials(plan):
        history = folder.history(study, plan, trial)
        if history.end is None or history.damage is not None:
            missing.append(trial)
        if history.damage is not None:
            damaged.append(history.damage)
    return missing, damaged


class _Tracker:
    """Follows the trials of a run, wherever they are done."""

    def __init__(
        self, folder: RunFolder, study: Experiment, plan: Plan, missing: list[Trial], tell: Tell
    ) -> None:
        self._folder, self._tell = folder, tell
        self._length = {t.id: max(plan.steps_of(t), 1) for t in study.trials(plan)}
        self._at = dict.fromkeys((trial.id for trial in missing), 0)
        self._ended = len(self._length) - len(missing)
        self._resumed = sum(n for name, n in self._length.items() if name not in self._at)
        self.damaged: list[Damage] = []

    def hear(self, event: Any) -> None:
        """Take the news of a step reached or of a trial ended."""
        if isinstance(event, workers.Done):
            seconds, damage = event.result
            self._folder.append_timing(event.job, seconds)
            self._at[event.job.id] = self._length[event.job.id]
            self._ended += 1
            self.damaged += [damage] if damage else []
        else:
            name, step = event
            self._at[name] = step
        self.announce()

    def announce(self) -> None:
        """Say how far the run is."""
        done, total = self._resumed + sum(self._at.values()), sum(self._length.values())
        self._tell(Progress(done, total, self._ended, len(self._length)))


def _do(
    prepare: Callable[[], workers.Work],
    missing: list[Trial],
    jobs: int,
    tracker: _Tracker,
    pool: workers.Pool | None,
) -> None:
    if jobs > 1:
        for event in (pool.run if pool else workers.run)(prepare, missing, jobs):
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


def _prepare(study: Experiment, options: Options, plan: Plan, digest: str) -> workers.Work:
    """Load what a worker needs and return the function that does one trial."""
    torch.set_num_threads(1)
    task = _load(study, options)
    if task.digest() != digest:
        raise DataError(
            f"{task.title} needs to give the same data in every process, and gave others here: "
            "seed what it draws, or let it not shuffle"
        )
    task = task.to(torch.device(options.device))
    folder = RunFolder(options.out)

    def do(trial: Trial, tell: workers.Tell) -> tuple[float, Damage | None]:
        start = time.perf_counter()
        work = study.work
        job = Job(
            study.arm(trial.arm),
            work.schedule(plan, trial),
            trial,
            task,
            folder.log(trial),
            options.checkpoint_seconds,
        )
        damage = work.run(job, lambda step: tell((trial.id, step)))
        return time.perf_counter() - start, damage

    return do
