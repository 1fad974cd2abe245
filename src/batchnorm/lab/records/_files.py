"""Files of one trial: its record, its final weights and, midway, its checkpoint."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from batchnorm._pages import append_whole, read_plain, reason, require, write_atomically
from batchnorm.errors import RunError
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
        try:
            digest = _digest(read_plain(self._weights))
        except FileNotFoundError:
            why = "the weights are missing"
        except OSError as error:
            why = f"the weights cannot be read ({reason(error)})"
        else:
            if digest == history.end.get("weights"):
                return history
            why = "the weights do not match the checksum in the record"
        damage = Damage(self._name(self._weights), None, why)
        return History(history.evaluations, history.end, damage)

    def rewind(self, evaluations: tuple[Entry, ...]) -> None:
        """Set the record back to `evaluations`."""
        write_atomically(self._record, "".join(map(encode, evaluations)).encode())

    def append(self, record: Entry) -> None:
        """Add one whole line to the record."""
        append_whole(self._record, encode(record).encode())

    def finish(self, weights: Mapping[str, torch.Tensor] | None, end: Entry) -> None:
        """Write the weights if there are any, close the record, drop the checkpoint, in turn."""
        if weights is not None:
            content = _serialize(weights)
            write_atomically(self._weights, content)
            end = {**end, "weights": _digest(content)}
        append_whole(self._record, encode(end).encode(), durable=True)
        self._checkpoint.unlink(missing_ok=True)

    def save_checkpoint(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the state of a trial midway."""
        content = _serialize(tensors)
        write_atomically(self._checkpoint, _digest(content).encode() + content)

    def load_checkpoint(self) -> dict[str, torch.Tensor] | Damage | None:
        """Return the last state, `None` when there is none, or what is wrong with it."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        name, length = self._name(self._checkpoint), hashlib.sha256().digest_size * 2
        try:
            content = read_plain(self._checkpoint)
            if content[:length] != _digest(content[length:]).encode():
                return Damage(name, None, "the checksum does not match")
            return load(content[length:])
        except FileNotFoundError:
            return None
        except OSError as error:
            return Damage(name, None, f"it cannot be read ({reason(error)})")
        except (SafetensorError, ValueError, KeyError) as error:
            return Damage(name, None, f"it holds no tensors ({error})")

    def foreign_checkpoint(self) -> RunError:
        """Return the error that says that a checkpoint is whole, and of something else."""
        return RunError(
            f"{self._checkpoint} is damaged (it is not of this trial): remove it to begin the "
            "trial anew"
        )

    @staticmethod
    def _name(path: Path) -> str:
        return f"{path.parent.name}/{path.name}"


def _serialize(tensors: Mapping[str, torch.Tensor]) -> bytes:
    require("the lab", "safetensors")
    from safetensors.torch import save

    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
