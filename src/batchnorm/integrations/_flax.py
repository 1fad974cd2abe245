"""flax: `flax.linen.BatchNorm` and `flax.nnx.BatchNorm`."""

from collections.abc import Mapping
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import OptionError
from batchnorm.integrations._parts import Layer, Parts, build, read


def from_flax(
    params: Mapping[str, Any] | None,
    batch_stats: Mapping[str, Any],
    *,
    ndim: int,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    use_running_average: bool | None = None,
) -> Layer:
    """Return the layer that does here what a `BatchNorm` does in flax.

    `momentum` becomes 1 - momentum, `scale` the weight. The running variance is biased there and
    stays so here (``correction=0``). Without a scale the weight is 1 and does not require a
    gradient; with neither scale nor bias there are no parameters.

    Args:
        params: ``scale`` and ``bias``, each ``(C,)`` and each optional, as in
            ``variables["params"]["BatchNorm_0"]``; `None` is neither.
        batch_stats: ``mean`` and ``var``, each ``(C,)``.
        ndim: dimensions of the input, batch and channels included: 2 or 3 for a `BatchNorm1d`, 4
            for a `BatchNorm2d`, 5 for a `BatchNorm3d`.
        momentum: that of the module in flax, the weight of the old statistics.
        epsilon: that of the module.
        use_running_average: that of the module. `True` always uses the running statistics: the
            layer is frozen, its parameters are not. `False` or `None` leave it to `train` and
            `eval`, which is what ``use_running_average=not train`` says in a call.

    Returns:
        A layer in training mode, in float64 if an array is, in float32 otherwise.

    Raises:
        OptionError: there are other arrays than these, or `momentum` is not from 0 to 1.
        ShapeError: there is no layer for inputs of `ndim` dimensions, or the statistics are those
            of several axes.
        ChannelError: the arrays have different numbers of channels.

    Note:
        The channels of the input are dimension 1 here. flax has them last unless `axis` says
        otherwise, so ``(N, H, W, C)`` there is ``(N, C, H, W)`` here.

    Example:
        >>> params = {"scale": [1.0, 1.0], "bias": [0.0, 0.0]}
        >>> layer = from_flax(params, {"mean": [0.0, 0.0], "var": [1.0, 1.0]}, ndim=4)
        >>> type(layer).__name__, layer.momentum, layer.eps
        ('BatchNorm2d', 0.01, 1e-05)
    """
    params = params or {}
    if set(batch_stats) != {"mean", "var"} or not set(params) <= {"scale", "bias"}:
        raise OptionError(
            "expected params with scale and bias, and batch_stats with mean and var, "
            f"got {sorted(params)} and {sorted(batch_stats)}: "
            "give the entries of one BatchNorm, not of the whole model"
        )
    parts = Parts(
        mean=batch_stats["mean"],
        var=batch_stats["var"],
        weight=params.get("scale"),
        bias=params.get("bias"),
        eps=epsilon,
        decay=momentum,
        frozen=bool(use_running_average),
    )
    return build(parts, ndim)


def to_flax(
    layer: _BatchNorm, *, axis: int = 1
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the options, `params` and `batch_stats` of the same layer in flax.

    Args:
        layer: a `BatchNorm1d`, `2d` or `3d`, ours or torch's.
        axis: where the flax model has its channels; 1 as here, -1 where they come last.

    Returns:
        The arguments of `flax.linen.BatchNorm`, and the two collections as NumPy arrays.

    Raises:
        OptionError: the layer has something that flax cannot say: an activation, no running
            statistics, ``momentum=None``, adapting.

    Note:
        The running statistics are handed over as they are. flax then goes on with the biased
        variance of each batch, whatever the `correction` was here.

    Example:
        >>> from batchnorm.nn import BatchNorm1d
        >>> options, params, batch_stats = to_flax(BatchNorm1d(2, momentum=0.01), axis=-1)
        >>> options["momentum"], sorted(params), sorted(batch_stats)
        (0.99, ['bias', 'scale'], ['mean', 'var'])
    """
    parts = read(layer, "flax")
    options: dict[str, Any] = {
        "axis": axis,
        "momentum": parts.decay,
        "epsilon": parts.eps,
        "use_scale": parts.weight is not None,
        "use_bias": parts.bias is not None,
        "use_running_average": True if parts.frozen else None,
    }
    params = {"scale": parts.weight, "bias": parts.bias}
    params = {name: array for name, array in params.items() if array is not None}
    return options, params, {"mean": parts.mean, "var": parts.var}
