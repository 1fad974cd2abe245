"""Class-conditional batch normalization layers: a scale and shift for each class."""

from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn import Parameter

from batchnorm.errors import DTypeError, OptionError, ShapeError
from batchnorm.nn._conditional import ConditionalLayer
from batchnorm.nn._layer import Device, LayerOptions
from batchnorm.nn._tools._programs import node, traced
from batchnorm.nn._tools._quantization import register_with_quantization


class _ClassConditional(ConditionalLayer):
    def __init__(
        self,
        num_features: int,
        num_classes: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        track_running_stats: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        if num_classes < 1:
            raise OptionError(
                f"num_classes must be positive, got {num_classes}: give the number of classes"
            )
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(
            num_features,
            eps,
            momentum,
            track_running_stats=track_running_stats,
            **place,
            **options,
        )
        self.num_classes = num_classes
        self.affine = True
        self.weight = Parameter(torch.ones(num_classes, num_features, **place))
        self.bias = Parameter(torch.zeros(num_classes, num_features, **place))

    def forward(  # type: ignore[override] # the classes take the place of the scale and shift
        self,
        input: Tensor,  # noqa: A002
        labels: Tensor,
        residual: Tensor | None = None,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        """Normalize, and scale and shift each sample by the weights of its class.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            labels: class of each sample, int64 of shape ``(N,)``.
            residual: added before the activation, shape of `input`.
            mask: which positions are data, a bool of shape ``(N, *)``; elsewhere the output is 0.
            sample_weight: how often each sample counts in the statistics, shape ``(N,)``.
        """
        options = {"mask": mask, "sample_weight": sample_weight}
        if traced(self, input):
            return node(self, input, labels, residual=residual, **options)
        if labels.shape != input.shape[:1]:
            raise ShapeError(
                f"labels need shape {tuple(input.shape[:1])}, one class for each sample of x "
                f"{tuple(input.shape)}, got {tuple(labels.shape)}: flatten them, or take the "
                "argmax of one-hot labels"
            )
        if labels.dtype not in (torch.int64, torch.int32):
            raise DTypeError(
                f"labels need dtype int64, got {labels.dtype}: convert them, as in labels.long()"
            )
        weight, bias = (torch.nn.functional.embedding(labels, t) for t in (self.weight, self.bias))
        return super().forward(input, weight, bias, residual, **options)

    def extra_repr(self) -> str:
        """Return the plain layer's description, and the number of classes."""
        return f"{super().extra_repr()}, num_classes={self.num_classes}"


class ClassConditionalBatchNorm1d(_ClassConditional):
    r"""Batch normalization with a scale and shift for each class, as in class-conditional GANs.

    Called as ``layer(x, labels)``. All classes share the statistics.

    .. math::

        y_n = \frac{x_n - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}}\, w_{k_n} + b_{k_n}

    Args:
        num_features: number of channels C.
        num_classes: number of classes K; `weight` and `bias` are ``(K, C)``, at first 1 and 0.
        eps: added to the variance, inside the square root.
        momentum: weight of the new batch in the running statistics; `None` averages all
            batches so far with equal weight.
        track_running_stats: keep `running_mean` and `running_var`.
        device: where the parameters and buffers are created.
        dtype: their dtype.
        options: ``activation``, ``nonfinite`` and all others of `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 2D or 3D, or the labels not one for each sample.
        DTypeError: the labels are not integers.
        IndexError: a label is negative or not below K, as from `torch.nn.Embedding`.
        OptionError: `num_classes` is not positive.

    References:
        Dumoulin, Shlens and Kudlur (2017), "A Learned Representation For Artistic Style",
        equation 5; Brock, Donahue and Simonyan (2019), "Large Scale GAN Training for High Fidelity
        Natural Image Synthesis", section 3.

    Example:
        >>> layer = ClassConditionalBatchNorm1d(3, num_classes=10)
        >>> layer(torch.randn(8, 3), torch.arange(8)).shape
        torch.Size([8, 3])
        >>> layer.weight.shape
        torch.Size([10, 3])
    """

    _ndims = (2, 3)


class ClassConditionalBatchNorm2d(_ClassConditional):
    """Class-conditional batch normalization of images ``(N, C, H, W)``.

    Arguments, conventions and formula as in `ClassConditionalBatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> labels = torch.tensor([3, 1])
        >>> ClassConditionalBatchNorm2d(16, 10)(torch.randn(2, 16, 7, 7), labels).shape
        torch.Size([2, 16, 7, 7])
    """

    _ndims = (4,)


class ClassConditionalBatchNorm3d(_ClassConditional):
    """Class-conditional batch normalization of volumes or videos ``(N, C, D, H, W)``.

    Arguments, conventions and formula as in `ClassConditionalBatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> labels = torch.tensor([3, 1])
        >>> ClassConditionalBatchNorm3d(4, 10)(torch.randn(2, 4, 3, 5, 5), labels).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)


register_with_quantization(
    ClassConditionalBatchNorm1d, ClassConditionalBatchNorm2d, ClassConditionalBatchNorm3d
)
