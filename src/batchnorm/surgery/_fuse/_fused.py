"""Fused activations: the identity that a fusion leaves in a model, and its report."""

from typing import NamedTuple, TypeGuard

from torch import nn

from batchnorm._model._find import TO_TORCH, activation_module, activation_of
from batchnorm.nn import Layer

HOOKED = "it has hooks, which expect its output without an activation"


class Fused(nn.Identity):
    """Identity in the place of an activation that the layer before it now does.

    Attributes:
        layer: the layer, in a tuple, so that it is not a part of this module.
        activation: the activation that was here, in a tuple likewise.
    """

    def __init__(self, layer: Layer, activation: nn.Module) -> None:
        super().__init__()
        self.layer = (layer,)
        self.activation = (activation,)
        self.training = activation.training

    def give_back(self) -> nn.Module:
        """Return the activation that was here, or what the layer does now in its place."""
        [layer], [activation] = self.layer, self.activation
        if layer.activation is None:
            return nn.Identity()
        options = activation_of(activation) or {}
        if any(getattr(layer, name) != value for name, value in options.items()):
            activation = activation_module(layer)
        return activation.train(self.training)

    def extra_repr(self) -> str:
        """Return what was here."""
        return repr(self.activation[0])


class Fusion(NamedTuple):
    """What became of one layer: with what it was fused, or why with nothing."""

    done: bool
    words: str


def is_plain(module: nn.Module) -> TypeGuard[Layer]:
    """Return whether a module is a layer of ours that only normalizes."""
    return isinstance(module, Layer) and type(module) in TO_TORCH and module.activation is None
