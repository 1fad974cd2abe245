"""Input validation of the public functions, and its messages."""

import math

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
    TransformError,
)
from batchnorm.functional._kinds import check_dense, refuse_dtype

_REDUCED_PRECISION = (torch.float16, torch.bfloat16)
_FLOATING = (torch.float32, torch.float64, *_REDUCED_PRECISION)


def check_input(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    """Refuse an input and parameters that do not go together."""
    if ops.tracing():  # which warns of every size that is looked at
        return
    if type(x) is not Tensor or x.layout is not torch.strided or x.is_nested:
        check_dense(x)
    if x.ndim < 2:  # noqa: PLR2004 -- a batch and a channel dimension
        raise ShapeError(
            f"x needs at least 2 dimensions (N, C, *), got shape {tuple(x.shape)}: "
            "add the batch dimension with x.unsqueeze(0)"
        )
    dtype, shape, on_cpu = x.dtype, x.shape[1:2], x.is_cpu
    if dtype not in _FLOATING:
        refuse_dtype(x)
    for found in (weight, bias):
        if found is not None:
            if found.dtype is not dtype:
                check_parameter_dtype(x, found)
            if found.shape != shape or not _beside(found, x, on_cpu):
                raise _per_channel_error(x, found)


def check_statistics(x: Tensor, mean: Tensor | None, var: Tensor | None) -> None:
    """Refuse running statistics that do not go with the input."""
    if ops.tracing():
        return
    shape, on_cpu = x.shape[1:2], x.is_cpu
    for found in (mean, var):
        if found is not None:
            if found.shape != shape or not _beside(found, x, on_cpu):
                raise _per_channel_error(x, found)
            if not found.is_floating_point():
                raise DTypeError(
                    "running_mean and running_var need a floating dtype, "
                    f"got {found.dtype}: convert them, as in running_mean.float()"
                )


def _beside(found: Tensor, x: Tensor, on_cpu: bool) -> bool:
    """Return whether a tensor is on the device of `x`; a CPU is asked for faster than a device."""
    return found.is_cpu if on_cpu else found.device == x.device


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
    if found.dtype is not torch.int64 or found.numel() != 1:
        raise DTypeError(
            f"{name} needs to be one int64, "
            f"got {found.numel()} of {found.dtype}: make it with torch.tensor(0)"
        )
    if not _beside(found, x, x.is_cpu):
        raise _device_error(x, found)


def check_residual(x: Tensor, residual: Tensor | None) -> Tensor | None:
    """Return the residual as it is added; under autocast, in the dtype of `x`."""
    if residual is None:
        return None
    check_dense(residual, "residual")
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


def check_eps(eps: float, training: bool) -> None:
    """Refuse an `eps` that cannot keep the division finite."""
    if not (0.0 < eps < math.inf or (eps == 0.0 and not training)):  # so that NaN is refused too
        wanted = "positive in training" if training else "non-negative"
        raise OptionError(
            f"eps must be {wanted}{' and finite' if eps == math.inf else ''}, got {eps}: "
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


def check_finite(mean: Tensor, var: Tensor) -> None:
    """Refuse statistics that are not finite; waits for the device."""
    if ops.mapped(mean):
        raise TransformError(
            "nonfinite='raise' has to look at the statistics of a batch, got those of all members "
            "of a vmap: choose nonfinite='skip', which counts in batches_skipped"
        )
    finite = mean.isfinite().logical_and(var.isfinite())
    if not finite.all():  # and not bool(...): a compiler can split its graph at the one only
        channels = finite.logical_not().nonzero().flatten().tolist()
        shown = ", ".join(map(str, channels[:5])) + (", ..." if len(channels) > 5 else "")  # noqa: PLR2004
        raise NonFiniteError(
            f"the statistics of the batch need to be finite, got NaN or Inf in {len(channels)} of "
            f"{len(finite)} channels ({shown}): look for it in the layer's input, or choose "
            "nonfinite='skip'"
        )
