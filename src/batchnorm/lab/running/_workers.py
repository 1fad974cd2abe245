"""Pool of worker processes that never outlive the process that started them.

Workers are spawned, not forked, because a fork of a process that has used PyTorch's threads can
hang. Each waits for its parent's end in a thread of its own, so that even a parent killed without
warning leaves nothing behind.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Self

from batchnorm.errors import RunError

Tell = Callable[[Any], None]
Handler = Callable[[Any, Tell], Any]


@dataclass(frozen=True)
class Done:
    """A job has ended.

    Args:
        job: the job.
        result: what the work returned.
    """

    job: Any
    result: Any


@dataclass(frozen=True)
class _Prepare:
    prepare: Callable[[], Handler]


@dataclass(frozen=True)
class _Failed:
    error: BaseException


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Any = None


class Pool:
    """Worker processes that serve one run after another; start and end them with `with`."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def run(
        self, prepare: Callable[[], Handler], jobs: Iterable[Any], workers: int
    ) -> Iterator[Any]:
        """Do the jobs in worker processes, as `run` does; the processes stay for the next run."""
        queue = iter(jobs)
        busy: list[_Worker] = []
        try:
            for job in _first(queue, workers):
                if len(busy) == len(self._workers):
                    self._workers.append(_start())
                busy.append(self._workers[len(busy)])
                _send(busy[-1], _Prepare(prepare))
                _give(busy[-1], job)
            while any(worker.job is not None for worker in busy):
                yield from _collect(busy, queue)
        except BaseException:
            self.__exit__()  # what a worker was doing is nobody's any more
            raise


def run(prepare: Callable[[], Handler], jobs: Iterable[Any], workers: int) -> Iterator[Any]:
    """Do the jobs in worker processes.

    Args:
        prepare: called once in each worker; returns the function that does one job. It must be
            picklable, as must the jobs and everything that is reported or returned.
        jobs: what to do, in the order in which to start.
        workers: number of processes.

    Yields:
        Whatever the work told, and a `Done` for each job, in the order of arrival.

    Raises:
        RunError: a worker was killed.
        BaseException: the error of a job, which ends the others.
    """
    with Pool() as pool:
        yield from pool.run(prepare, jobs, workers)


def _first(queue: Iterator[Any], count: int) -> Iterator[Any]:
    for _, job in zip(range(count), queue, strict=False):
        yield job


def _collect(pool: list[_Worker], queue: Iterator[Any]) -> Iterator[Any]:
    busy = {worker.pipe: worker for worker in pool if worker.job is not None}
    for pipe in wait(list(busy)):
        worker = busy[pipe]  # type: ignore[index]  # only connections were waited for
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            raise _lost(worker) from None
        if isinstance(message, _Failed):
            raise message.error
        if isinstance(message, Done):
            _give(worker, next(queue, None))
        yield message


def _give(worker: _Worker, job: Any) -> None:
    worker.job = job
    if job is not None:
        _send(worker, job)


def _send(worker: _Worker, message: Any) -> None:
    try:
        worker.pipe.send(message)
    except OSError:
        raise _lost(worker) from None


def _lost(worker: _Worker) -> RunError:
    worker.process.join()
    during = "between two jobs" if worker.job is None else f"during {worker.job}"
    return RunError(
        f"a worker process ended with code {worker.process.exitcode} {during}: "
        "give the same command again to go on; use fewer --jobs if memory ran out"
    )


def _start() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    with _interrupts_held():
        process.start()
    theirs.close()  # so that the end of the worker is the end of the pipe
    return _Worker(process, ours)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block Ctrl-C, and let a child inherit that: the parent alone answers it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work: Handler | None = None
    try:
        while True:
            message = pipe.recv()
            if isinstance(message, _Prepare):
                work = message.prepare()
            elif work is not None:
                pipe.send(Done(message, work(message, pipe.send)))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # noqa: BLE001  (it is raised again in the parent)
        pipe.send(_Failed(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
