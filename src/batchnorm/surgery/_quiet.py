"""Silence while torch exports a model."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

_TALKATIVE = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep torch from printing, logging and warning of what our error says in one line.

    It warns, among other things, of a forward that leaves a tensor on its module; where that is
    the module of a copy, nobody needs to know.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    were = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, disabled in zip(loggers, were, strict=True):
            logger.disabled = disabled
