"""The command in a process that Ctrl-C reaches, however the tests themselves were started.

A program in the background of a shell ignores SIGINT, and so do the processes that it starts.
"""

import sys

_PROGRAM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("batchnorm", run_name="__main__", alter_sys=True)
"""
COMMAND = (sys.executable, "-c", _PROGRAM)


def command_of(*studies: str) -> tuple[str, ...]:
    """The command in a world that has only these studies, so that all of them are few."""
    trim = (
        "from batchnorm import lab\n"
        f"for name in lab.STUDIES.keys() - set({studies!r}): del lab.STUDIES[name]\n"
    )
    return sys.executable, "-c", trim + _PROGRAM
