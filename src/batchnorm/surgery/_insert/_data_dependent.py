"""Data-dependent initialization: on the example batch an inserted layer is the identity."""

from typing import Any

import torch
from torch import Tensor, nn

from batchnorm._model._call import run
from batchnorm._model._copy import twin
from batchnorm._moments import Moments
from batchnorm.errors import SurgeryError
from batchnorm.nn import Layer
from batchnorm.surgery._insert._points import Point


@torch.no_grad()
def measure(model: nn.Module, example_inputs: Any, points: dict[str, Point]) -> dict[str, Moments]:
    """Return the moments that the example inputs give at each place in training."""
    copy = twin(model, training=True)
    found = {}
    for name, point in points.items():

        def keep(_module: nn.Module, _inputs: Any, y: Tensor, name: str = name) -> None:
            found[name] = Moments.of(y)

        copy.get_submodule(point.module).register_forward_hook(keep)
    run(copy, example_inputs)
    for name, moments in found.items():
        if not (moments.mean.isfinite().all() and moments.variance().isfinite().all()):
            raise SurgeryError(
                "statistics of the example inputs need to be finite to start from, got some that "
                f"are not behind {name}: look at the inputs, or use start='identity'"
            )
    return found


@torch.no_grad()
def start_from(moments: Moments, layer: Layer, bias: Tensor | None) -> None:
    r"""Have a layer undo its own normalization, on this batch and in evaluation.

    .. math::

        w = \sqrt{\sigma^2 + \epsilon} \qquad b = \mu

    Args:
        moments: of the values before there was the layer.
        layer: to be started. Its running variance is the biased one, so that the map is the
            identity in evaluation too.
        bias: what was removed from those values, shape ``(C,)``.
    """
    var = moments.variance()
    start = {
        "weight": (var + layer.eps).sqrt(),
        "bias": moments.mean,
        "running_mean": moments.mean if bias is None else moments.mean - bias.double(),
        "running_var": var,
        "num_batches_tracked": torch.tensor(1),
    }
    for name, value in start.items():
        getattr(layer, name).copy_(value)
