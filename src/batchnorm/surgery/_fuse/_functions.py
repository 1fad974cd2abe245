"""Functions and methods of a graph that our layers can do as an activation, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from batchnorm._model._find import activation_of
from batchnorm.nn import Layer

_NAMES: dict[Any, str] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    Tensor.relu: "relu",
    Tensor.relu_: "relu",
    F.silu: "silu",
    F.relu6: "relu6",
    F.hardswish: "hardswish",
    F.hardsigmoid: "hardsigmoid",
    F.sigmoid: "sigmoid",
    torch.sigmoid: "sigmoid",
    torch.sigmoid_: "sigmoid",
    torch.special.expit: "sigmoid",
    F.tanh: "tanh",
    torch.tanh: "tanh",
    torch.tanh_: "tanh",
    **{name + end: name for name in ("relu", "sigmoid", "tanh") for end in ("", "_")},
}
# Those with a parameter, and the module that takes it by the same name.
_WITH_PARAMETER: dict[Any, type[nn.Module]] = {
    F.leaky_relu: nn.LeakyReLU,
    F.leaky_relu_: nn.LeakyReLU,
    F.gelu: nn.GELU,
    F.elu: nn.ELU,
    F.elu_: nn.ELU,
}
_PARAMETER = {nn.LeakyReLU: "negative_slope", nn.GELU: "approximate", nn.ELU: "alpha"}
# How the operators of torch are called, which a graph of operators has.
FUNCTIONS = frozenset(
    {"relu", "leaky_relu", "silu", "hardtanh", "relu6", "hardswish", "hardsigmoid", "sigmoid"}
    | {"tanh", "elu", "gelu"}
)


def options_of(
    target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the options of our layer that do what a call does, `None` where there are none.

    Args:
        target: the function, or the name of the method.
        args: what it is called with, after the tensor.
        kwargs: likewise.

    Example:
        >>> options_of(F.leaky_relu, (0.2,), {})
        {'activation': 'leaky_relu', 'negative_slope': 0.2}
    """
    if kind := _WITH_PARAMETER.get(target):
        name = _PARAMETER[kind]
        given = dict(zip((name,), args, strict=False))
        given |= {key: value for key, value in kwargs.items() if key == name}
        usable = all(isinstance(value, float | int | str) for value in given.values())
        return activation_of(kind(**given)) if usable else None
    word = _NAMES.get(target)
    return {"activation": word} if word else None


def function_of(layer: Layer) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the function that does a layer's activation, and what it takes after the tensor."""
    match layer.activation:
        case "leaky_relu":
            return F.leaky_relu, (layer.negative_slope,), {}
        case "gelu_tanh":
            return F.gelu, (), {"approximate": "tanh"}
    return getattr(F, str(layer.activation)), (), {}
