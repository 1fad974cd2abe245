"""Memory traffic: the fewest bytes that a normalization can move, which GB/s count."""

from batchnorm.bench._cases import Case


def minimal_bytes(case: Case, direction: str, tensor_bytes: int) -> int:
    """Return the bytes that must be read and written once, however clever the kernel.

    Forward and inference read the input (and the residual) and write the output. Backward reads
    the incoming gradient and the input and writes the gradient of the input; behind a residual it
    also writes the residual's. What there is per channel, and a mask of one bit a value, do not
    count. A ReLU adds nothing: its mask follows from the input.

    Args:
        case: what is timed.
        direction: one of `cases.DIRECTIONS`.
        tensor_bytes: bytes of the input.

    Example:
        >>> from batchnorm.bench._cases import Case
        >>> plain, added = Case("sites", "", (8, 4)), Case("add-relu", "", (8, 4), True, True)
        >>> [minimal_bytes(plain, d, 1) for d in ("forward", "backward", "forward-backward")]
        [2, 3, 5]
        >>> [minimal_bytes(added, d, 1) for d in ("forward", "backward", "inference")]
        [3, 4, 3]
    """
    if direction == "forward-backward":
        parts = ("forward", "backward")
        return sum(minimal_bytes(case, part, tensor_bytes) for part in parts)
    tensors = 3 if direction == "backward" else 2
    return (tensors + case.residual) * tensor_bytes


def copy_bytes(tensor_bytes: int) -> int:
    """Return the bytes that a copy moves: read once, written once."""
    return 2 * tensor_bytes
