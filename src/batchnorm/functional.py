"""The checked public functions: errors are raised here, at the door, and nowhere below."""

import torch
from torch import Tensor

from batchnorm import ops
from batchnorm._moments import Moments
from batchnorm.errors import (
    ChannelError,
    CountError,
    DeviceError,
    DTypeError,
    OptionError,
    ShapeError,
)
from batchnorm.kernels import PLAIN, Epilogue, Running

_REDUCED_PRECISION = (torch.float16, torch.bfloat16)
_FULL_PRECISION = (torch.float32, torch.float64)
_ACTIVATIONS = ("relu", "leaky_relu", "silu")


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    num_batches_tracked: Tensor | None = None,
) -> Tensor:
    r"""Normalize every channel; in training, also update the running statistics.

    The signature of `torch.nn.functional.batch_norm`, and what often follows it done in the same
    pass over memory.

    .. math::

        y = f\left(\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\, w + b + r\right)

    Args:
        x: input, shape ``(N, C, *)``, float64, float32, bfloat16 or float16.
        running_mean: running mean, shape ``(C,)``; changed in place in training.
        running_var: running (unbiased) variance, shape ``(C,)``; changed in place in training.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        training: normalize with the statistics of the batch (and update the running ones, where
            given); otherwise with the running ones.
        momentum: weight of the new batch in the running statistics, a number or a tensor of one.
        eps: added to the variance, inside the square root.
        residual: r, added before the activation, shape and dtype of `x`; `None` is 0.
        activation: f, one of ``relu``, ``leaky_relu`` and ``silu``; `None` is the identity.
        negative_slope: slope of ``leaky_relu`` below zero, positive.
        num_batches_tracked: goes up by one in training, in place, unless the batch is empty; an
            int64 of shape ``()``.

    Returns:
        Output, with the shape, dtype and memory format of `x`.

    Raises:
        ShapeError: `x` has fewer than two dimensions, or `residual` another shape.
        ChannelError: a per-channel tensor does not have one value per channel.
        CountError: in training, there is one value per channel only.
        DTypeError: `x` is not floating, another tensor's dtype does not go with it, or
            `num_batches_tracked` is not one int64.
        DeviceError: the tensors are on different devices.
        OptionError: `eps` is negative, or zero in training; evaluation without both running
            statistics; or an unknown activation.

    Note:
        The output is normalized with the biased variance; the running variance gets the unbiased
        one. An empty batch gives an empty output and leaves the running statistics untouched.
        `running_mean` and `running_var` get no gradient.

    References:
        Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift", Algorithms 1 and 2.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> mean, var = torch.zeros(1), torch.ones(1)
        >>> batch_norm(x, mean, var, training=True, momentum=0.5).flatten()
        tensor([-1.0000,  1.0000])
        >>> mean, var
        (tensor([1.]), tensor([1.5000]))
    """
    _check_input(x, weight, bias, running_mean, running_var)
    _check_eps(eps, training)
    epilogue = epilogue_of(activation, negative_slope)
    if residual is not None:
        _check_residual(x, residual)
    if not training:
        if running_mean is None or running_var is None:
            raise OptionError(
                "evaluation needs running_mean and running_var, got None: "
                "give both, or normalize with the batch (training=True)"
            )
        return ops.forward(x, weight, bias, running_mean, running_var, eps, residual, epilogue).y
    if num_batches_tracked is not None:
        _check_counter(x, num_batches_tracked)
    running = None
    if _check_count(x):
        running = Running(running_mean, running_var, num_batches_tracked, momentum)
    return ops.forward(x, weight, bias, None, None, eps, residual, epilogue, running).y


def normalize(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, eps: float = 1e-5
) -> tuple[Tensor, Moments]:
    """Normalize with the statistics of the batch, and return them: mutates nothing.

    Args:
        x: input, shape ``(N, C, *)``, float64, float32, bfloat16 or float16.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        eps: added to the variance, inside the square root; positive.

    Returns:
        Output like `x`, and the `Moments` of the batch, which carry no gradient.

    Raises:
        ShapeError: `x` has fewer than two dimensions.
        ChannelError: a per-channel tensor does not have one value per channel.
        CountError: there is one value per channel only.
        DTypeError: `x` is not floating, or `weight` or `bias` does not go with it.
        OptionError: `eps` is not positive.

    References:
        Ioffe and Szegedy (2015), Algorithm 1.

    Example:
        >>> y, moments = normalize(torch.tensor([[1.0], [3.0]]))
        >>> y.flatten()
        tensor([-1.0000,  1.0000])
        >>> moments.mean.item(), moments.variance(correction=1).item()
        (2.0, 2.0)
    """
    _check_input(x, weight, bias)
    _check_eps(eps, training=True)
    count = _check_count(x)
    y, statistics, _ = ops.forward(x, weight, bias, None, None, eps)
    mean, var, _ = statistics
    return y, Moments(torch.tensor(count, device=x.device), mean, var * count)


def _check_input(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *running: Tensor | None
) -> None:
    if x.ndim < 2:  # noqa: PLR2004 -- a batch and a channel dimension
        raise ShapeError(
            f"x needs at least 2 dimensions (N, C, *), got shape {tuple(x.shape)}: "
            "add the batch dimension with x.unsqueeze(0)"
        )
    dtype = x.dtype
    if dtype not in _FULL_PRECISION and dtype not in _REDUCED_PRECISION:
        raise DTypeError(
            f"x needs a floating dtype of at most 64 bits, got {x.dtype}: convert it with x.float()"
        )
    for parameter in (weight, bias):
        if parameter is not None and parameter.dtype != dtype:
            _check_parameter_dtype(x, parameter)
    shape, device = x.shape[1:2], x.device
    for found in (weight, bias, *running):
        if found is not None and (found.shape != shape or found.device != device):
            raise _per_channel_error(x, found)
    for statistic in running:
        if statistic is not None and not statistic.is_floating_point():
            raise DTypeError(
                "running_mean and running_var need a floating dtype, "
                f"got {statistic.dtype}: convert them, as in running_mean.float()"
            )


def _check_parameter_dtype(x: Tensor, parameter: Tensor) -> None:
    if x.dtype not in _REDUCED_PRECISION or parameter.dtype != torch.float32:
        raise DTypeError(
            "weight and bias need the dtype of x (or float32 beside a float16 or bfloat16 x), "
            f"got {parameter.dtype} beside {x.dtype}: convert the module or the input, as in "
            "module.to(x.dtype)"
        )


def _per_channel_error(x: Tensor, found: Tensor) -> ChannelError | DeviceError:
    if found.shape != x.shape[1:2]:
        return ChannelError(
            f"weight, bias, running_mean and running_var need shape ({x.shape[1]},), one value "
            f"for each channel of x {tuple(x.shape)}, got {tuple(found.shape)}: "
            "channels are dimension 1 of x, and num_features is their number"
        )
    return _device_error(x, found)


def _device_error(x: Tensor, found: Tensor) -> DeviceError:
    return DeviceError(
        f"all tensors need to be on the same device as x, {x.device}, got one on {found.device}: "
        "move the module or the input, as in module.to(x.device)"
    )


def _check_counter(x: Tensor, counter: Tensor) -> None:
    if counter.dtype != torch.int64 or counter.numel() != 1:
        raise DTypeError(
            "num_batches_tracked needs to be one int64, "
            f"got {counter.numel()} of {counter.dtype}: make it with torch.tensor(0)"
        )
    if counter.device != x.device:
        raise _device_error(x, counter)


def _check_residual(x: Tensor, residual: Tensor) -> None:
    if residual.shape != x.shape:
        raise ShapeError(
            f"residual needs the shape of x {tuple(x.shape)}, got {tuple(residual.shape)}: "
            "expand it first, as in residual.expand_as(x)"
        )
    if residual.dtype != x.dtype:
        raise DTypeError(
            f"residual needs the dtype of x, {x.dtype}, got {residual.dtype}: "
            "convert it, as in residual.to(x.dtype)"
        )
    if residual.device != x.device:
        raise _device_error(x, residual)


def epilogue_of(activation: str | None, negative_slope: float = 0.01) -> Epilogue:
    """Return what the kernels are told of an activation.

    Args:
        activation: ``relu``, ``leaky_relu``, ``silu`` or `None`.
        negative_slope: slope of ``leaky_relu`` below zero.

    Raises:
        OptionError: the activation is unknown, or the slope not positive.

    Example:
        >>> epilogue_of("leaky_relu", 0.2)
        Epilogue(activation='leaky_relu', alpha=0.2)
    """
    if activation is None:
        return PLAIN
    if activation not in _ACTIVATIONS:
        raise OptionError(
            f"activation must be None or one of {', '.join(_ACTIVATIONS)}, got {activation!r}: "
            "put any other behind the layer"
        )
    if activation != "leaky_relu":
        return Epilogue(activation)
    if not negative_slope > 0.0:
        raise OptionError(
            f"negative_slope must be positive, got {negative_slope}: for zero take relu"
        )
    return Epilogue(activation, float(negative_slope))


def _check_eps(eps: float, training: bool) -> None:
    if not (eps > 0.0 or (eps == 0.0 and not training)):  # so that NaN is refused too
        raise OptionError(
            f"eps must be {'positive in training' if training else 'non-negative'}, got {eps}: "
            "the usual value is 1e-5"
        )


def _check_count(x: Tensor) -> int:
    count = x.numel() // max(x.shape[1], 1)
    if count == 1:
        raise CountError(
            "Expected more than 1 value per channel when training, "
            f"got input size {tuple(x.shape)}: "
            "use a larger batch, drop the last incomplete one, or call eval()"
        )
    return count
