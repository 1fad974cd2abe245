"""Batch normalization layers: they hold the state and decide; `functional` computes."""

import torch

from batchnorm.nn._layer import Layer
from batchnorm.nn._tools._quantization import register_with_quantization


class BatchNorm1d(Layer, torch.nn.BatchNorm1d):
    r"""Batch normalization of features ``(N, C)`` or sequences ``(N, C, L)``.

    A `torch.nn.BatchNorm1d`: same constructor, same `state_dict`.

    .. math::

        y = \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}}\, w + b

    Args:
        num_features: number of channels C.
        eps: added to the variance, inside the square root.
        momentum: weight of the new batch in the running statistics; `None` averages all
            batches so far with equal weight.
        affine: learn `weight` and `bias`, both ``(C,)``.
        track_running_stats: keep `running_mean` and `running_var`, used in evaluation; without
            them evaluation uses the batch too.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        bias: with `affine`, whether there is a `bias` beside the `weight`.
        activation: what follows in the same pass: `None`, or one of
            ``relu``, ``leaky_relu``, ``relu6``, ``elu``, ``silu``, ``gelu``, ``gelu_tanh``,
            ``hardswish``, ``sigmoid``, ``hardsigmoid`` and ``tanh``.
        negative_slope: slope of ``leaky_relu`` below zero.
        nonfinite: what becomes of the running statistics after a batch with a NaN or an Inf:
            ``skip`` leaves them as they are and counts the batch in `batches_skipped`, without
            waiting for the device; ``propagate`` moves them, as torch does; ``raise`` waits and
            raises.
        debias: in evaluation, take out of the running statistics what is left of their start, 0
            and 1, so that they are right from the first step on.
        correction: the running variance takes in the squared deviations divided by
            count - correction; 1 is torch's convention, 0 that of Keras, flax and ONNX.

    Raises:
        ShapeError: the input is not 2D or 3D.
        NonFiniteError: a statistic of the batch is not finite, under ``nonfinite="raise"``.
        OptionError: an unknown activation, `nonfinite` or `correction`.

    Note:
        Differs from torch where torch is inexact: the error of the output does not grow with
        \|mean\|/std or depend on the memory format; an empty batch or one refused by an error does
        not count in `num_batches_tracked`; the running statistics stay float32 when the layer is
        converted to 16 bits, and are not moved a second time when a backward pass runs the forward
        again, as under `torch.utils.checkpoint` (compile around a checkpoint, not inside one).
        `batches_skipped` counts since the running statistics were made, loaded or reset: it is in
        copies and pickles, and in no `state_dict`, whose keys are torch's.

    References:
        Ioffe and Szegedy (2015), Algorithms 1 and 2.

    Example:
        >>> layer = BatchNorm1d(100)
        >>> layer(torch.randn(60, 100)).shape
        torch.Size([60, 100])
        >>> layer.num_batches_tracked
        tensor(1)
        >>> block = BatchNorm1d(100, activation="relu")
        >>> bool(block(torch.randn(60, 100), residual=torch.randn(60, 100)).min() == 0)
        True
    """

    _ndims = (2, 3)


class BatchNorm2d(Layer, torch.nn.BatchNorm2d):
    """Batch normalization of images ``(N, C, H, W)``, contiguous or channels_last.

    A `torch.nn.BatchNorm2d`; arguments, conventions and formula as in `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> BatchNorm2d(16)(torch.randn(8, 16, 7, 7)).shape
        torch.Size([8, 16, 7, 7])
    """

    _ndims = (4,)


class BatchNorm3d(Layer, torch.nn.BatchNorm3d):
    """Batch normalization of volumes or videos ``(N, C, D, H, W)``.

    A `torch.nn.BatchNorm3d`; arguments, conventions and formula as in `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> BatchNorm3d(4)(torch.randn(2, 4, 3, 5, 5)).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(BatchNorm1d, BatchNorm2d, BatchNorm3d)
