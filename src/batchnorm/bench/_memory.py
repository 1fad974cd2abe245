"""Memory: the peak of a job, and what a forward pass keeps for the backward pass."""

import os
from collections.abc import Callable, Iterable
from itertools import accumulate

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def peak(job: Callable[[], object]) -> int:
    """Return the largest number of bytes that a job had allocated at once, above its start.

    PyTorch's profiler reports each allocation and each release of its allocator; the peak is the
    largest running sum. What the job returns counts while the job runs.

    Args:
        job: what to watch, called once.

    Example:
        >>> peak(lambda: torch.empty(1000).clone())
        8000
    """
    # Else kineto writes two lines on stderr for each profile.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with torch.autograd.profiler.profile(use_cpu=True, profile_memory=True) as profile:
        job()
    events = profile.kineto_results.events()
    records = [(e.start_ns(), int(e.nbytes())) for e in events if e.name() == "[memory]"]
    changes = (change for _, change in sorted(records, key=lambda record: record[0]))
    return max(accumulate(changes, initial=0))


def kept(forward: Callable[[], object], parameters: Iterable[Tensor]) -> int:
    """Return the bytes that a forward pass keeps for its backward pass, parameters left out.

    The input counts where it is kept: it could otherwise be released. Tensors that share their
    storage count once.

    Args:
        forward: returns the output, with gradients enabled.
        parameters: what does not count.

    Example:
        >>> x = torch.zeros(1000, requires_grad=True)
        >>> kept(lambda: x.exp(), []), kept(lambda: x + 1, [])
        (4000, 0)
    """
    found: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward()
    sizes = dict(map(_storage, found))
    for parameter in parameters:
        sizes.pop(_storage(parameter)[0], None)
    del y
    return sum(sizes.values())


def _storage(tensor: Tensor) -> tuple[int, int]:
    """Return what identifies the memory of a tensor, and its size."""
    if tensor.layout == torch.strided:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    return id(tensor), tensor.numel() * tensor.element_size()  # an opaque one is never a view
