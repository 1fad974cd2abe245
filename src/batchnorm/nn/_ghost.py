"""Ghost batch normalization layers: small batches inside a large one."""

from typing import Any, Unpack

import torch
from torch import Tensor

from batchnorm.errors import CountError, OptionError
from batchnorm.functional._apply import AffineParameters
from batchnorm.functional._batch import Batch
from batchnorm.functional._options import Options
from batchnorm.nn._layer import Device, Layer, LayerOptions
from batchnorm.nn._layout import laid_out
from batchnorm.nn._tools._quantization import register_with_quantization


class _Ghost(Layer):
    _like_torch = "evaluation"

    def __init__(
        self,
        num_features: int,
        virtual_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        _check_size(virtual_batch_size)
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, **options
        )
        self.virtual_batch_size = virtual_batch_size

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, and validate it where it is an option."""
        if name == "virtual_batch_size":
            _check_size(value)
        super().__setattr__(name, value)

    def _normalize(self, batch: Batch, affine: AffineParameters, options: Options) -> Tensor:
        x = batch.x
        self._check_input_dim(x)
        if self.frozen or not self.training:  # first, so that a program is not bound to the size
            return super()._normalize(batch, affine, options)
        parts = x.shape[0] // self.virtual_batch_size
        if parts < 2:  # noqa: PLR2004 -- two make a difference
            return super()._normalize(batch, affine, options)
        self._check_parts(x, parts)
        normalize = super()._normalize
        pieces = batch.checked().split(parts)
        return laid_out(torch.cat([normalize(part, affine, options) for part in pieces]), x)

    def _check_parts(self, x: Tensor, parts: int) -> None:
        """Refuse parts of one value before the first of them has moved anything."""
        samples = x.shape[0] // parts
        if x[:samples].numel() == x.shape[1]:
            raise CountError(
                "every part of a ghost batch needs more than 1 value per channel, got input size "
                f"{tuple(x.shape)} in {parts} parts: choose a virtual_batch_size of at least 2"
            )

    def extra_repr(self) -> str:
        """Return the plain layer's description, and the size of the parts."""
        return f"{super().extra_repr()}, virtual_batch_size={self.virtual_batch_size}"


def _check_size(virtual_batch_size: int) -> None:
    if not isinstance(virtual_batch_size, int) or virtual_batch_size < 1:
        raise OptionError(
            f"virtual_batch_size must be a positive whole number, got {virtual_batch_size}: "
            "the usual values are 16 to 128"
        )


class GhostBatchNorm1d(_Ghost, torch.nn.BatchNorm1d):
    r"""Batch normalization of the parts of a batch, each with its own statistics.

    Keeps the noise of small batches, which regularizes, in a large one. In training the batch of
    N samples is cut along N into K = max(N // virtual_batch_size, 1) parts, in order, whose sizes
    differ by one at most, so that none is smaller than asked for. The running statistics take in
    part after part:

    .. math::

        \mu \leftarrow (1 - a)^K \mu + a \sum_{k=1}^{K} (1 - a)^{K-k} \mu_k

    with a the `momentum`, and the running variance likewise. In evaluation it is `BatchNorm1d`.

    Args:
        num_features: number of channels C.
        virtual_batch_size: samples that a part has at least.
        eps: added to the variance, inside the square root.
        momentum: weight of a new part in the running statistics; `None` averages all parts so far.
        affine: learn `weight` and `bias`, both ``(C,)``.
        track_running_stats: keep `running_mean` and `running_var`.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        options: ``bias``, ``activation``, ``nonfinite`` and all others of `BatchNorm1d`. A mask, a
            residual and sample weights are cut as the input is.

    Raises:
        ShapeError: the input is not 2D or 3D, or what goes with it has another shape.
        CountError: a part has one value per channel.
        OptionError: `virtual_batch_size` is not positive, or as in `BatchNorm1d`.

    Note:
        `num_batches_tracked` counts parts. Inside `accumulate_statistics` the moments of all parts
        are merged into one update. A part with a NaN or an Inf is treated as such a batch is; under
        ``nonfinite="raise"`` the parts before it have been taken in.

    References:
        Hoffer, Hubara and Soudry (2017), "Train longer, generalize better: closing the
        generalization gap in large batch training of neural networks", Algorithm 1.

    Example:
        >>> layer = GhostBatchNorm1d(3, virtual_batch_size=16)
        >>> layer(torch.randn(50, 3)).shape  # parts of 17, 17 and 16
        torch.Size([50, 3])
        >>> layer.num_batches_tracked
        tensor(3)
    """

    _ndims = (2, 3)


class GhostBatchNorm2d(_Ghost, torch.nn.BatchNorm2d):
    """Ghost batch normalization of images ``(N, C, H, W)``.

    Arguments, conventions and formula as in `GhostBatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> GhostBatchNorm2d(16, 4)(torch.randn(8, 16, 7, 7)).shape
        torch.Size([8, 16, 7, 7])
    """

    _ndims = (4,)


class GhostBatchNorm3d(_Ghost, torch.nn.BatchNorm3d):
    """Ghost batch normalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments, conventions and formula as in `GhostBatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> GhostBatchNorm3d(4, 2)(torch.randn(4, 4, 3, 5, 5)).shape
        torch.Size([4, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(GhostBatchNorm1d, GhostBatchNorm2d, GhostBatchNorm3d)
