"""Files of one trial: its record, its final weights and, midway, its checkpoint."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from batchnorm._pages import require, write_atomically
from batchnorm.lab.records._lines import Damage, Entry, History, encode, read


class TrialFiles:
    """The files of one trial.

    Args:
        folder: where they are.
        name: name of the trial.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._record = folder / f"{name}.jsonl"
        self._weights = folder / f"{name}.safetensors"
        self._checkpoint = folder / f"{name}.checkpoint"

    def history(
        self, schedule: tuple[int, ...], fields: tuple[str, ...], *, weights: bool
    ) -> History:
        """Read the record, and check the weights once the trial has ended.

        Args:
            schedule: the steps that the evaluations must have.
            fields: keys that each must have.
            weights: whether a trial that ended has weights.
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

    def rewind(self, evaluations: tuple[Entry, ...]) -> None:
        """Set the record back to `evaluations`."""
        write_atomically(self._record, "".join(map(encode, evaluations)).encode())

    def append(self, record: Entry) -> None:
        """Add one whole line to the record."""
        with self._record.open("ab", buffering=0) as file:
            file.write(encode(record).encode())

    def finish(self, weights: Mapping[str, torch.Tensor] | None, end: Entry) -> None:
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
        """Return the last state, `None` when there is none, or what is wrong with it."""
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
