"""Conditional batch normalization layers, whose scale and shift come with the input."""

from typing import Unpack

import torch
from torch import Tensor

from batchnorm import functional
from batchnorm.functional._batch import Batch
from batchnorm.functional._modulate import check_modulation
from batchnorm.kernels import PLAIN
from batchnorm.nn._layer import Device, Layer, LayerOptions
from batchnorm.nn._tools._programs import node, traced
from batchnorm.nn._tools._quantization import register_with_quantization


class ConditionalLayer(Layer):
    """The constructor and the forward; subclasses say what they take."""

    _like_torch = "never"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(
            num_features, eps, momentum, False, track_running_stats, device, dtype, **options
        )

    def forward(  # type: ignore[override] # the scale and shift of a plain layer are its own
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor | None,
        bias: Tensor | None,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Normalize, scale and shift, and in training update the running statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            weight: scale, shape ``(N, C)``, or ``(C,)`` for all samples; `None` is 1.
            bias: shift, likewise; `None` is 0.
            residual: added before the activation, shape of `input`.
            mask: which positions are data, a bool of shape ``(N, *)``; elsewhere the output is 0.
            sample_weight: how often each sample counts in the statistics, shape ``(N,)``.
        """
        if traced(self, input):
            companions = {"mask": mask, "sample_weight": sample_weight}
            return node(self, input, weight, bias, residual=residual, **companions)
        self._check_input_dim(input)
        weight, bias = _beside(weight, input), _beside(bias, input)
        check_modulation(input, weight, bias)
        batch, options = Batch(input, residual, mask, sample_weight), self._options()
        if all(given is None or given.ndim == 1 for given in (weight, bias)):
            return self._normalize(batch, (weight, bias), options)
        residual = batch.checked().residual
        # In between, 16 bits would round once more.
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        alone = Batch(x, None, mask, sample_weight)
        xhat = self._normalize(alone, (None, None), options._replace(epilogue=PLAIN))
        weight, bias, residual = (
            None if given is None else given.to(x.dtype) for given in (weight, bias, residual)
        )
        return functional.modulate(
            xhat,
            weight,
            bias,
            residual=residual,
            activation=self.activation,
            negative_slope=self.negative_slope,
            mask=mask,
        ).to(input.dtype)


def _beside(given: Tensor | None, x: Tensor) -> Tensor | None:
    """Return a scale or shift in the dtype of `x` where autocast made it another."""
    if given is None or given.dtype == x.dtype or not torch.is_autocast_enabled(x.device.type):
        return given
    return given.to(x.dtype)


class ConditionalBatchNorm1d(ConditionalLayer):
    r"""Batch normalization whose scale and shift are given with each input.

    The layer normalizes and keeps the running statistics; what makes the scale and shift, such as
    a network that reads a question, a style or a class, stands outside.

    .. math::

        y_n = \frac{x_n - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}}\, w_n + b_n

    Called as ``layer(x, weight, bias)``, with both ``(N, C)``, or ``(C,)`` for all samples, which
    then takes no more passes over the input than the plain layer.

    Args:
        num_features: number of channels C.
        eps: added to the variance, inside the square root.
        momentum: weight of the new batch in the running statistics; `None` averages all
            batches so far with equal weight.
        track_running_stats: keep `running_mean` and `running_var`.
        device: where the buffers are created.
        dtype: their dtype.
        options: ``activation``, ``nonfinite`` and all others of `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 2D or 3D.
        ChannelError: the scale or shift has neither shape.
        DTypeError: its dtype does not go with the input's.

    Note:
        There is nothing to learn in the layer itself, and its state is that of a plain layer with
        ``affine=False``. A network that gives deviations from 1, as in the first paper, is called
        for with ``layer(x, 1 + dweight, dbias)``.

    References:
        de Vries et al. (2017), "Modulating early visual processing by language", section 4;
        Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style".

    Example:
        >>> layer = ConditionalBatchNorm1d(3)
        >>> x, question = torch.randn(8, 3), torch.randn(8, 5)
        >>> dweight, dbias = torch.nn.Linear(5, 6)(question).chunk(2, dim=1)
        >>> layer(x, 1 + dweight, dbias).shape
        torch.Size([8, 3])
    """

    _ndims = (2, 3)


class ConditionalBatchNorm2d(ConditionalLayer):
    """Conditional batch normalization of images ``(N, C, H, W)``.

    Arguments, conventions and formula as in `ConditionalBatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> style = torch.rand(16), torch.rand(16)
        >>> ConditionalBatchNorm2d(16)(torch.randn(8, 16, 7, 7), *style).shape
        torch.Size([8, 16, 7, 7])
    """

    _ndims = (4,)


class ConditionalBatchNorm3d(ConditionalLayer):
    """Conditional batch normalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments, conventions and formula as in `ConditionalBatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> weight, bias = torch.rand(2, 4), torch.rand(2, 4)
        >>> ConditionalBatchNorm3d(4)(torch.randn(2, 4, 3, 5, 5), weight, bias).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(ConditionalBatchNorm1d, ConditionalBatchNorm2d, ConditionalBatchNorm3d)
