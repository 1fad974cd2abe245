"""Changes to a model in place, undone if anything raises."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm.errors import SurgeryError

_ABSENT = object()


@contextmanager
def edit(model: nn.Module) -> Iterator["Edit"]:
    """Give an object that changes `model`, and undo all its changes if the block raises.

    Args:
        model: the model; it stays the same object.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(3))
        >>> with edit(model) as changes:
        ...     changes.replace(model[0], nn.Identity())
        ['0']
        >>> model
        Sequential(
          (0): Identity()
        )
    """
    changes = Edit(model)
    try:
        yield changes
    except BaseException:
        changes.undo()
        raise


class Edit:
    """The changes made so far, and how to undo each.

    Every method changes the model at once. Nothing is written anywhere else: whoever changes a
    model by other means has to undo that as well, or hand its undoing to `on_undo`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._undo = ExitStack()  # calls the last one first, and goes on when one raises

    def replace(self, old: nn.Module, new: nn.Module) -> list[str]:
        """Put `new` wherever the model has `old`: a shared module stays shared.

        Args:
            old: a module of the model, but not the model itself.
            new: what takes its place; keeps its own mode, hooks and device.

        Returns:
            All qualified names that `old` had.

        Raises:
            SurgeryError: `old` is the model itself, or no part of it.
        """
        if old is self._model:
            raise SurgeryError(
                f"a module inside the model is needed, got the model itself ({type(old).__name__}),"
                " which cannot be replaced in place: wrap it, as in torch.nn.Sequential(model)"
            )
        names = []
        for prefix, parent in list(self._model.named_modules()):
            for name, child in list(parent._modules.items()):  # noqa: SLF001 -- named_children hides a second name
                if child is old:
                    self._put(parent._modules, name, new)  # noqa: SLF001 -- setattr refuses some names
                    names.append(f"{prefix}.{name}" if prefix else name)
        if not names:
            raise SurgeryError(
                f"a module of the model is needed, got a {type(old).__name__} outside it: "
                "take it from model.named_modules()"
            )
        return names

    def remove(self, name: str) -> None:
        """Take the module of this qualified name out of the model."""
        path, _, last = name.rpartition(".")
        registry = self._model.get_submodule(path)._modules  # noqa: SLF001 -- where torch keeps them
        saved = dict(registry)
        self.on_undo(lambda: _refill(registry, saved))  # in their order
        del registry[last]

    def set_parameter(self, module: nn.Module, name: str, value: nn.Parameter | None) -> None:
        """Put another parameter, or none, under a name; prefer `copy_`, which optimizers follow."""
        self._put(module._parameters, name, value)  # noqa: SLF001 -- where torch keeps them

    def set_buffer(self, module: nn.Module, name: str, value: Tensor | None) -> None:
        """Put another buffer, or none, under a name; whether it is persistent does not change."""
        self._put(module._buffers, name, value)  # noqa: SLF001 -- where torch keeps them

    def set_attribute(self, module: nn.Module, name: str, value: Any) -> None:
        """Set a plain attribute: no parameter, buffer or module."""
        self._put(vars(module), name, value)

    def copy_(self, target: Tensor, value: Tensor) -> None:
        """Overwrite a parameter's or buffer's values; the tensor stays the same object."""
        saved = target.detach().clone()
        self.on_undo(lambda: _overwrite(target, saved))
        _overwrite(target, value)

    def on_undo(self, action: Callable[[], None]) -> None:
        """Have `action` called when the changes are undone, before the earlier ones."""
        self._undo.callback(action)

    def undo(self) -> None:
        """Take back all changes, the last one first."""
        self._undo.close()

    def _put(self, registry: dict[str, Any], name: str, value: Any) -> None:
        before = registry.get(name, _ABSENT)
        self.on_undo(lambda: _restore(registry, name, before))
        registry[name] = value


def _restore(registry: dict[str, Any], name: str, before: Any) -> None:
    if before is _ABSENT:
        registry.pop(name, None)
    else:
        registry[name] = before


def _refill(registry: dict[str, Any], saved: dict[str, Any]) -> None:
    registry.clear()
    registry.update(saved)


@torch.no_grad()
def _overwrite(target: Tensor, value: Tensor) -> None:
    target.copy_(value)
