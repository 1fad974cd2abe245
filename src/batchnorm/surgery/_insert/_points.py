"""Insertion points: where batch normalization can follow the linear maps of a network."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from batchnorm._model._graph import Graph, Step
from batchnorm._model._linear import is_linear_map, result_ndim

_NONLINEAR = {
    "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "glu",
    "softplus", "sigmoid", "log_sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish",
    "hardshrink", "softshrink", "threshold", "clamp", "clamp_min", "maximum", "minimum", "abs",
    "erf", "exp", "sin", "cos", "relu6", "softsign", "tanhshrink", "clip", "clamp_max",
    "special_expit",
}  # fmt: skip
# Maps that are no module here: they too begin something that the batch's statistics do not cross.
_MAPS = {
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "convolution", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum",
    "bilinear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention",
    "multi_head_attention_forward", "tensordot", "inner",
}  # fmt: skip
_NO_NONLINEARITY = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)


class Point(NamedTuple):
    """A place for a batch normalization layer.

    Attributes:
        module: qualified name of the module that it follows.
        channels: of that module's result.
        ndim: of that module's result, ``(N, C, *)``.
    """

    module: str
    channels: int
    ndim: int


class Points:
    """The places in one graph.

    Args:
        model: the model.
        graph: its forward pass in one mode.
        after_activation: look for the place behind the activation, not before it.
    """

    def __init__(self, model: nn.Module, graph: Graph, *, after_activation: bool) -> None:
        self._modules = dict(model.named_modules())
        self._graph = graph
        self._after_activation = after_activation

    def of(self, name: str) -> tuple[Point | None, str]:
        """Return the place that goes with a linear map, and what custom has against it.

        Where something forbids it, there is no place.
        """
        call = self._only_call(name)
        if isinstance(call, str):
            return None, call
        against = self._against(call)
        if self._after_activation:
            call = self._activation_of(call)
            if isinstance(call, str):
                return None, call
            against = against or self._normalized(call)
        expected = result_ndim(self._modules[name])
        shape = call.shape
        if shape is None or len(shape) != expected:
            found = "several tensors" if shape is None else f"shape {shape}"
            return None, f"its result is {found}, not (N, C, *) of {expected}D"
        return Point(call.module, shape[1], expected), against

    def _only_call(self, name: str) -> Step | str:
        calls = self._graph.calls_of(name)
        if len(calls) > 1:
            return f"it is called {len(calls)} times, each with other statistics"
        if not calls:
            return "it is not called with these inputs"
        if name in self._graph.exposed:
            return "its parameters are read past it"
        return calls[0]

    def _activation_of(self, call: Step) -> Step | str:
        """Return the call of the activation module that alone follows a linear map."""
        follower = self._graph.only_user(call)
        if follower is None:
            return "its result is used at several places"
        if not follower.module or not self._is_nonlinear(follower):
            return f"no activation module follows it, but {follower.op}"
        if len(self._graph.calls_of(follower.module)) > 1:
            return f"its activation {follower.module} is called at several places"
        return follower

    def _against(self, call: Step) -> str:
        """Return what custom has against normalizing a result, or nothing."""
        if normalized := self._normalized(call):
            return normalized
        followers = list(self._followers(call))
        if any(follower.op == "output" for follower in followers):
            return "its result is an output of the model"
        if not any(self._is_nonlinear(follower) for follower in followers):
            return "no nonlinearity follows it before the next linear map"
        if not self._maps_behind(call):
            return "it is an output layer: no linear map comes after it"
        return ""

    def _normalized(self, call: Step) -> str:
        for follower in self._followers(call):
            if self._is_norm(follower):
                return f"{follower.module or follower.op} normalizes it already"
        return ""

    def _followers(self, call: Step) -> Iterator[Step]:
        """Yield the first steps behind a call that are more than passing on."""
        seen, open_ = set[int](), list(call.users)
        while open_:
            index = open_.pop()
            if index in seen:
                continue
            seen.add(index)
            step = self._graph.calls[index]
            kinds = self._is_norm, self._is_nonlinear, self._is_map
            if step.op == "output" or any(kind(step) for kind in kinds):
                yield step
            else:
                open_.extend(step.users)

    def _maps_behind(self, call: Step) -> bool:
        """Return whether there is a linear map anywhere behind a call."""
        behind = set(call.users)
        for step in self._graph.calls[call.index + 1 :]:
            if step.index in behind:
                if self._is_map(step):
                    return True
                behind.update(step.users)
        return False

    def _is_map(self, call: Step) -> bool:
        module = self._modules.get(call.module) if call.module else None
        return bool(_MAPS & set(call.ops)) or (module is not None and is_linear_map(module))

    def _is_norm(self, call: Step) -> bool:
        module = self._modules.get(call.module) if call.module else None
        if module is not None and is_linear_map(module):
            return False  # one whose weight is normalized
        named = module is not None and "norm" in type(module).__name__.lower()
        return named or isinstance(module, _NormBase) or any("norm" in op for op in call.ops)

    def _is_nonlinear(self, call: Step) -> bool:
        module = self._modules.get(call.module) if call.module else None
        home = type(module).__module__
        known = home == "torch.nn.modules.activation" and not isinstance(module, _NO_NONLINEARITY)
        return known or bool(_NONLINEAR & set(call.ops))
