"""Run of a benchmark: cell after cell, with the reasons for what was left out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from batchnorm import _pages, kernels
from batchnorm.bench import _large, _noise, _step
from batchnorm.bench._cases import Case
from batchnorm.bench._cells import Cell
from batchnorm.bench._measurements import Benchmark, Measurement, Memory, Skip, StepTimes
from batchnorm.bench._providers import PROVIDERS, repeatable
from batchnorm.bench._settings import Settings, names

Found = Measurement | Memory | StepTimes | Skip


@dataclass(frozen=True)
class Progress:
    """How far a benchmark is.

    Args:
        done: cells done.
        total: cells in all.
        label: the cell that is being measured.
    """

    done: int
    total: int
    label: str


def run(settings: Settings, tell: Callable[[Progress], None] = lambda _: None) -> Benchmark:
    """Run a benchmark.

    Args:
        settings: what to measure (see `settings.choose`).
        tell: called before each cell, and at the end.

    Returns:
        The times of every round, the memory, and the reason for all that was left out.

    Raises:
        RunError: the variants of the training step do not train alike, or a process failed.

    Example:
        >>> from batchnorm import bench
        >>> case = bench.Case("tiny", "8x4", (8, 4))
        >>> record = bench.run(bench.Settings((case,), peers=("torch",), rounds=1, seconds=0.0))
        >>> sorted(record.measurements[0].seconds)
        ['copy', 'ours', 'torch']
    """
    absent = [Skip(name, why) for name, why in settings.left_out.items()]
    peers = []
    for name in names(settings):
        why = PROVIDERS[name].absence(settings.level)
        if why is None:
            peers.append(name)
        else:
            absent.append(Skip(name, why))
    with _threads(settings.threads), repeatable():
        facts = {**_pages.facts(), "backend": _backend()}
        before = _noise.usage()
        found = [*absent, *_all(settings, tuple(peers), tell)]
        facts |= _noise.since(before)
    return Benchmark(
        facts,
        _plain(settings),
        tuple(f for f in found if isinstance(f, Measurement)),
        tuple(f for f in found if isinstance(f, Memory)),
        tuple(f for f in found if isinstance(f, StepTimes)),
        merged([f for f in found if isinstance(f, Skip)]),
    )


def _all(
    settings: Settings, peers: tuple[str, ...], tell: Callable[[Progress], None]
) -> Iterator[Found]:
    planned = cells(settings)
    layouts = settings.layouts if settings.network is not None else ()
    total = len(planned) + len(layouts)
    for done, (case, dtype, layout) in enumerate(planned):
        tell(Progress(done, total, f"{case.group} {case.name} {dtype} {layout}"))
        if case.group != "large":
            yield from Cell(case, dtype, layout, settings, peers).measure()
            continue
        why = _large.missing()
        if why is None:
            yield from _large.measure(case, dtype, layout, settings)
        else:
            yield Skip(case.group, why)
    for done, layout in enumerate(layouts, len(planned)):
        tell(Progress(done, total, f"training step {layout}"))
        if settings.network is not None:
            yield from _step.measure(
                settings.network,
                layout,
                settings.rounds,
                settings.seconds,
                compiled=settings.compile_step,
            )
    tell(Progress(total, total, "done"))


def cells(settings: Settings) -> list[tuple[Case, str, str]]:
    """Return every case with each dtype and memory format that it is measured in."""
    return [
        (case, dtype, layout)
        for case in settings.cases
        for dtype in settings.dtypes
        if dtype in case.dtypes
        for layout in settings.layouts
        if layout in case.layouts
    ]


def merged(skips: list[Skip]) -> tuple[Skip, ...]:
    """Return every reason once, with all places where it held.

    Example:
        >>> merged([Skip("a", "no", ("x",)), Skip("a", "no", ("y",))])
        (Skip(provider='a', reason='no', where=('x', 'y')),)
    """
    places: dict[tuple[str, str], list[str]] = {}
    for skip in skips:
        places.setdefault((skip.provider, skip.reason), []).extend(skip.where)
    return tuple(Skip(*key, tuple(dict.fromkeys(where))) for key, where in places.items())


def _plain(settings: Settings) -> dict[str, Any]:
    """Return the settings as a document holds them, the cases by name."""
    found = asdict(settings)
    found["cases"] = tuple(f"{case.group} {case.name}" for case in settings.cases)
    return found


def _backend() -> str:
    return str(getattr(kernels.current(torch.device("cpu")), "__name__", "")).rpartition("._")[2]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
