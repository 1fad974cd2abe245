"""Cells: one case in one dtype and memory format, every direction, every provider, the memory."""

import functools
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from batchnorm.bench import _memory, _traffic
from batchnorm.bench._cases import Case
from batchnorm.bench._measurements import Measurement, Memory, Skip
from batchnorm.bench._providers import (
    COPY,
    PROVIDERS,
    Block,
    Inputs,
    Subject,
    Unsupported,
    copying,
    draw,
    reason,
)
from batchnorm.bench._settings import Settings
from batchnorm.bench._timing import Timed, interleaved

_T = TypeVar("_T")


class Cell:
    """Measures a case; what a provider refuses is noted, and the others go on.

    Args:
        case: what is timed.
        dtype: of the input.
        layout: memory format of the input.
        settings: directions, peers, level and rounds.
        peers: out of the settings' providers those that can be had.
    """

    def __init__(
        self, case: Case, dtype: str, layout: str, settings: Settings, peers: tuple[str, ...]
    ) -> None:
        self.case, self.dtype, self.layout, self.settings = case, dtype, layout, settings
        self.peers = peers
        self.skips: list[Skip] = []

    def measure(self) -> Iterator[Measurement | Memory | Skip]:
        """Yield what was measured, and what was left out."""
        inputs = draw(self.case, self.dtype, self.layout)
        for training in (True, False):
            wanted = [d for d in self.settings.directions if (d != "inference") == training]
            if wanted:
                with torch.set_grad_enabled(training and self.settings.level == "module"):
                    yield from self._mode(inputs, wanted, training)
        yield from self.skips

    def _mode(
        self, inputs: Inputs, directions: list[str], training: bool
    ) -> Iterator[Measurement | Memory]:
        subjects: dict[str, Subject] = {}
        for name in self.peers:
            build = PROVIDERS[name].levels[self.settings.level]
            made = functools.partial(build, self.case, inputs, training)
            subject = self._attempt(name, "training" if training else "inference", made)
            if subject is not None:
                subjects[name] = subject
        copy = copying(inputs.x)
        for direction in directions:
            yield self._time(inputs, subjects, copy, direction)
        if training:
            yield from self._memory(inputs, subjects)

    def _time(
        self, inputs: Inputs, subjects: dict[str, Subject], copy: Timed, direction: str
    ) -> Measurement:
        jobs: dict[str, Timed] = {}
        for name, subject in subjects.items():
            job = self._attempt(name, direction, functools.partial(_tried, subject, direction))
            if job is not None:
                jobs[name] = job
        seconds = interleaved({**jobs, COPY: copy}, self.settings.rounds, self.settings.seconds)
        size = inputs.tensor_bytes
        return Measurement(
            self.case.group,
            self.case.name,
            self.case.shape,
            self.settings.level,
            self.dtype,
            self.layout,
            direction,
            size,
            _traffic.minimal_bytes(self.case, direction, size),
            seconds,
        )

    def _memory(self, inputs: Inputs, subjects: dict[str, Subject]) -> Iterator[Memory]:
        peak: dict[str, int] = {}
        kept: dict[str, int] = {}
        for name, block in subjects.items():
            if not isinstance(block, Block):
                return
            both = self._attempt(
                name, "memory", functools.partial(_tried, block, "forward-backward")
            )
            if both is not None:
                peak[name] = _memory.peak(both)
                kept[name] = _memory.kept(block.job("forward"), block.parameters)
        yield Memory(
            self.case.group,
            self.case.name,
            self.dtype,
            self.layout,
            inputs.tensor_bytes,
            peak,
            kept,
        )

    def _attempt(self, name: str, what: str, make: Callable[[], _T]) -> _T | None:
        """Return what was made, or note why an optional provider refused."""
        try:
            return make()
        except Unsupported as error:
            if not PROVIDERS[name].optional:
                raise
            place = f"{self.case.group} {self.case.name} {self.dtype} {self.layout} {what}"
            self.skips.append(Skip(name, reason(error), (place,)))
            return None


def _tried(subject: Subject, direction: str) -> Timed:
    """Return the job after a first call, which may compile and may fail."""
    job = subject.job(direction)
    job()
    return job
