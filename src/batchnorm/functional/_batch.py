"""Batch: an input and its companions (residual, mask, sample weights), and what they weigh."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm import ops
from batchnorm.errors import DeviceError, DTypeError, OptionError, ShapeError
from batchnorm.functional._checks import check_residual
from batchnorm.functional._kinds import check_dense


class Batch(NamedTuple):
    """An input and what comes with it, sample by sample.

    Attributes:
        x: input, shape ``(N, C, *)``.
        residual: added before the activation, shape of `x`; `None` is 0.
        mask: which positions are data, a bool of shape ``(N, *)``; `None` is all.
        sample_weight: how often each sample counts, shape ``(N,)``; `None` is 1.
    """

    x: Tensor
    residual: Tensor | None = None
    mask: Tensor | None = None
    sample_weight: Tensor | None = None

    def checked(self) -> "Batch":
        """Return the batch with its residual as it is added.

        Raises:
            ShapeError: a companion has another shape.
            DTypeError: a companion has a dtype that does not go with `x`.
            DeviceError: a companion is on another device.
        """
        x, residual, mask, sample_weight = self
        if mask is not None:
            _check_mask(x, mask)
        if sample_weight is not None:
            _check_sample_weight(x, sample_weight)
        return self if residual is None else self._replace(residual=check_residual(x, residual))

    def split(self, parts: int) -> Iterator["Batch"]:
        """Yield the parts of the batch along its samples, whose sizes differ by one at most."""
        pieces = ([None] * parts if whole is None else whole.tensor_split(parts) for whole in self)
        return (Batch(*piece) for piece in zip(*pieces, strict=True))

    def select(self, order: Tensor, counts: list[int]) -> Iterator["Batch"]:
        """Yield batches of `counts` samples, taken in an order of indices."""
        pieces = (
            [None] * len(counts)
            if whole is None
            else torch.split(whole.index_select(0, order), counts)
            for whole in self
        )
        return (Batch(*piece) for piece in zip(*pieces, strict=True))

    def weights(self) -> "Weights | None":
        """Return the weights of the values of a checked batch; `None` where all count once."""
        x, _, mask, sample_weight = self
        if mask is None and sample_weight is None:
            return None
        values, there = x.new_ones((), dtype=torch.float64), None
        if mask is not None:
            there = mask.unsqueeze(1)
            values = there.double()
        if sample_weight is not None:
            values = values * sample_weight.double().reshape(-1, *(1,) * (x.ndim - 1))
        values = values.expand(x.shape[0], 1, *x.shape[2:])
        return Weights(values, there, equal=sample_weight is None)


class Weights(NamedTuple):
    """Weights of the values of a batch.

    Attributes:
        values: how often each value counts, shape ``(N, 1, *)``.
        there: which values there are, a bool of that shape; `None` is all.
        equal: whether those that are there count once each.
    """

    values: Tensor
    there: Tensor | None
    equal: bool

    def keep(self, x: Tensor) -> Tensor:
        """Return `x` with 0 where there is nothing, whatever stood there, and no gradient there."""
        return x if self.there is None else torch.where(self.there, x, 0.0)

    def rows(self, x: Tensor) -> Tensor | None:
        """Return the values that are there as a dense ``(M, C)``, which the fast kernels take.

        `None` where that would wait for a device or stop a compiler, where they do not count
        equally, or where there are fewer than two, which have no variance.
        """
        if (
            self.there is None
            or not self.equal
            or x.device.type != "cpu"
            or not ops.is_plain_eager(x)
        ):
            return None
        found = x.movedim(1, -1)[self.there.squeeze(1)]
        return found if len(found) > 1 else None

    def put_back(self, rows: Tensor, x: Tensor) -> Tensor:
        """Return `rows` where they came from in `x`, and 0 elsewhere."""
        assert self.there is not None  # noqa: S101 -- the rows came from there
        empty = torch.zeros_like(x, requires_grad=False).movedim(1, -1)
        return empty.index_put((self.there.squeeze(1),), rows).movedim(-1, 1)


def _check_mask(x: Tensor, mask: Tensor) -> None:
    check_dense(mask, "mask")
    wanted = (x.shape[0], *x.shape[2:])
    if mask.shape != wanted:
        raise ShapeError(
            f"mask needs shape {tuple(wanted)}, x {tuple(x.shape)} without its channels, "
            f"got {tuple(mask.shape)}: expand it or leave out its channel dimension"
        )
    if mask.dtype != torch.bool:
        raise DTypeError(
            f"mask needs to be bool, True where there is a value, got {mask.dtype}: "
            "convert it, as in mask.bool(), or give weights as sample_weight"
        )
    _check_device(x, mask, "mask")


def _check_sample_weight(x: Tensor, sample_weight: Tensor) -> None:
    check_dense(sample_weight, "sample_weight")
    if sample_weight.shape != x.shape[:1]:
        raise ShapeError(
            f"sample_weight needs shape ({x.shape[0]},), one weight for each sample of x "
            f"{tuple(x.shape)}, got {tuple(sample_weight.shape)}: flatten it"
        )
    if sample_weight.dtype == torch.bool or sample_weight.is_complex():
        raise DTypeError(
            f"sample_weight needs a real dtype, got {sample_weight.dtype}: "
            "convert it, as in sample_weight.float(), or give a mask"
        )
    _check_device(x, sample_weight, "sample_weight")
    if x.is_cpu and ops.is_plain_eager(sample_weight):  # no device is waited for
        wrong = sample_weight.isfinite().logical_and(sample_weight >= 0).logical_not()
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise OptionError(
                "sample_weight needs finite weights of at least 0, "
                f"got {sample_weight[first].item()} for sample {first}: "
                "leave a sample out with the weight 0"
            )


def _check_device(x: Tensor, found: Tensor, name: str) -> None:
    if found.device != x.device:
        raise DeviceError(
            f"{name} needs to be on the device of x, {x.device}, got {found.device}: "
            f"move it, as in {name}.to(x.device)"
        )
