"""Batch normalization layers: they hold the state and decide; `functional` computes."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm import functional
from batchnorm.errors import ShapeError


class _Layer(_BatchNorm):
    """The constructor and the forward that every layer shares; subclasses say what they take."""

    _ndims: tuple[int, ...]

    def __init__(
        self,
        *arguments: Any,
        activation: str | None = None,
        negative_slope: float = 0.01,
        **options: Any,
    ) -> None:
        functional.epilogue_of(activation, negative_slope)  # an unknown one is refused here already
        super().__init__(*arguments, **options)
        self.activation = activation
        self.negative_slope = negative_slope

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:  # noqa: A002
        """Normalize, and in training update the running statistics.

        Args:
            input: shape ``(N, C, *)`` with as many dimensions as the layer's name says.
            residual: added before the activation, shape of `input`.
        """
        self._check_input_dim(input)
        mean, var, counter, weight, bias = self._state()
        training = self.training
        tracked = training and self.track_running_stats
        if training and not tracked:
            mean = var = counter = None
        momentum: float | Tensor | None = self.momentum
        if momentum is None:
            # The cumulative average; a tensor, so that nothing waits for the device.
            momentum = 0.0 if counter is None else (counter + 1).double().reciprocal()
        return functional.batch_norm(
            input,
            mean,
            var,
            weight,
            bias,
            training or (mean is None and var is None),
            momentum,
            self.eps,
            residual=residual,
            activation=self.activation,
            negative_slope=self.negative_slope,
            num_batches_tracked=counter if tracked else None,
        )

    def _state(self) -> tuple[Tensor | None, ...]:
        """Return the buffers and parameters, past `__getattr__`, which takes 3 µs for them."""
        buffers, parameters = self._buffers, self._parameters
        try:
            return (
                buffers["running_mean"],
                buffers["running_var"],
                buffers["num_batches_tracked"],
                parameters["weight"],
                parameters["bias"],
            )
        except KeyError:  # one has been made a property, as a parametrization does
            counter = self.num_batches_tracked
            return self.running_mean, self.running_var, counter, self.weight, self.bias

    def extra_repr(self) -> str:
        """Return torch's description, and the activation where there is one."""
        words: str = super().extra_repr()  # type: ignore[no-untyped-call] # torch has no types here
        if self.activation is not None:
            words += f", activation={self.activation!r}"
        if self.activation == "leaky_relu":
            words += f", negative_slope={self.negative_slope}"
        return words

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        if input.ndim not in self._ndims:
            expected = " or ".join(f"{n}D" for n in self._ndims)
            raise ShapeError(
                f"expected {expected} input (got {input.ndim}D input) of shape (N, C, *), "
                f"got {tuple(input.shape)}: use the BatchNorm1d, 2d or 3d that fits"
            )


class BatchNorm1d(_Layer, torch.nn.BatchNorm1d):
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
        activation: what follows in the same pass: ``relu``, ``leaky_relu``, ``silu`` or `None`.
        negative_slope: slope of ``leaky_relu`` below zero.

    Raises:
        ShapeError: the input is not 2D or 3D.
        OptionError: the activation is unknown.

    Note:
        Differs from torch where torch is inexact: the error of the output does not grow with
        \|mean\|/std or depend on the memory format, and an empty batch or one refused by an
        error does not count in `num_batches_tracked`.

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


class BatchNorm2d(_Layer, torch.nn.BatchNorm2d):
    """Batch normalization of images ``(N, C, H, W)``, contiguous or channels_last.

    A `torch.nn.BatchNorm2d`; arguments, conventions and formula as in `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 4D.

    Example:
        >>> BatchNorm2d(16)(torch.randn(8, 16, 7, 7)).shape
        torch.Size([8, 16, 7, 7])
    """

    _ndims = (4,)


class BatchNorm3d(_Layer, torch.nn.BatchNorm3d):
    """Batch normalization of volumes or videos ``(N, C, D, H, W)``.

    A `torch.nn.BatchNorm3d`; arguments, conventions and formula as in `BatchNorm1d`.

    Raises:
        ShapeError: the input is not 5D.

    Example:
        >>> BatchNorm3d(4)(torch.randn(2, 4, 3, 5, 5)).shape
        torch.Size([2, 4, 3, 5, 5])
    """

    _ndims = (5,)
