"""ONNX: the operator `BatchNormalization`, opset 9 and later."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm._pages import require
from batchnorm.errors import OptionError
from batchnorm.integrations._parts import Layer, Parts, build, read

if TYPE_CHECKING:
    import onnx

_ATTRIBUTES = {"epsilon", "momentum", "training_mode"}


def from_onnx(
    attributes: Mapping[str, Any], scale: Any, bias: Any, mean: Any, var: Any, *, ndim: int
) -> Layer:
    """Return the layer that does what an ONNX `BatchNormalization` does.

    `momentum` becomes 1 - momentum. The running variance is biased there and stays so here
    (``correction=0``).

    Args:
        attributes: ``epsilon`` (1e-5 if absent), ``momentum`` (0.9), the weight of the old
            statistics, and ``training_mode`` (0).
        scale: input ``scale``, shape ``(C,)``.
        bias: input ``B``, shape ``(C,)``.
        mean: input ``input_mean``, shape ``(C,)``.
        var: input ``input_var``, shape ``(C,)``.
        ndim: dimensions of ``X``: 2 or 3 for a `BatchNorm1d`, 4 for a `BatchNorm2d`, 5 for a
            `BatchNorm3d`.

    Returns:
        A layer in training mode if ``training_mode`` is 1, in evaluation mode otherwise; in
        float64 if an input is, in float32 otherwise.

    Raises:
        OptionError: an attribute is not one of opset 9 and later, or `momentum` not from 0 to 1.
        ShapeError: there is no layer for inputs of `ndim` dimensions.
        ChannelError: the inputs have different numbers of channels.

    References:
        ONNX operators, BatchNormalization, version 15,
        https://onnx.ai/onnx/operators/onnx__BatchNormalization.html.

    Example:
        >>> layer = from_onnx({"epsilon": 1e-3}, [1.0], [0.0], [5.0], [4.0], ndim=4)
        >>> layer.eps, layer.momentum, layer.training
        (0.001, 0.1, False)
    """
    unknown = sorted(set(attributes) - _ATTRIBUTES)
    if unknown:
        raise OptionError(
            f"expected the attributes {', '.join(sorted(_ATTRIBUTES))}, got {', '.join(unknown)}: "
            "bring an older model to opset 9 or later first, with onnx.version_converter"
        )
    parts = Parts(
        mean=mean,
        var=var,
        weight=scale,
        bias=bias,
        eps=attributes.get("epsilon", 1e-5),
        decay=attributes.get("momentum", 0.9),
    )
    return build(parts, ndim).train(bool(attributes.get("training_mode", 0)))


def from_onnx_node(
    node: "onnx.NodeProto",
    initializers: Mapping[str, Any] | Iterable["onnx.TensorProto"],
    *,
    ndim: int,
) -> Layer:
    """Return the layer that does what a node of an ONNX graph does.

    Args:
        node: a `BatchNormalization`.
        initializers: ``model.graph.initializer``, or arrays by the names of the node's inputs.
        ndim: dimensions of ``X``, as in `from_onnx`.

    Returns:
        As `from_onnx`. ONNX stores attributes in float32; the layer gets the shortest decimals
        that they stand for, 0.9 and not 0.8999999761581421.

    Raises:
        OptionError: the node is another operator, or an input is not among the initializers.

    Example:
        >>> import onnx
        >>> names = ["X", "scale", "B", "mean", "var"]
        >>> node = onnx.helper.make_node("BatchNormalization", names, ["Y"], momentum=0.8)
        >>> from_onnx_node(node, dict.fromkeys(names[1:], np.ones(3)), ndim=3).momentum
        0.2
    """
    require("reading a node", "onnx", extra="onnx")
    import onnx

    if node.op_type != "BatchNormalization":
        raise OptionError(
            f"expected a BatchNormalization, got the node {node.name!r} of type {node.op_type}: "
            "pick the nodes by their op_type"
        )
    if isinstance(initializers, Mapping):
        arrays = dict(initializers)
    else:
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initializers}
    inputs = list(node.input[1:5])
    absent = [name for name in inputs if name not in arrays]
    if absent:
        raise OptionError(
            f"expected the initializers {', '.join(inputs)}, got none for {', '.join(absent)}: "
            "a layer needs the arrays themselves, fold what computes them into constants first"
        )
    attributes = {
        attribute.name: _shortest(onnx.helper.get_attribute_value(attribute))
        for attribute in node.attribute
    }
    scale, bias, mean, var = (arrays[name] for name in inputs)
    return from_onnx(attributes, scale, bias, mean, var, ndim=ndim)


def to_onnx(layer: _BatchNorm) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes and inputs of the same `BatchNormalization` in ONNX (opset 14).

    Args:
        layer: a `BatchNorm1d`, `2d` or `3d`, ours or torch's.

    Returns:
        The attributes, ``training_mode`` by the mode of the layer; and ``scale``, ``B``,
        ``input_mean`` and ``input_var``, in the operator's order, as NumPy arrays.

    Raises:
        OptionError: the layer has something that the operator cannot say: an activation, no
            running statistics, ``momentum=None``, adapting.

    Note:
        The running statistics are handed over as they are. In training the operator goes on with
        the biased variance of each batch, whatever the `correction` was here.

    Example:
        >>> from batchnorm.nn import BatchNorm2d
        >>> attributes, inputs = to_onnx(BatchNorm2d(2).eval())
        >>> attributes
        {'epsilon': 1e-05, 'momentum': 0.9, 'training_mode': 0}
        >>> list(inputs)
        ['scale', 'B', 'input_mean', 'input_var']
    """
    parts = read(layer, "ONNX")
    attributes = {
        "epsilon": parts.eps,
        "momentum": parts.decay,
        "training_mode": int(layer.training and not parts.frozen),
    }
    inputs = {
        "scale": np.ones_like(parts.mean) if parts.weight is None else parts.weight,
        "B": np.zeros_like(parts.mean) if parts.bias is None else parts.bias,
        "input_mean": parts.mean,
        "input_var": parts.var,
    }
    return attributes, inputs


def _shortest(value: Any) -> Any:
    return float(str(np.float32(value))) if isinstance(value, float) else value
