"""Memory layout of outputs that are put together from parts."""

import torch
from torch import Tensor

from batchnorm import ops


def laid_out(y: Tensor, x: Tensor) -> Tensor:
    """Return `y` with the strides that an elementwise operation on `x` gives its output."""
    if ops.tracing():  # a program has no strides to keep
        return y
    wanted = torch.empty_like(x, device="meta")
    if y.stride() == wanted.stride():
        return y
    return torch.empty_like(x, dtype=y.dtype).copy_(y)
