"""Measurements that a benchmark returns, and their JSON document."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from batchnorm._pages import Facts, parse_json
from batchnorm.errors import DataError

VERSION = 1
Seconds = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Measurement:
    """One case in one direction.

    Args:
        group: group of the case.
        case: name of the case.
        shape: shape of the input.
        level: ``module`` or ``operator``.
        dtype: of the input.
        layout: memory format of the input.
        direction: what was timed.
        tensor_bytes: bytes of the input.
        minimal_bytes: the least that can be moved (see `traffic`).
        seconds: for each provider, and for ``copy``, the seconds of one call in each round.
    """

    group: str
    case: str
    shape: tuple[int, ...]
    level: str
    dtype: str
    layout: str
    direction: str
    tensor_bytes: int
    minimal_bytes: int
    seconds: Seconds


@dataclass(frozen=True)
class Memory:
    """What one case takes in training.

    Args:
        group: group of the case.
        case: name of the case.
        dtype: of the input.
        layout: memory format of the input.
        tensor_bytes: bytes of the input.
        peak: for each provider the most bytes allocated during forward and backward, above those
            at the start.
        kept: for each provider the bytes that forward keeps for backward, the input included.
    """

    group: str
    case: str
    dtype: str
    layout: str
    tensor_bytes: int
    peak: Mapping[str, int]
    kept: Mapping[str, int]


@dataclass(frozen=True)
class StepTimes:
    """A training step of a whole network.

    Args:
        layout: memory format of images and weights.
        shape: shape of the images.
        seconds: for each variant the seconds of one step in each round.
        losses: for each variant the losses of its first steps, which were compared.
        tolerance: relative difference up to which they agree.
    """

    layout: str
    shape: tuple[int, ...]
    seconds: Seconds
    losses: Mapping[str, tuple[float, ...]]
    tolerance: float


@dataclass(frozen=True)
class Skip:
    """Something that was left out.

    Args:
        provider: who, or the group of cases.
        reason: why.
        where: in which cells; empty where it is in all.
    """

    provider: str
    reason: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A whole benchmark.

    Args:
        machine: where it ran.
        settings: what was asked for.
        measurements: the times.
        memory: the memory.
        steps: the training steps.
        skips: what was left out.
    """

    machine: Facts
    settings: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    memory: tuple[Memory, ...]
    steps: tuple[StepTimes, ...]
    skips: tuple[Skip, ...]


_PARTS: dict[str, type] = {
    "measurements": Measurement,
    "memory": Memory,
    "steps": StepTimes,
    "skips": Skip,
}


def to_json(record: Benchmark) -> str:
    """Return the record as a JSON document."""
    return json.dumps({"version": VERSION, **asdict(record)}, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Benchmark:
    """Return the record that a JSON document holds.

    Raises:
        DataError: it holds none, or one of another version.
    """
    try:
        content = parse_json(text.encode())
        if content.pop("version") != VERSION:
            raise DataError(
                f"a benchmark of version {VERSION} is needed, got another: run it again"
            )
        parts: dict[str, Any] = {
            name: tuple(kind(**tuples(entry)) for entry in content.pop(name))
            for name, kind in _PARTS.items()
        }
        return Benchmark(**tuples(content), **parts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the JSON document of a benchmark is needed, got something else ({error}): "
            "write one with `batchnorm bench --json`"
        ) from error


def tuples(value: Any) -> Any:
    """Turn the lists of JSON back into tuples, inside as well."""
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return value
