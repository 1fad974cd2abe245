"""Command line: parse, call, print."""

from batchnorm.cli._app import run as run
