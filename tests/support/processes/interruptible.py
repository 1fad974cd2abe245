"""The command in a process that Ctrl-C reaches, however the tests themselves were started.

A program in the background of a shell ignores SIGINT, and so do the processes that it starts.
"""

import sys
from pathlib import Path

_PROGRAM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("batchnorm", run_name="__main__", alter_sys=True)
"""
COMMAND = (sys.executable, "-c", _PROGRAM)


def bench_that_tells(started: Path) -> tuple[str, ...]:
    """The command, which makes a file as soon as a benchmark measures."""
    tell = (
        "from pathlib import Path\n"
        "from batchnorm.bench._cells import Cell\n"
        "measure = Cell.measure\n"
        f"Cell.measure = lambda cell: Path({str(started)!r}).touch() or measure(cell)\n"
    )
    return sys.executable, "-c", tell + _PROGRAM


def command_of(*studies: str) -> tuple[str, ...]:
    """The command in a world that has only these studies, so that all of them are few."""
    trim = (
        "from batchnorm import lab\n"
        f"for name in lab.STUDIES.keys() - set({studies!r}): del lab.STUDIES[name]\n"
    )
    return sys.executable, "-c", trim + _PROGRAM
