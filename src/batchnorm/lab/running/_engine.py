"""Engine that runs a study: settle the configuration, resume what is there, do what is missing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from batchnorm._pages import cores
from batchnorm.errors import DataError
from batchnorm.lab.design import Experiment, Job, Plan, Trial
from batchnorm.lab.records import Damage
from batchnorm.lab.running import _configuration, _workers
from batchnorm.lab.running._options import Options, load_task, settle
from batchnorm.lab.running._store import RunFolder


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        done: steps done, resumed ones included; a trial without steps counts as one.
        total: steps in all.
        trials_done: trials ended.
        trials: trials in all.
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
        folder: the run folder.
        done: trials that were done or resumed just now; 0 when the run was finished.
        redone: what was damaged and has been done again.
    """

    folder: RunFolder
    done: int
    redone: tuple[Damage, ...]


def run(
    study: Experiment, options: Options, tell: Tell, pool: _workers.Pool | None = None
) -> Outcome:
    """Run a study, or go on with an interrupted run of it.

    Args:
        study: what to run.
        options: how.
        tell: called as the work goes on.
        pool: processes that serve several runs; `None` starts some for this run alone.

    Returns:
        What was done.

    Raises:
        OptionError: an option is out of its range.
        DataError: the task cannot be loaded.
        RunError: the folder holds another run, or a worker was killed.
    """
    if options.own is not None:
        study = options.own.adapt(study)
    plan = settle(study, options)
    jobs = cores() if options.jobs is None else options.jobs
    folder = RunFolder(options.out)
    existing = _configuration.read(folder)
    task = load_task(study, options)
    if options.own is not None and existing is None:
        options.own.check(study, task)
    config = _configuration.of(
        study, task, plan, scale=options.scale, device=options.device, own=options.own
    )
    if existing is None:
        _configuration.claim(folder, config)
    else:
        _configuration.compare(folder, existing, config)
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


def _missing(study: Experiment, plan: Plan, folder: RunFolder) -> tuple[list[Trial], list[Damage]]:
    missing, damaged = [], []
    for trial, history in folder.histories(study, plan):
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
        if isinstance(event, _workers.Done):
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
        """Report how far the run is."""
        done, total = self._resumed + sum(self._at.values()), sum(self._length.values())
        self._tell(Progress(done, total, self._ended, len(self._length)))


def _do(
    prepare: Callable[[], _workers.Handler],
    missing: list[Trial],
    jobs: int,
    tracker: _Tracker,
    pool: _workers.Pool | None,
) -> None:
    if jobs > 1:
        for event in (pool.run if pool else _workers.run)(prepare, missing, jobs):
            tracker.hear(event)
        return
    with _one_thread():
        work = prepare()
        for trial in missing:
            tracker.hear(_workers.Done(trial, work(trial, tracker.hear)))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _prepare(study: Experiment, options: Options, plan: Plan, digest: str) -> _workers.Handler:
    """Load what a worker needs and return the function that does one trial."""
    torch.set_num_threads(1)
    task = load_task(study, options)
    if task.digest() != digest:
        raise DataError(
            f"{task.title} needs to give the same data in every process, and gave others here: "
            "seed what it draws, or let it not shuffle"
        )
    task = task.to(torch.device(options.device))
    folder = RunFolder(options.out)

    def do(trial: Trial, tell: _workers.Tell) -> tuple[float, Damage | None]:
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
