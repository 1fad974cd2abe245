"""The run folder: what lies where, and how it is written so that an interruption harms nothing."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from batchnorm._pages import require, write_atomically
from batchnorm.errors import RunError
from batchnorm.lab.plan import Plan, Trial
from batchnorm.lab.records import Damage, History, Record, encode, read
from batchnorm.lab.study import Study

Json = dict[str, Any]


class RunFolder:
    """A folder with one run of one study.

    Args:
        path: The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials = path / "trials"
        self.report = path / "report.html"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: It cannot be made.
        """
        try:
            self.trials.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be made a run folder ({error.strerror}): "
                "give --out a folder that can be written"
            ) from error

    def tidy(self) -> None:
        """Remove what a run that was killed while writing left behind."""
        for path in self.trials.glob(".*"):
            path.unlink(missing_ok=True)

    def read_json(self, name: str) -> Json | None:
        """Return a file's content, or ``None`` when there is no such file.

        Raises:
            RunError: It is not a JSON object.
        """
        path = self.path / name
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} is damaged ({error}): give --out another folder, or remove this one"
            ) from error
        if not isinstance(content, dict):
            raise RunError(
                f"{path} is damaged: needed a JSON object, got {type(content).__name__}: "
                "give --out another folder, or remove this one"
            )
        return content

    def write_json(self, name: str, content: Json) -> None:
        """Write a file of the run atomically."""
        write_atomically(self.path / name, (json.dumps(content, indent=2) + "\n").encode())

    def append_timing(self, trial: Trial, seconds: float) -> None:
        """Note how long a trial took, outside its record, which must not depend on the clock."""
        with (self.path / "timings.jsonl").open("a") as file:
            file.write(json.dumps({"trial": trial.id, "seconds": round(seconds, 3)}) + "\n")

    def log(self, trial: Trial) -> "TrialFiles":
        """Return the files of one trial."""
        return TrialFiles(self.trials, trial.id)

    def history(self, study: Study, plan: Plan, trial: Trial) -> History:
        """Read what stands of a trial."""
        work = study.work
        steps = work.schedule(plan, trial)
        return self.log(trial).history(steps, work.fields, weights=work.keeps_weights)


class TrialFiles:
    """The files of one trial: its record, its final weights and, midway, its checkpoint."""

    def __init__(self, folder: Path, name: str) -> None:
        self._record = folder / f"{name}.jsonl"
        self._weights = folder / f"{name}.safetensors"
        self._checkpoint = folder / f"{name}.checkpoint"

    def history(
        self, schedule: tuple[int, ...], fields: tuple[str, ...], *, weights: bool
    ) -> History:
        """Read the record, and check the weights once the trial has ended.

        Args:
            schedule: Steps at which the records must stand.
            fields: Keys that each must have.
            weights: Whether a trial that ended has weights.
        """
        history = read(self._record, self._name(self._record), schedule, fields)
        if history.end is None or not weights:
            return history
        if not self._weights.exists():
            damage = Damage(self._name(self._weights), None, "the weights are missing")
        elif _digest(self._weights.read_bytes()) != history.end.get("weights"):
            reason = "the weights do not match the checksum in the record"
            damage = Damage(self._name(self._weights), None, reason)
        else:
            return history
        return History(history.evaluations, history.end, damage)

    def rewind(self, evaluations: tuple[Record, ...]) -> None:
        """Set the record back to ``evaluations``."""
        write_atomically(self._record, "".join(map(encode, evaluations)).encode())

    def append(self, record: Record) -> None:
        """Add one whole line to the record."""
        with self._record.open("ab", buffering=0) as file:
            file.write(encode(record).encode())

    def finish(self, weights: Mapping[str, torch.Tensor] | None, end: Record) -> None:
        """Write the weights if there are any, close the record, drop the checkpoint, in turn."""
        if weights is not None:
            content = _serialize(weights)
            write_atomically(self._weights, content)
            end = {**end, "weights": _digest(content)}
        with self._record.open("ab", buffering=0) as file:
            file.write(encode(end).encode())
            os.fsync(file.fileno())
        self._checkpoint.unlink(missing_ok=True)

    def save_checkpoint(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the state of a trial midway."""
        content = _serialize(tensors)
        write_atomically(self._checkpoint, _digest(content).encode() + content)

    def load_checkpoint(self) -> dict[str, torch.Tensor] | Damage | None:
        """Return the last state, ``None`` when there is none, or what is wrong with it."""
        if not self._checkpoint.exists():
            return None
        content = self._checkpoint.read_bytes()
        length = hashlib.sha256().digest_size * 2
        if content[:length] != _digest(content[length:]).encode():
            return Damage(self._name(self._checkpoint), None, "the checksum does not match")
        from safetensors.torch import load

        return load(content[length:])

    @staticmethod
    def _name(path: Path) -> str:
        return f"{path.parent.name}/{path.name}"


def _serialize(tensors: Mapping[str, torch.Tensor]) -> bytes:
    require("the lab", "safetensors")
    from safetensors.torch import save

    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
