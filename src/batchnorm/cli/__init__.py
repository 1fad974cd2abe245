"""The command line: parse, call, print."""

from ._app import run as run
