"""Keras: `keras.layers.BatchNormalization`, and that of `tf.keras`."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import OptionError
from batchnorm.integrations._parts import Layer, Parts, build, read

_STATISTICS = ("moving_mean", "moving_variance")
_USED = {"axis", "momentum", "epsilon", "center", "scale", "trainable"}
# What says nothing about a layer that has its weights already.
_SILENT = {
    "name",
    "dtype",
    "autocast",
    "batch_input_shape",
    "fused",
    "renorm_clipping",
    "renorm_momentum",
    "beta_initializer",
    "gamma_initializer",
    "moving_mean_initializer",
    "moving_variance_initializer",
}
_ADVICE = {
    "renorm": "batch renormalization is batchnorm.nn.BatchRenorm1d, 2d and 3d",
    "virtual_batch_size": "ghost batches are batchnorm.nn.GhostBatchNorm1d, 2d and 3d",
    "synchronized": "statistics here are those of one process, set it to False if that will do",
    "beta_regularizer": "add it to the loss, and set it to None in the configuration",
    "gamma_regularizer": "add it to the loss, and set it to None in the configuration",
    "activity_regularizer": "add it to the loss, and set it to None in the configuration",
    "beta_constraint": "apply it after each step, and set it to None in the configuration",
    "gamma_constraint": "apply it after each step, and set it to None in the configuration",
}


def from_keras(
    layer: Any,
    weights: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    ndim: int | None = None,
) -> Layer:
    """Return the layer that does here what a `BatchNormalization` does in Keras.

    `momentum` becomes 1 - momentum, `gamma` and `beta` the weight and the bias. The moving
    variance is biased there and stays so here (``correction=0``). ``center=False`` is a layer
    without bias; ``scale=False`` a weight of 1 that does not require a gradient, or no parameters
    if there is no center either. ``trainable=False`` means in Keras that the layer runs in
    inference mode and nothing in it changes: here it is frozen, parameters included.

    Args:
        layer: a built Keras layer; or its configuration (``layer.get_config()``, or what
            `keras.layers.serialize` returns), together with `weights`.
        weights: by their names, ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, or in
            that order, as ``layer.get_weights()`` has them; `None` reads those of the layer.
        ndim: dimensions of the input, batch and channels included: 2 or 3 for a `BatchNorm1d`, 4
            for a `BatchNorm2d`, 5 for a `BatchNorm3d`; `None` reads it from the layer.

    Returns:
        A layer in training mode, in float64 if a weight is, in float32 otherwise.

    Raises:
        OptionError: an option changes what is computed or learned and does not exist here; the
            layer is not built; the weights are not those of the configuration; or `ndim` is
            neither given nor known.
        ShapeError: there is no layer for inputs of `ndim` dimensions.
        ChannelError: the weights have different numbers of channels.

    Note:
        The channels of the input are dimension 1 here. Keras has them last unless `axis` says
        otherwise, so ``(N, H, W, C)`` there is ``(N, C, H, W)`` here.

    Example:
        >>> config = {"axis": -1, "momentum": 0.99, "epsilon": 0.001, "scale": False}
        >>> weights = {"beta": [1.0], "moving_mean": [2.0], "moving_variance": [4.0]}
        >>> layer = from_keras(config, weights, ndim=4)
        >>> type(layer).__name__, layer.momentum, layer.weight.requires_grad
        ('BatchNorm2d', 0.01, False)
    """
    config, known = _opened(layer)
    _check(config)
    if weights is None and not isinstance(layer, Mapping):
        weights = _weights_of(layer)
    names = [
        *(["gamma"] if config.get("scale", True) else []),
        *(["beta"] if config.get("center", True) else []),
        *_STATISTICS,
    ]
    values = _named(weights, names)
    ndim = known if ndim is None else ndim
    if ndim is None:
        raise OptionError(
            "expected the number of dimensions of the input, got a configuration without it: "
            "give ndim, such as 4 for images"
        )
    parts = Parts(
        mean=values["moving_mean"],
        var=values["moving_variance"],
        weight=values.get("gamma"),
        bias=values.get("beta"),
        eps=config.get("epsilon", 1e-3),
        decay=config.get("momentum", 0.99),
        frozen=not config.get("trainable", True),
        affine_frozen=True,
    )
    return build(parts, ndim)


def to_keras(layer: _BatchNorm, *, axis: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and the weights of the same layer in Keras.

    Args:
        layer: a `BatchNorm1d`, `2d` or `3d`, ours or torch's.
        axis: where the Keras model has its channels; 1 as here, -1 where they come last.

    Returns:
        The arguments of `keras.layers.BatchNormalization`, and NumPy arrays by the names of its
        weights, in the order of ``set_weights``.

    Raises:
        OptionError: the layer has something that Keras cannot say: an activation, no running
            statistics, ``momentum=None``, adapting, or frozen with parameters that learn.

    Note:
        The running statistics are handed over as they are. Keras then goes on with the biased
        variance of each batch, whatever the `correction` was here.

    Example:
        >>> from batchnorm.nn import BatchNorm2d
        >>> config, weights = to_keras(BatchNorm2d(2, momentum=0.01), axis=-1)
        >>> config["momentum"], config["axis"], list(weights)
        (0.99, -1, ['gamma', 'beta', 'moving_mean', 'moving_variance'])
    """
    parts = read(layer, "Keras")
    if parts.frozen and not parts.affine_frozen:
        raise OptionError(
            "expected weight and bias frozen with the statistics, as Keras does it, got a frozen "
            "layer whose parameters learn: call layer.freeze(affine=True) first"
        )
    config = {
        "axis": axis,
        "momentum": parts.decay,
        "epsilon": parts.eps,
        "center": parts.bias is not None,
        "scale": parts.weight is not None,
        "trainable": not parts.frozen,
    }
    weights = {
        "gamma": parts.weight,
        "beta": parts.bias,
        "moving_mean": parts.mean,
        "moving_variance": parts.var,
    }
    return config, {name: array for name, array in weights.items() if array is not None}


def _opened(layer: Any) -> tuple[Mapping[str, Any], int | None]:
    """Return the configuration, and the number of dimensions if it is known."""
    if not isinstance(layer, Mapping):
        _check_type(type(layer).__name__)
        return layer.get_config(), getattr(layer.input_spec, "ndim", None)
    if "class_name" not in layer:
        return layer, None
    _check_type(layer["class_name"])
    shape = (layer.get("build_config") or {}).get("input_shape")
    return layer["config"], None if shape is None else len(shape)


def _check_type(name: str) -> None:
    if name != "BatchNormalization":
        raise OptionError(
            f"expected a BatchNormalization of Keras, got {name}: "
            "pick the layers by their type, a subclass may compute something else"
        )


def _weights_of(layer: Any) -> dict[str, Any]:
    if layer.moving_mean is None:
        raise OptionError(
            "expected a built layer, got one without weights: "
            "call it once, or build it with the shape of its input"
        )
    values = {name: getattr(layer, name) for name in ("gamma", "beta", *_STATISTICS)}
    return {name: _value(variable) for name, variable in values.items() if variable is not None}


def _value(variable: Any) -> Any:
    """Return the tensor of a variable on torch, whose conversion to NumPy warns."""
    value = getattr(variable, "value", None)
    return value if isinstance(value, Tensor) else variable


def _check(config: Mapping[str, Any]) -> None:
    axis = config.get("axis", -1)
    if not isinstance(axis, int) and len(axis) != 1:
        raise OptionError(
            f"expected one axis, got axis={list(axis)}: a layer here has one dimension of "
            "channels, merge the others into it"
        )
    for name, value in config.items():
        if name in _USED | _SILENT or value is None or value is False:
            continue
        advice = _ADVICE.get(name, "set it to None in the configuration if it may be left out")
        raise OptionError(f"{name}={value!r} of Keras is not converted: {advice}")


def _named(
    weights: Mapping[str, Any] | Sequence[Any] | None, names: list[str]
) -> Mapping[str, Any]:
    if isinstance(weights, Mapping):
        came = ", ".join(weights)
    else:
        arrays = [] if weights is None else list(weights)
        came = f"{len(arrays)} arrays"
        weights = dict(zip(names, arrays, strict=False)) if len(arrays) == len(names) else {}
    if set(weights) != set(names):
        raise OptionError(
            f"expected the weights {', '.join(names)}, got {came}: "
            "take the configuration and the weights from one built layer"
        )
    return weights
