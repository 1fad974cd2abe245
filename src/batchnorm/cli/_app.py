"""Application of the command line: its commands, its exit codes, errors as one line."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from batchnorm._pages import own_version
from batchnorm.cli import _bench, _convert, _fold, _insert, _recalibrate, _report, _study
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
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BatchNormError as error:
        return _refuse(str(error))
    except _USAGE_ERROR as error:
        message: str = error.format_message()  # type: ignore[attr-defined]  # all of them have it
        return _refuse(f"{message.rstrip('.')}. See `batchnorm --help`.")
    if code == INTERRUPTED:
        _say(
            "interrupted; give the same command again: a study goes on where it stopped, a "
            "benchmark starts anew"
        )
    return code


def _refuse(message: str) -> int:
    _say(message)
    return BAD_INPUT


def _say(message: str) -> None:
    sys.stderr.write(f"batchnorm: {' '.join(message.split())}\n")
