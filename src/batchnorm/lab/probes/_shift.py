"""Internal covariate shift, at each evaluation."""

from typing import Any

import numpy as np
from torch import nn

from batchnorm.errors import NonFiniteError
from batchnorm.lab.probes._contract import Moment, Nothing
from batchnorm.lab.probes._exact import doubled
from batchnorm.measure import internal_covariate_shift


class Shift(Nothing):
    """How far the gradient of each layer moves when the layers before it take their step.

    Layers are the modules with a weight of two or more axes, in the order of the forward pass,
    without the first, which has none before it. ``distances`` and ``cosines`` list them;
    ``distance``, ``relative`` and ``cosine`` are the medians over them.

    Settings read: ``rate``.

    References:
        Santurkar et al. (2018), Definition 2.1.
    """

    fields = ("distance", "relative", "cosine", "distances", "cosines")

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Return the shift; nothing where the gradient itself is not finite."""
        model, batch = doubled(moment)
        try:
            found = internal_covariate_shift(
                model,
                batch,
                moment.task.loss,
                learning_rate=moment.settings["rate"],
                names=_layers(model),
                training=True,
            )
        except NonFiniteError:
            return dict.fromkeys(self.fields)
        layers = found.layers[1:]
        distances, relatives, cosines = (
            [getattr(layer, name) for layer in layers]
            for name in ("distance", "relative", "cosine")
        )
        return {
            "distance": float(np.median(distances)),
            "relative": float(np.median(relatives)),
            "cosine": float(np.median(cosines)),
            "distances": distances,
            "cosines": cosines,
        }


def _layers(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        if any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    ]
