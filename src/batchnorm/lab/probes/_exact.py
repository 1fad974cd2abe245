"""Float64 copy of a network, on which small steps are measured."""

import copy

from torch import Tensor, nn

from batchnorm.lab.probes._contract import Moment


def doubled(moment: Moment) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return the network and the mini-batch of a moment in float64, whole numbers as they are.

    A step of a small learning rate changes the last digits of a float32 gradient only.
    """
    model = copy.deepcopy(moment.model).double()
    inputs, targets = (
        part.double() if part.is_floating_point() else part
        for part in (moment.inputs, moment.targets)
    )
    return model, (inputs, targets)
