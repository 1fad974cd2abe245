"""Mask of one bit a value, kept for the backward pass; all backends agree on its size.

What a bit's place is, only the backend that wrote it knows; the last byte says which one that was.
"""

import torch
from torch import Tensor

from batchnorm.errors import BackendError

EAGER, CPU = 0, 1


def size(values: int) -> int:
    """Return the bytes of a mask: a bit a value, and room for rows that end within a word."""
    return values // 8 + values // 32 + 512


def pack(bits: Tensor) -> Tensor:
    """Return a mask of booleans, in the order of their logical positions."""
    flat = bits.flatten()
    whole = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).reshape(-1, 8)
    packed = (whole * _powers(bits.device)).sum(1, dtype=torch.uint8)
    mask = packed.new_full((size(flat.numel()),), EAGER)
    mask[: packed.numel()] = packed
    return mask


def unpack(mask: Tensor | None, like: Tensor) -> Tensor:
    """Return the booleans of a mask, in the shape of `like`."""
    mask = checked(mask, EAGER)
    packed = mask[: -(-like.numel() // 8)]
    bits = (packed[:, None] & _powers(mask.device)).ne(0)
    return bits.flatten()[: like.numel()].reshape(like.shape)


def _powers(device: torch.device) -> Tensor:
    """Return 1, 2, 4, ..., 128, made where they are needed: copying them there would wait."""
    return 1 << torch.arange(8, dtype=torch.uint8, device=device)


def checked(mask: Tensor | None, writer: int) -> Tensor:
    """Return the mask if `writer` wrote it; on other devices than the CPU there is one writer only.

    Raises:
        BackendError: another backend wrote it, or there is none.
    """
    if mask is None or (mask.device.type == "cpu" and mask[-1] != writer):
        raise BackendError(
            "backward needs the backend of its forward, got the mask of another one: "
            "run both inside the same batchnorm.backend(...) block"
        )
    return mask
