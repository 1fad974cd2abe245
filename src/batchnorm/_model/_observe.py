"""Data flow between modules, recorded with hooks in one forward pass on real tensors."""

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from batchnorm._model._call import tensors
from batchnorm._model._find import has_hooks


@dataclass
class Observation:
    """What one forward pass showed of one module.

    Attributes:
        calls: how often it was called.
        shape: of its last result, where that is one tensor.
        dtype: of that result.
        plain: whether its last call took nothing but ``input``, and gave a tensor of its dtype.
        source: the watched module whose result it took, unchanged, as its only tensor argument.
        onlookers: modules with hooks that its result passed, entering or leaving.
    """

    calls: int = 0
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    plain: bool = False
    source: nn.Module | None = None
    onlookers: set[nn.Module] = field(default_factory=set)


@contextmanager
def observed(
    model: nn.Module, watched: Iterable[nn.Module]
) -> Iterator[dict[nn.Module, Observation]]:
    """Watch what the model does inside, and leave no hooks behind.

    Args:
        model: the model that will run.
        watched: modules of it.

    Example:
        >>> import torch
        >>> first, second = nn.Linear(3, 4), nn.BatchNorm1d(4)
        >>> model = nn.Sequential(first, second)
        >>> with observed(model, model) as seen:
        ...     _ = model(torch.randn(2, 3))
        >>> seen[second].source is first, seen[first].shape
        (True, (2, 4))
    """
    hooked = {module for module in model.modules() if has_hooks(module)}
    observer = _Observer({module: Observation() for module in watched}, hooked)
    with ExitStack() as stack:
        for module in hooked | observer.seen.keys():
            # First in line, before a hook of the owner's may give another tensor.
            for handle in (
                module.register_forward_pre_hook(observer.enter, prepend=True, with_kwargs=True),
                module.register_forward_hook(observer.leave, prepend=True, with_kwargs=True),
            ):
                stack.callback(handle.remove)
        yield observer.seen


class _Observer:
    def __init__(self, seen: dict[nn.Module, Observation], hooked: set[nn.Module]) -> None:
        self.seen = seen
        self._hooked = hooked
        self._maker: MutableMapping[Tensor, nn.Module] = WeakTensorKeyDictionary()

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        taken = list(tensors((args, kwargs)))
        self._look_on(module, taken)
        if module in self.seen:
            self.seen[module].calls += 1
            self.seen[module].source = self._maker.get(taken[0]) if len(taken) == 1 else None

    def leave(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self._look_on(module, tensors(output))
        if module in self.seen and isinstance(output, Tensor):
            seen = self.seen[module]
            seen.shape, seen.dtype = tuple(output.shape), output.dtype
            taken: Any = args[0] if args else kwargs.get("input")  # torch's own name for it
            alone = len(args) + len(kwargs) == 1 and isinstance(taken, Tensor)
            seen.plain = alone and taken.dtype == output.dtype
            self._maker[output] = module

    def _look_on(self, module: nn.Module, passing: Iterable[Tensor]) -> None:
        if module in self._hooked:
            for tensor in passing:
                if maker := self._maker.get(tensor):
                    self.seen[maker].onlookers.add(module)
