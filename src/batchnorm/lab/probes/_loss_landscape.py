"""Loss landscape along the gradient, at each evaluation."""

from typing import Any

import numpy as np

from batchnorm.errors import NonFiniteError
from batchnorm.lab.probes._contract import Moment, Nothing
from batchnorm.lab.probes._exact import doubled
from batchnorm.measure import loss_landscape

_POINTS = 8


class Landscape(Nothing):
    """The loss and its gradient at points along the gradient of the next mini-batch.

    ``loss`` is that of the mini-batch; ``loss_low`` and ``loss_high`` are its range over the
    points, ``loss_range`` is their distance; ``predictiveness`` is the largest change of the
    gradient, ``smoothness`` the largest change over the distance (see `measure.loss_landscape`).

    Settings read: ``rate``; ``nearest`` and ``farthest``, the ends of the range of steps as
    multiples of the rate; 8 points lie between them, evenly on a logarithmic scale.

    References:
        Santurkar et al. (2018), section 3.1 and figure 4.
    """

    fields = ("loss", "loss_low", "loss_high", "loss_range", "predictiveness", "smoothness")

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Return the ranges; nothing where the gradient itself is not finite."""
        settings = moment.settings
        model, batch = doubled(moment)
        try:
            found = loss_landscape(
                model,
                batch,
                moment.task.loss,
                learning_rate=settings["rate"],
                multiples=np.geomspace(settings["nearest"], settings["farthest"], _POINTS).tolist(),
                training=True,
            )
        except NonFiniteError:
            return dict.fromkeys(self.fields)
        low, high = found.loss_range
        return {
            "loss": found.loss,
            "loss_low": low,
            "loss_high": high,
            "loss_range": high - low,
            "predictiveness": found.gradient_predictiveness[1],
            "smoothness": found.effective_smoothness,
        }
