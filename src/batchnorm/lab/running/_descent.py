"""Stochastic gradient descent with momentum and weight decay, as a function of the settings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from batchnorm.lab.design import Settings


class Descent:
    r"""The state of a descent, for parameters that it changes in place.

    .. math::

        v \leftarrow m v + g + d w \qquad w \leftarrow w - r v

    with the rate r, the momentum m and the decay d, as `torch.optim.SGD` has it. Only weights of
    two or more axes decay: to shrink the weight of a normalization or a bias regularizes nothing.

    Args:
        parameters: what to change.
        rate: learning rate.
        momentum: share of the previous velocity that is kept.
        decay: factor of the L2 penalty.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> Descent([weight], rate=0.5).step([torch.tensor([1.0])])
        >>> weight.item()
        0.5
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        rate: float,
        momentum: float = 0.0,
        decay: float = 0.0,
    ) -> None:
        self._parameters = parameters
        self._rate, self._momentum, self._decay = rate, momentum, decay
        self._velocity = [torch.zeros_like(p) for p in parameters] if momentum else []

    @classmethod
    def of(cls, settings: Settings, parameters: Sequence[nn.Parameter]) -> "Descent":
        """Return the descent that the settings ask for.

        Settings: ``rate``; ``rate_batch``, the mini-batch that this rate is for, where it grows in
        proportion to the mini-batch; ``momentum`` and ``decay``, 0 where left out.
        """
        rate = settings["rate"]
        if "rate_batch" in settings:
            rate *= settings["batch"] / settings["rate_batch"]
        return cls(
            parameters,
            rate=rate,
            momentum=settings.get("momentum", 0.0),
            decay=settings.get("decay", 0.0),
        )

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Take one step along the gradients, one for each parameter."""
        for place, (parameter, gradient) in enumerate(
            zip(self._parameters, gradients, strict=True)
        ):
            towards = gradient
            if self._decay and parameter.ndim > 1:
                towards = towards.add(parameter, alpha=self._decay)
            if self._momentum:
                towards = self._velocity[place].mul_(self._momentum).add_(towards)
            parameter.sub_(towards, alpha=self._rate)

    def state(self) -> dict[str, Tensor]:
        """Return the velocities, by the place of their parameter."""
        return {str(place): velocity for place, velocity in enumerate(self._velocity)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the velocities back."""
        for place, velocity in enumerate(self._velocity):
            velocity.copy_(state[str(place)])
