"""Memory layout of outputs that are put together from parts."""

import torch
from torch import Tensor


def laid_out(y: Tensor, x: Tensor) -> Tensor:
    """Return `y` with the strides that an elementwise operation on `x` gives its output."""
    wanted = torch.empty_like(x, device="meta")
    if y.stride() == wanted.stride():
        return y
    return torch.empty_like(x, dtype=y.dtype).copy_(y)
