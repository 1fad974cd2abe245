"""JSON lines of a trial's record: one evaluation each, then one that says how the trial ended.

Every line carries a checksum of itself, so that a damaged number is found and not plotted.
"""

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchnorm._pages import parse_json, read_plain, reason

Entry = dict[str, Any]
_SUM = ',"crc32":"'
_TAIL = len(_SUM) + 8 + len('"}')


@dataclass(frozen=True)
class Damage:
    """Something in a run folder that is not as it was written.

    Args:
        file: path relative to the run folder.
        line: line number from 1, or `None` when the whole file is meant.
        reason: what is wrong.
    """

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{where}: {self.reason}"


@dataclass(frozen=True)
class History:
    """What could be read of one trial.

    Args:
        evaluations: its evaluations in order.
        end: the closing line, or `None` while the trial is unfinished.
        damage: the first damage found; nothing after it was read.
    """

    evaluations: tuple[Entry, ...]
    end: Entry | None
    damage: Damage | None


def finite(value: Any) -> Any:
    """Return `value` with `None` in place of NaN and infinity, which JSON lacks."""
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def encode(record: Entry) -> str:
    """Return the line for `record`, newline included.

    Example:
        >>> decode(encode({"step": 5}).rstrip())
        {'step': 5}
    """
    body = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return f'{body[:-1]}{_SUM}{zlib.crc32(body.encode()):08x}"}}\n'


def decode(line: str) -> Entry:
    """Return the record that a line encodes.

    Raises:
        ValueError: the line is not one that `encode` wrote.
    """
    body, tail = line[:-_TAIL] + "}", line[-_TAIL:]
    if tail != f'{_SUM}{zlib.crc32(body.encode()):08x}"}}':
        raise ValueError("the checksum of the line does not match its content")
    record = parse_json(body.encode())
    if not isinstance(record, dict):
        raise TypeError("the line is not a JSON object")
    return record


def read(path: Path, name: str, schedule: Sequence[int], fields: Sequence[str]) -> History:
    """Read a trial's record as far as it is whole.

    A last line without its newline was cut off by an interruption and is ignored; any other
    line that does not check is damage.

    Args:
        path: the file; a missing one is an empty history.
        name: what to call it in a damage report.
        schedule: the steps that the evaluations must have.
        fields: keys that every evaluation must have.
    """
    try:
        lines = read_plain(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return History((), None, None)
    except OSError as error:
        return History((), None, Damage(name, None, f"it cannot be read ({reason(error)})"))
    evaluations: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = decode(line.decode())
            ended = _check(record, len(evaluations), schedule, fields)
        except (ValueError, TypeError) as error:
            return History(tuple(evaluations), None, Damage(name, number, str(error)))
        if not ended:
            evaluations.append(record)
        elif number < len(lines):
            damage = Damage(name, number + 1, "a line follows the end of the trial")
            return History(tuple(evaluations), None, damage)
        else:
            return History(tuple(evaluations), record, None)
    return History(tuple(evaluations), None, None)


def _check(record: Entry, done: int, schedule: Sequence[int], fields: Sequence[str]) -> bool:
    """Return whether the record closes the trial; raise ValueError where it does not belong."""
    step = record.get("step")
    if "end" in record:
        _check_end(record, done, schedule)
        return True
    if done == len(schedule) or type(step) is not int or step != schedule[done]:
        expected = schedule[done] if done < len(schedule) else "the end"
        raise ValueError(f"expected the evaluation at {expected}, got step {step!r:.40}")
    missing = [field for field in fields if field not in record]
    if missing:
        raise ValueError(f"the evaluation has no {', '.join(missing)}")
    return False


def _check_end(record: Entry, done: int, schedule: Sequence[int]) -> None:
    end, step = record["end"], record.get("step")
    if end not in ("finished", "diverged") or type(step) is not int:
        raise ValueError(f"no trial ends with {end!r:.40} at step {step!r:.40}")
    if end == "finished" and done != len(schedule):
        raise ValueError(f"{len(schedule)} evaluations needed before the end, {done} came")
