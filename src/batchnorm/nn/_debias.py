"""Debiasing: running statistics without what is left in them of their start.

What is left is remembered, and not inferred from a number of batches: the momentum may have
changed, and somebody else may have written the statistics. A layer remembers the weight of the
batches that it has taken in, and the statistics that it left. Those that are others by now were
written by somebody else, and have nothing of the start in them, unless they are the start itself.
"""

import hashlib
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from batchnorm import functional, ops
from batchnorm.errors import TransformError

_STATE = "debias_state"
# Of what a layer left, in its standard deviations: an average of buffers rounds each by itself.
_SAME = 1e-6
_NEGLIGIBLE = 1e-4  # of the start
_MOST = 4096
_saved: OrderedDict[bytes, float] = OrderedDict()  # the weight of batches in statistics saved here
_log = logging.getLogger("batchnorm")


class _Before(NamedTuple):
    mean: Tensor
    var: Tensor
    state: Tensor
    gathered: Tensor
    moves: Tensor


class Debiasing(nn.Module):
    """A module that can take the start, 0 and 1, out of its running statistics.

    Its buffer `debias_state` is in no `state_dict`, whose keys are torch's; it travels in the
    metadata that torch keeps beside them. It holds the weight of the batches and what they left:
    ``(1 + 2 C,)``. An average of all buffers of several models averages it rightly, too.
    """

    debias: bool = False
    if TYPE_CHECKING:  # of torch's class, whose name it stays
        momentum: float | None

    def _population(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Return the running statistics as evaluation takes them."""
        if not self.debias:
            return mean, var
        state = self._buffers.get(_STATE)
        if state is not None:
            _check_passed(state, mean)
        # To `torch.jit.trace` they are constants: in the hands of the exporter that stands on it
        # the subtraction would lose half its digits.
        mean, var = ops.untraced(_debiased, state, mean, var)
        # In a program they are computed, which tools that look for a layer's buffers take ill:
        # as float64 they are not given to torch's operator.
        return (mean.double(), var.double()) if ops.recording_program() else (mean, var)

    def _before_batch(self, mean: Tensor | None, var: Tensor | None) -> _Before | None:
        """Return what `_remember` has to know of the statistics before a batch moves them."""
        if not self.debias or mean is None or var is None:
            return None
        state = self._debias_state(mean)
        _check_passed(state, mean)
        counter = self._buffers.get("num_batches_tracked")
        moves = (mean if counter is None else counter).clone()
        return _Before(mean, var, state, _gathered(state, mean, var), moves)

    def _remember(self, before: _Before | None) -> None:
        """Remember what a batch has left in the running statistics."""
        if before is None:
            return
        mean, var, state, gathered, moves = before
        with torch.no_grad():
            entered, momentum = self._entered(mean, moves)
            after = torch.cat([(gathered + momentum * (1.0 - gathered)).view(1), mean, var])
            # Without a start in them, statistics may be others' (`torch.func.functional_call`).
            state.copy_(torch.where(entered.logical_and(gathered < 1.0), after, state))

    def _entered(self, mean: Tensor, before: Tensor) -> tuple[Tensor, float | Tensor]:
        """Return whether a batch has entered the running statistics, and with what weight."""
        counter, momentum = self._buffers.get("num_batches_tracked"), self.momentum
        if counter is None:  # nobody counts; without a momentum such a layer does not move
            return (mean != before).any(), 0.0 if momentum is None else momentum
        if momentum is None:
            return counter != before, counter.double().clamp(min=1.0).reciprocal()
        return counter != before, momentum

    def _debias_state(self, mean: Tensor) -> Tensor:
        """Return the buffer, a new one where there is none of the size and dtype."""
        state, size = self._buffers.get(_STATE), 1 + 2 * mean.numel()
        if state is None or state.numel() != size or state.dtype != mean.dtype:
            state = mean.new_zeros(size)  # nothing known
            self.register_buffer(_STATE, state, persistent=False)
        return state

    def _infer_debias_state(self) -> None:
        """Make the buffer of a layer that had none, as if its momentum had never changed."""
        mean, var = self._buffers.get("running_mean"), self._buffers.get("running_var")
        counter = self._buffers.get("num_batches_tracked")
        if mean is None or var is None or isinstance(mean, nn.parameter.UninitializedBuffer):
            return
        state = self._debias_state(mean)
        if counter is None or state.is_meta:
            return
        momentum = self.momentum
        left = 0.0 if momentum is None else (1.0 - momentum) ** counter.double()
        gathered = torch.where(counter > 0, 1.0 - left, 0.0)
        # Without a batch nothing is known: statistics that are not the start came from elsewhere.
        known = torch.cat([gathered.view(1), mean.double(), var.double()])
        state.copy_(torch.where(counter > 0, known, torch.zeros_like(known)))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save what torch's layer does; what debiasing remembers goes beside it."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        state = self._buffers.get(_STATE)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if self.debias and state is not None and metadata is not None:
            metadata[_STATE] = state.detach()
            mean, var = self._buffers["running_mean"], self._buffers["running_var"]
            if mean is not None and var is not None and _has_values(mean):
                _saved[_fingerprint(mean, var)] = float(_gathered(state, mean, var))
                while len(_saved) > _MOST:
                    _saved.popitem(last=False)

    def _take_over_bare(self, mean: Tensor, var: Tensor | None) -> None:
        """Take over a state without metadata: known where it was saved here, or as from elsewhere.

        Others copy a `state_dict` entry by entry, and files of tensors alone hold no metadata.
        """
        if var is None or not _has_values(mean):
            return
        state = self._debias_state(mean)
        gathered = _saved.get(_fingerprint(mean, var), 0.0)
        if gathered:
            state.copy_(torch.cat([state.new_full((1,), gathered), mean, var]))
            return
        counter, momentum = self._buffers.get("num_batches_tracked"), self.momentum
        if counter is None or momentum is None or int(counter) < 1:
            return
        if (1.0 - momentum) ** int(counter) > _NEGLIGIBLE:
            _log.warning(
                "a state of %d batches came without the metadata in which debias=True keeps what "
                "is left of the start: its statistics are taken as they are. Keep state_dict()'s "
                "metadata, as torch.save does, or call batchnorm.recalibrate",
                int(counter),
            )

    def _take_over(self, metadata: dict[str, Any]) -> None:
        """Take over what debiasing remembered where a state was saved."""
        mean, saved = self._buffers.get("running_mean"), metadata.get(_STATE)
        if not self.debias or mean is None:
            return
        if not isinstance(saved, Tensor):
            if "version" not in metadata:
                self._take_over_bare(mean, self._buffers.get("running_var"))
            return
        if saved.numel() == 1 + 2 * mean.numel():
            self._debias_state(mean).copy_(saved)


def _check_passed(state: Tensor, mean: Tensor) -> None:
    """Refuse statistics that come to a transform without what is known of their start."""
    if ops.captured(state, mean):
        raise TransformError(
            "debias=True needs its buffer debias_state beside running_mean and running_var, got a "
            "state without it: pass all buffers, as torch.func.stack_module_state and "
            "named_buffers() give them, where a state_dict has torch's keys only"
        )


def _has_values(mean: Tensor) -> bool:
    return type(mean) is Tensor and not mean.is_meta


def _fingerprint(mean: Tensor, var: Tensor) -> bytes:
    both = torch.stack([mean.detach(), var.detach()]).double().cpu()
    return hashlib.blake2b(both.numpy().tobytes(), digest_size=16).digest()


def _debiased(state: Tensor | None, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    return functional.debiased(mean, var, _gathered(state, mean, var))


def _gathered(state: Tensor | None, mean: Tensor, var: Tensor) -> Tensor:
    """Return the weight that batches have in running statistics; the rest is that of the start."""
    start = (mean == 0.0).all().logical_and((var == 1.0).all())
    elsewhere = start.logical_not().double()
    if state is None or state.numel() != 1 + 2 * mean.numel():
        return elsewhere
    gathered, kept = state[0].double(), state[1:].double()
    middle, spread = kept.chunk(2)
    size = _SAME * (middle.abs() + spread.clamp(min=0.0).sqrt())
    own = ((mean.double() - middle).abs() <= size).all()
    own = own.logical_and(((var.double() - spread).abs() <= _SAME * spread.abs()).all())
    return torch.where(own.logical_and(gathered > 0.0), gathered, elsewhere)
