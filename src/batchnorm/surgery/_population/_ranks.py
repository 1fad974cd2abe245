"""All-gather of the results of all processes, in the same order in each."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

from batchnorm.errors import RunError

T = TypeVar("T")


def all_gather(compute: Callable[[], T], *, distributed: bool) -> list[T]:
    """Return what `compute` returns in every process, in order of rank.

    An exception in one process is raised in all, which would otherwise wait for it.

    Args:
        compute: what each process does by itself. Its result must be picklable and on the CPU.
        distributed: whether to ask the other processes, where there are any.

    Raises:
        RunError: `compute` raised in another process.

    Example:
        >>> all_gather(lambda: 7, distributed=True)  # alone
        [7]
    """
    if not (distributed and dist.is_available() and dist.is_initialized()):
        return [compute()]
    result: T | None = None
    failure: Exception | None = None
    try:
        result = compute()
    except Exception as error:  # noqa: BLE001 -- raised below, when the others know
        failure = error
    answers: list[tuple[T, str | None]] = [None] * dist.get_world_size()  # type: ignore[list-item] # filled below
    dist.all_gather_object(answers, (result, failure and f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    for rank, (_, reason) in enumerate(answers):
        if reason is not None:
            raise RunError(
                f"all processes need to get through their batches, but rank {rank} raised "
                f"{reason}: nothing was changed in any of them"
            )
    return [answer for answer, _ in answers]
