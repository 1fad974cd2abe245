"""What the doors check, and what they say."""

import torch
from torch import Tensor

from batchnorm import ops
from batchnorm.errors import (
    ChannelError,
    CountError,
    DeviceError,
    DTypeError,
    NonFiniteError,
    OptionError,
    ShapeError,
)
from batchnorm.kernels import PLAIN, Epilogue, Running

_REDUCED_PRECISION = (torch.float16, torch.bfloat16)
_FULL_PRECISION = (torch.float32, torch.float64)
_NONFINITE = ("skip", "propagate", "raise")
_ACTIVATIONS = ("relu", "leaky_relu", "silu")


def check_input(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *running: Tensor | None
) -> None:
    """Refuse an input, parameters and running statistics that do not go together."""
    if ops.tracing():  # which warns of every size that is looked at
        return
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
            check_parameter_dtype(x, parameter)
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


def check_parameter_dtype(x: Tensor, parameter: Tensor) -> None:
    """Refuse a parameter of another dtype than `x`, unless it is float32 beside 16 bits."""
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


def check_counter(x: Tensor, found: Tensor | None, name: str) -> None:
    """Refuse a counter that is not one int64 beside `x`."""
    if found is None:
        return
    if found.dtype != torch.int64 or found.numel() != 1:
        raise DTypeError(
            f"{name} needs to be one int64, "
            f"got {found.numel()} of {found.dtype}: make it with torch.tensor(0)"
        )
    if found.device != x.device:
        raise _device_error(x, found)


def check_residual(x: Tensor, residual: Tensor | None) -> Tensor | None:
    """Return the residual as it is added; under autocast, in the dtype of `x`."""
    if residual is None:
        return None
    if not ops.tracing() and residual.shape != x.shape:
        raise ShapeError(
            f"residual needs the shape of x {tuple(x.shape)}, got {tuple(residual.shape)}: "
            "expand it first, as in residual.expand_as(x)"
        )
    if residual.dtype != x.dtype and torch.is_autocast_enabled(x.device.type):
        residual = residual.to(x.dtype)
    if residual.dtype != x.dtype:
        raise DTypeError(
            f"residual needs the dtype of x, {x.dtype}, got {residual.dtype}: "
            "convert it, as in residual.to(x.dtype)"
        )
    if residual.device != x.device:
        raise _device_error(x, residual)
    return residual


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


def check_eps(eps: float, training: bool) -> None:
    """Refuse an `eps` that cannot keep the division finite."""
    if not (eps > 0.0 or (eps == 0.0 and not training)):  # so that NaN is refused too
        raise OptionError(
            f"eps must be {'positive in training' if training else 'non-negative'}, got {eps}: "
            "the usual value is 1e-5"
        )


def check_count(x: Tensor) -> int:
    """Return the number of values per channel, and refuse one."""
    count = x.numel() // max(x.shape[1], 1)
    if count == 1:
        raise CountError(
            "Expected more than 1 value per channel when training, "
            f"got input size {tuple(x.shape)}: "
            "use a larger batch, drop the last incomplete one, or call eval()"
        )
    return count


def check_options(
    activation: str | None, negative_slope: float, nonfinite: str, correction: int
) -> None:
    """Refuse options that no forward would take."""
    epilogue_of(activation, negative_slope)
    check_tracking(nonfinite, correction)


def check_tracking(nonfinite: str, correction: int) -> None:
    """Refuse options that do not say how the running statistics move."""
    if nonfinite not in _NONFINITE:
        raise OptionError(
            f"nonfinite must be one of {', '.join(_NONFINITE)}, got {nonfinite!r}: "
            "skip keeps the running statistics finite"
        )
    if correction not in (0, 1):
        raise OptionError(
            f"correction must be 0 or 1, got {correction}: "
            "1 stores the unbiased variance, as torch, and 0 the biased one"
        )


def running_of(
    mean: Tensor | None,
    var: Tensor | None,
    counter: Tensor | None,
    momentum: float | Tensor | None,
    nonfinite: str,
    skipped: Tensor | None,
    correction: int,
) -> Running | None:
    """Return what moves, `None` where nothing does.

    Raises:
        OptionError: the momentum is `None`, and there is no counter.
    """
    if mean is None and var is None and counter is None:
        return None
    if momentum is None and counter is None:
        raise OptionError(
            "momentum=None averages all batches so far and needs their number, "
            "got num_batches_tracked=None: give the counter, or a momentum"
        )
    return Running(mean, var, counter, momentum, nonfinite == "skip", skipped, correction)


def check_finite(mean: Tensor, var: Tensor) -> None:
    """Refuse statistics that are not finite; waits for the device."""
    finite = mean.isfinite().logical_and(var.isfinite())
    if not finite.all():  # and not bool(...): a compiler can split its graph at the one only
        channels = finite.logical_not().nonzero().flatten().tolist()
        shown = ", ".join(map(str, channels[:5])) + (", ..." if len(channels) > 5 else "")  # noqa: PLR2004
        raise NonFiniteError(
            f"the statistics of the batch need to be finite, got NaN or Inf in {len(channels)} of "
            f"{len(finite)} channels ({shown}): look for it in the layer's input, or choose "
            "nonfinite='skip'"
        )
