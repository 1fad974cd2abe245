"""Noise of a machine: how long a benchmark waited for a core, and whether its figures compare."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batchnorm._pages import Facts
from batchnorm.bench._measurements import Benchmark
from batchnorm.bench._providers import OURS, PROVIDERS
from batchnorm.bench._ratios import HIGH, LOW, tables

WAITED, STOLEN = "waited_percent", "stolen_percent"
_MOST_WAITED, _MOST_STOLEN = 5, 5  # percent
_WIDEST = 1.5  # of the median case: the ninetieth percentile of its rounds over the tenth
_THREADS, _SYSTEM = Path("/proc/self/task"), Path("/proc/stat")
_USER_TO_STEAL = slice(1, 9)


@dataclass(frozen=True)
class Usage:
    """What the system counted so far.

    Args:
        ran: nanoseconds that the threads of this process ran.
        waited: nanoseconds that they were ready to run, and others did.
        ticks: ticks of all cores.
        stolen: ticks that another virtual machine had.
    """

    ran: int = 0
    waited: int = 0
    ticks: int = 0
    stolen: int = 0


def usage() -> Usage:
    """Return what the system has counted; zeros where it does not tell."""
    ran = waited = 0
    for thread in _THREADS.glob("*/schedstat"):
        try:
            here = [int(count) for count in thread.read_text().split()]
        except OSError:  # the thread has ended
            continue
        ran, waited = ran + here[0], waited + here[1]
    if not _SYSTEM.is_file():
        return Usage(ran, waited)
    counts = [int(count) for count in _SYSTEM.read_text().split("\n")[0].split()[_USER_TO_STEAL]]
    return Usage(ran, waited, sum(counts), counts[-1])


def since(before: Usage) -> Facts:
    """Return what share of the time since then went to others, in percent, where it is known."""
    now = usage()
    found: Facts = {}
    ran, waited = now.ran - before.ran, now.waited - before.waited
    if ran > 0 and waited >= 0:
        found[WAITED] = round(100 * waited / (ran + waited))
    if now.ticks > before.ticks:
        found[STOLEN] = round(100 * (now.stolen - before.stolen) / (now.ticks - before.ticks))
    return found


def headline(record: Benchmark) -> str:
    """Return in how many cases each peer is slower than ours, or that nothing can be compared."""
    wins = _wins(record)
    if not wins:
        return "Nothing was compared."
    why = reasons(record)
    if why:
        return (
            f"Busy machine: these figures are not a comparison ({'; '.join(why)}). Leave the "
            "machine alone and run it again."
        )
    return f"Ours is faster than {', than '.join(wins)} timed cases."


def _wins(record: Benchmark) -> list[str]:
    rows = [row for table in tables(record) for row in table.rows]
    ratios = {name: [r.ratios[name] for r in rows if name in r.ratios] for name in PROVIDERS}
    return [
        f"{name} in {sum(ratio > 1 for ratio in found)} of {len(found)}"
        for name, found in ratios.items()
        if found
    ]


def reasons(record: Benchmark) -> tuple[str, ...]:
    """Return why a machine was too busy to compare anything on it; empty where it was not.

    It was when more processes wanted to run at the start than there are cores, when the threads
    waited for a core or another virtual machine had it more than 5 % of the time, or when the
    times of the median case differ among its rounds by more than half.
    """
    found = record.machine
    load, cores = _known(found, "load"), _known(found, "cores")
    waited, stolen = _known(found, WAITED), _known(found, STOLEN)
    spread = _spread(record)
    words = []
    if load > cores > 0:
        words.append(f"{load:.3g} processes wanted its {cores:g} cores at the start")
    if waited > _MOST_WAITED and _known(found, "threads") <= cores:
        words.append(f"the threads waited {waited:g} % of the time for a core")
    if stolen > _MOST_STOLEN:
        words.append(f"other virtual machines had {stolen:g} % of its time")
    if spread > _WIDEST:
        words.append(f"times differ {spread:.1f}-fold among the rounds")
    return tuple(words)


def _known(facts: Facts, name: str) -> float:
    """Return a fact as a number, 0 where it is none."""
    try:
        return float(facts.get(name, 0))
    except (TypeError, ValueError):
        return 0.0


def _spread(record: Benchmark) -> float:
    """Return how far the rounds of ours lie apart, in the median case."""
    found = [
        float(np.percentile(times, HIGH) / np.percentile(times, LOW))
        for times in (one.seconds[OURS] for one in record.measurements)
        if min(times) > 0
    ]
    return float(np.median(found)) if found else 1.0
