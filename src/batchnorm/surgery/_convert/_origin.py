"""Origin of a converted layer: the class of another package that it was, to be given back."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from torch import nn

from batchnorm._model._edit import Edit
from batchnorm._model._find import TO_TORCH, activation_module, activation_of
from batchnorm.nn import Layer
from batchnorm.surgery._change_class import change_class


@dataclass(frozen=True)
class Origin:
    """What a layer was before `convert`. It is kept on the layer, through copies and pickles.

    Attributes:
        kind: its class.
        attributes: names of what it held.
        parts: the modules inside it by name, which are parts of nothing meanwhile.
        buffers: names of its buffers, in their order.
        frozen: whether the class always normalizes with its own statistics, and does not learn.
    """

    kind: type[nn.Module]
    attributes: frozenset[str]
    parts: tuple[tuple[str, nn.Module | None], ...]
    buffers: tuple[str, ...]
    frozen: bool

    @classmethod
    def of(cls, module: nn.Module, *, frozen: bool) -> "Origin":
        """Return what a module is."""
        parts, buffers = module._modules, module._buffers  # noqa: SLF001 -- where torch keeps them
        held = frozenset(vars(module))
        return cls(type(module), held, tuple(parts.items()), tuple(buffers), frozen)

    def serves(self, layer: Layer) -> bool:
        """Return whether the class can do what the layer does now."""
        if self.frozen and not layer.frozen:
            return False
        return "eps" in self.attributes or layer.eps == USUAL_EPS

    @property
    def activated(self) -> bool:
        """Whether an activation was inside."""
        return any(type(part) is not nn.Identity for part in self._activations())

    def give_back(self, layer: Layer, changes: Edit, *, elsewhere: bool) -> None:
        """Make a layer what it was, with the values that it has now.

        Args:
            layer: one that this class serves.
            changes: undoes it.
            elsewhere: whether its activation goes to another place.
        """
        parts = dict(self.parts)
        if not elsewhere and "act" in parts:
            parts["act"] = self._activation(layer)
        mode = layer.training
        if self.frozen:
            layer.unfreeze()
        change_class(layer, TO_TORCH[type(layer)], changes)
        if self.frozen:
            self._buffer(layer)
        module: Any = layer
        for name in vars(module).keys() - self.attributes:
            del vars(module)[name]
        for name, part in parts.items():
            module._modules[name] = None if part is None else part.train(mode)  # noqa: SLF001
        module.__class__ = self.kind

    def _activations(self) -> list[nn.Module]:
        return [part for name, part in self.parts if name == "act" and part is not None]

    def _activation(self, layer: Layer) -> nn.Module:
        """Return the activation that was inside, or what the layer does now in its place."""
        known = [part for part in self._activations() if _does(part, layer)]
        return known[0] if known else activation_module(layer)

    def _buffer(self, layer: nn.Module) -> None:
        """Make buffers of a layer's parameters, and leave out what was not there."""
        values = {**layer._buffers, **layer._parameters}  # noqa: SLF001 -- where torch keeps them
        layer._parameters.clear()  # noqa: SLF001
        layer._buffers.clear()  # noqa: SLF001
        for name in self.buffers:
            value = values[name]
            layer.register_buffer(name, None if value is None else value.detach())


USUAL_EPS = 1e-5  # of the frozen layers that have no attribute for it


def origin_of(layer: Layer, without: Container[nn.Module] = ()) -> Origin | None:
    """Return what a layer was before `convert`, where that can do what it does now.

    Args:
        layer: of ours.
        without: layers to which a residual is given, before their activation.
    """
    origin: Origin | None = layer._origin  # noqa: SLF001 -- the layers' other half
    if origin is None or not origin.serves(layer):
        return None
    return None if origin.activated and layer in without else origin


def _does(activation: nn.Module, layer: Layer) -> bool:
    """Return whether a module does what a layer does after normalizing."""
    options = activation_of(activation)
    if options is None:
        return type(activation) is nn.Identity and layer.activation is None
    return all(getattr(layer, name) == value for name, value in options.items())
