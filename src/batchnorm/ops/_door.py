"""Door of the registered operators: everything is checked before an address is taken.

Anyone can call ``torch.ops.batchnorm``, and a compiled program does; the layers come by another
way, on which `functional` has checked.
"""

import torch
from torch import Tensor

from batchnorm.errors import ChannelError, DeviceError, DTypeError, OptionError, ShapeError
from batchnorm.kernels import Call, GradientCall, _mask
from batchnorm.kernels._activations import ACTIVATIONS, needs_residual

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_call(call: Call) -> None:
    """Refuse arguments of a forward that do not go together.

    Raises:
        ShapeError: a tensor has another size than it needs.
        DTypeError: a tensor has a dtype that does not go with `x`, or is not dense.
        DeviceError: a tensor is on another device, or its memory has been freed.
        OptionError: an activation is unknown, or one statistic is given without the other.
    """
    x = call.x
    _check_x(x, call.activation)
    for name, found in zip(("weight", "bias", "mean", "var"), call[1:5], strict=True):
        _check_per_channel(name, found, x)
    if (call.mean is None) != (call.var is None):
        raise OptionError(
            "mean and var are given together or not at all, got one of them: "
            "leave both out to normalize with the statistics of x"
        )
    _check_like(x, call.residual, "residual")


def check_gradient_call(call: GradientCall) -> None:
    """Refuse arguments of a backward that do not go together; errors as those of `check_call`."""
    x = call.x
    _check_x(x, call.activation)
    _check_like(x, call.dy, "dy")
    for name, found in (("weight", call.weight), ("bias", call.bias)):
        _check_per_channel(name, found, x)
    _check_like(x, call.residual, "residual")
    if call.has_residual and call.residual is None and needs_residual(call.activation):
        raise OptionError(
            f"the derivative of {call.activation} needs the residual of the forward, got None: "
            "give it"
        )
    statistics, wanted = call.statistics, (3, x.shape[1])
    if statistics.shape != wanted or statistics.dtype != torch.float64:
        raise ShapeError(
            f"statistics need to be those of the forward, float64 of shape {wanted}, "
            f"got {statistics.dtype} of shape {tuple(statistics.shape)}: "
            "give the forward's second result"
        )
    _check_memory("statistics", statistics, x)
    if not statistics.is_contiguous():
        raise ShapeError(
            f"statistics need to be contiguous, got strides {statistics.stride()}: "
            "call statistics.contiguous()"
        )
    if call.masked and call.mask is not None:
        size = _mask.size(x.numel())
        if call.mask.dtype != torch.uint8 or call.mask.shape != (size,):
            raise ShapeError(
                f"mask needs to be that of the forward, {size} of uint8, "
                f"got {tuple(call.mask.shape)} of {call.mask.dtype}: give its third result"
            )
        _check_memory("mask", call.mask, x)


def _check_x(x: Tensor, activation: str) -> None:
    if x.ndim < 2:  # noqa: PLR2004 -- a batch and a channel dimension
        raise ShapeError(
            f"x needs at least 2 dimensions (N, C, *), got shape {tuple(x.shape)}: "
            "add the batch dimension with x.unsqueeze(0)"
        )
    if x.dtype not in _FLOATING:
        raise DTypeError(
            f"x needs a floating dtype of at most 64 bits, got {x.dtype}: convert it with x.float()"
        )
    if activation not in ACTIVATIONS:
        raise OptionError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}: "
            "put any other behind the operator"
        )
    _check_memory("x", x, x)


def _check_per_channel(name: str, found: Tensor | None, x: Tensor) -> None:
    if found is None:
        return
    if found.shape != x.shape[1:2]:
        raise ChannelError(
            f"{name} needs shape ({x.shape[1]},), one value for each channel of x "
            f"{tuple(x.shape)}, got {tuple(found.shape)}: channels are dimension 1 of x"
        )
    if found.dtype not in _FLOATING:
        raise DTypeError(
            f"{name} needs a floating dtype of at most 64 bits, got {found.dtype}: "
            f"convert it with {name}.float()"
        )
    _check_memory(name, found, x)


def _check_like(x: Tensor, found: Tensor | None, name: str) -> None:
    if found is None:
        return
    if found.shape != x.shape or found.dtype != x.dtype:
        raise ShapeError(
            f"{name} needs the shape and dtype of x, {tuple(x.shape)} of {x.dtype}, "
            f"got {tuple(found.shape)} of {found.dtype}: expand or convert it first"
        )
    _check_memory(name, found, x)


def _check_memory(name: str, found: Tensor, x: Tensor) -> None:
    """Refuse a tensor without the memory that its sizes and strides promise."""
    if found.layout is not torch.strided:
        raise DTypeError(
            f"{name} needs to be a dense tensor, got one of layout {found.layout}: "
            f"convert it with {name}.to_dense()"
        )
    if found.device != x.device:
        raise DeviceError(
            f"all tensors need to be on the same device as x, {x.device}, "
            f"got {name} on {found.device}: move it, as in {name}.to(x.device)"
        )
    if found.numel() == 0 or found.device.type == "meta":
        return
    steps = zip(found.shape, found.stride(), strict=True)
    last = found.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    if found.untyped_storage().nbytes() < (last + 1) * found.itemsize:
        raise DeviceError(
            f"{name} of shape {tuple(found.shape)} needs its memory, got a storage freed or cut to "
            f"{found.untyped_storage().nbytes()} bytes: gather or copy it first, as sharded "
            "training does before a forward"
        )
