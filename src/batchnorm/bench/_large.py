"""Large tensors, beyond the cache, with outputs in memory that was touched before.

A kernel allocates its output. Above 32 MB glibc takes fresh pages from the system for each and
gives them back on release, so that the time of a call is mostly that of the system's zeroing
pages. Training loops meet this, and the other groups time it. Here the question is how near the
kernels come to the speed of a copy, so a process of its own runs in which glibc keeps what it was
given: after the first call the output comes from memory already there.
"""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict

import torch

from batchnorm.bench._cases import Case
from batchnorm.bench._cells import Cell
from batchnorm.bench._measurements import Measurement, Memory, Skip, tuples
from batchnorm.bench._settings import Settings
from batchnorm.errors import RunError

# No allocation by mmap, and nothing given back. An aligned allocation asks for a little more than
# it keeps; without caches of small blocks nothing settles in that rest, and the next one fits.
KEEPING = (
    "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
    ":glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
)
PROVIDERS = ("ours", "torch")


def missing() -> str | None:
    """Return why memory cannot be kept here, or `None`."""
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        return None
    return "keeping the memory of outputs needs glibc on Linux"


def environment() -> dict[str, str]:
    """Return the environment of a process whose allocator keeps released memory."""
    tunables = os.environ.get("GLIBC_TUNABLES")
    return {
        **os.environ,
        "GLIBC_TUNABLES": f"{tunables}:{KEEPING}" if tunables else KEEPING,
        "MALLOC_ARENA_MAX": "1",  # other arenas grow in heaps of 64 MB only
    }


def measure(
    case: Case, dtype: str, layout: str, settings: Settings
) -> tuple[Measurement | Memory | Skip, ...]:
    """Measure a case at the operator level in a process of its own.

    Args:
        case: what is timed.
        dtype: of the input.
        layout: memory format of the input.
        settings: directions, rounds, and length of a turn.

    Raises:
        RunError: the process failed.
    """
    request = {
        "case": asdict(case),
        "dtype": dtype,
        "layout": layout,
        "directions": settings.directions,
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "threads": torch.get_num_threads(),
        "peers": [name for name in PROVIDERS if name in ("ours", *settings.peers)],
    }
    done = subprocess.run(  # noqa: S603 -- our own module, by the interpreter that runs us
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise RunError(
            f"the process for tensors beyond the cache ended with code {done.returncode} ({last}): "
            "leave out --cases large if memory ran out"
        )
    return tuple(Measurement(**tuples(entry)) for entry in json.loads(done.stdout))


def serve(request: str) -> str:
    """Measure what a request asks for, in this process, and return the answer as JSON."""
    asked = json.loads(request)
    torch.set_num_threads(asked["threads"])
    case = Case(**tuples(asked["case"]))
    settings = Settings(
        directions=tuple(asked["directions"]),
        level="operator",
        rounds=asked["rounds"],
        seconds=asked["seconds"],
    )
    cell = Cell(case, asked["dtype"], asked["layout"], settings, tuple(asked["peers"]))
    return json.dumps([asdict(found) for found in cell.measure()])


def main() -> None:
    """Serve the request on stdin."""
    try:
        sys.stdout.write(serve(sys.stdin.read()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
