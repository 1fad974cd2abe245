"""Application of the command line: its commands, its exit codes, errors as one line."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from batchnorm._pages import own_version, reason
from batchnorm.cli import _bench, _convert, _fold, _insert, _recalibrate, _report, _study
from batchnorm.cli._plain import one_line
from batchnorm.errors import BatchNormError

BAD_INPUT, INTERRUPTED = 2, 130
# Click's base of every usage error, wherever this version of Typer keeps Click.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="batchnorm",
    help="Batch normalization for PyTorch: put it in, take it out, measure what it does.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(_study.app, name="study")
app.command("report")(_report.report)
app.command("bench")(_bench.bench)
app.command("convert")(_convert.convert)
app.command("insert")(_insert.insert)
app.command("fold")(_fold.fold)
app.command("recalibrate")(_recalibrate.recalibrate)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    if version:
        typer.echo(f"batchnorm {own_version()}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the arguments after ``batchnorm``.

    Returns:
        The exit code: 0, 2 for bad input, 130 for Ctrl-C.
    """
    try:
        code = int(app(list(arguments), prog_name="batchnorm", standalone_mode=False) or 0)
        sys.stdout.flush()  # or the interpreter finds out at its end that there is no room
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BatchNormError, OSError, MemoryError, _USAGE_ERROR) as error:
        _say(_words(error))
        return BAD_INPUT
    if code == INTERRUPTED:
        _say(
            "interrupted; give the same command again: a study goes on where it stopped, a "
            "benchmark starts anew"
        )
    return code


def _words(error: Exception) -> str:
    """Return an error as the one line that is printed."""
    if isinstance(error, _USAGE_ERROR):
        message: str = error.format_message()  # type: ignore[attr-defined]  # all of them have it
        return f"{message.rstrip('.')}. See `batchnorm --help`."
    if isinstance(error, MemoryError):
        return "there is not enough memory: give it less, or run it where there is more"
    if isinstance(error, BatchNormError) or not isinstance(error, OSError):
        return str(error)
    if error.filename is not None:
        return f"{error.filename} cannot be used ({reason(error)}): check it and its folder"
    _print_no_more()
    return f"what it has to say cannot be printed ({reason(error)}): check where the output goes"


def _print_no_more() -> None:
    """Drop what waits to be printed, because at its end the interpreter would try again."""
    with contextlib.suppress(OSError):  # a stream that is no file, as in a notebook
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(message: str) -> None:
    sys.stderr.write(f"batchnorm: {one_line(message)}\n")
