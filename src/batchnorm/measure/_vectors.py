"""Lengths and angles of tensors taken together as one vector, summed in float64."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def norm(tensors: Iterable[Tensor]) -> float:
    """Return the Euclidean norm.

    Example:
        >>> norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
        5.0
    """
    return math.hypot(
        *(torch.linalg.vector_norm(tensor, dtype=torch.float64).item() for tensor in tensors)
    )


@torch.no_grad()
def distance(first: Iterable[Tensor], second: Iterable[Tensor]) -> float:
    """Return the Euclidean distance, the differences taken in float64."""
    return norm(a.double() - b.double() for a, b in zip(first, second, strict=True))


@torch.no_grad()
def cosine(first: Iterable[Tensor], second: Iterable[Tensor]) -> float:
    """Return the cosine of the angle; NaN where one of them is zero."""
    first, second = list(first), list(second)
    product = sum(
        torch.dot(a.double().flatten(), b.double().flatten()).item()
        for a, b in zip(first, second, strict=True)
    )
    found = ratio(product, norm(first) * norm(second))
    return found if math.isnan(found) else max(-1.0, min(1.0, found))  # rounding may go beyond


def ratio(part: float, whole: float) -> float:
    """Return the quotient; NaN where the whole is zero.

    Example:
        >>> ratio(1.0, 0.0)
        nan
    """
    return part / whole if whole else math.nan
