"""Kinds of input that are no dense tensor, and what to do with each."""

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from batchnorm.errors import DTypeError

_PAD = "pad it and give a mask: batch normalization has to know which positions are data"


def check_dense(x: Any, name: str = "x") -> None:
    """Refuse what is no dense tensor, before an error from inside does.

    Raises:
        DTypeError: it is a sequence, an array, or a tensor of another layout.

    Example:
        >>> check_dense(torch.eye(3).to_sparse())
        Traceback (most recent call last):
        batchnorm.errors.DTypeError: x needs to be a dense tensor, got a tensor of layout \
torch.sparse_coo: convert it with x.to_dense()
    """
    if not isinstance(x, Tensor):
        raise _refused(name, f"a {type(x).__name__}", _instead(x, name))
    if x.is_nested:
        padded = f"torch.nested.to_padded_tensor({name}, 0.0)"
        raise _refused(name, "a nested tensor", f"{_PAD}, as with {padded}")
    if isinstance(x, torch.masked.MaskedTensor):
        raise _refused(
            name, "a MaskedTensor", f"give {name}.get_data(), and {name}.get_mask() as mask="
        )
    if x.layout is not torch.strided:
        way = f"convert it with {name}.to_dense()"
        raise _refused(name, f"a tensor of layout {x.layout}", way)


def check_tensors(**given: Any) -> None:
    """Refuse what goes with an input and is neither a dense tensor nor left out.

    Raises:
        DTypeError: it is a sequence, an array, or a tensor of another layout.
    """
    for name, value in given.items():
        if value is not None:
            check_dense(value, name)


def refuse_dtype(x: Tensor) -> NoReturn:
    """Refuse an input whose dtype is not floating, and say what to make of it."""
    if x.is_complex():
        way = (
            "give its real and imaginary parts as channels, for instance from torch.view_as_real(x)"
        )
    elif x.is_quantized:
        way = "convert it with x.dequantize()"
    else:
        way = "convert it with x.float()"
    raise DTypeError(f"x needs a floating dtype of at most 64 bits, got {x.dtype}: {way}")


def _instead(x: Any, name: str) -> str:
    if isinstance(x, PackedSequence):
        return f"{_PAD}, as with torch.nn.utils.rnn.pad_packed_sequence({name}, batch_first=True)"
    if isinstance(x, list | tuple):
        return (
            f"stack what has one shape with torch.stack(list({name})); where lengths differ, {_PAD}"
        )
    if hasattr(x, "__array__"):
        return f"convert it with torch.as_tensor({name})"
    return "give a torch.Tensor of shape (N, C, *)"


def _refused(name: str, found: str, way: str) -> DTypeError:
    return DTypeError(f"{name} needs to be a dense tensor, got {found}: {way}")
