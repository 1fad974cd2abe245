"""Modulation: a scale and shift that differ from sample to sample."""

from torch import Tensor

from batchnorm.errors import ChannelError, DeviceError
from batchnorm.functional._batch import Batch
from batchnorm.functional._checks import check_input, check_parameter_dtype
from batchnorm.functional._options import epilogue_of
from batchnorm.kernels._activations import activate


def modulate(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    residual: Tensor | None = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Scale and shift every sample by its own weights, add the residual, and activate.

    .. math::

        y_n = f(x_n\, w_n + b_n + r_n)

    Args:
        x: normalized input, shape ``(N, C, *)``.
        weight: scale, shape ``(N, C)``, or ``(C,)`` for all samples; `None` is 1.
        bias: shift, likewise; `None` is 0.
        residual: r, shape of `x`; `None` is 0.
        activation: f, as in `batch_norm`; `None` is the identity.
        negative_slope: slope of ``leaky_relu`` below zero, positive.
        mask: which positions are data, a bool of shape ``(N, *)``; elsewhere y is 0.

    Returns:
        Output, with the shape of `x` and the more precise dtype of `x` and the weights.

    Raises:
        ChannelError: `weight` or `bias` has neither shape.
        ShapeError: `residual` or `mask` has another shape.
        DTypeError: the dtypes do not go together.
        DeviceError: the tensors are on different devices.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
        >>> modulate(x, torch.tensor([[1.0, 1.0], [3.0, 5.0]]), torch.tensor([0.0, 1.0]))
        tensor([[ 1.,  3.],
                [ 3., 11.]])
    """
    check_modulation(x, weight, bias)
    batch = Batch(x, residual, mask).checked()
    residual, weights = batch.residual, batch.weights()
    z = x if weight is None else x * _along(weight, x)
    z = z if bias is None else z + _along(bias, x)
    if residual is not None:
        z = z + (residual if weights is None else weights.keep(residual))
    y = activate(z, *epilogue_of(activation, negative_slope))
    return y if weights is None else weights.keep(y)


def check_modulation(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Refuse weights that are neither of each sample nor of all.

    Args:
        x: input, shape ``(N, C, *)``.
        weight: scale, shape ``(N, C)`` or ``(C,)``, or `None`.
        bias: shift, likewise.
    """
    check_input(x, None, None)
    each, every = x.shape[:2], x.shape[1:2]
    for found in (weight, bias):
        if found is None:
            continue
        # By the number of dimensions: to compare C with N would fix an exported program's batch.
        if found.shape != (every if found.ndim == 1 else each):
            raise ChannelError(
                f"weight and bias need shape {tuple(each)} for the samples and channels of x "
                f"{tuple(x.shape)}, or {tuple(every)} for all samples, "
                f"got {tuple(found.shape)}: one value for each channel, not for each position"
            )
        if found.dtype != x.dtype:
            check_parameter_dtype(x, found)
        if found.device != x.device:
            raise DeviceError(
                f"weight and bias need to be on the device of x, {x.device}, got {found.device}: "
                "move them, as in weight.to(x.device)"
            )


def _along(parameter: Tensor, x: Tensor) -> Tensor:
    """Return the parameter shaped to broadcast with `x`."""
    return parameter.reshape(*parameter.shape, *(1,) * (x.ndim - 2))
