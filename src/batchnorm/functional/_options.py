"""Options of a normalization, validated when they are set and not at each call."""

import math
from typing import Any, NamedTuple

from torch import Tensor

from batchnorm import ops
from batchnorm.errors import OptionError
from batchnorm.kernels import PLAIN, Epilogue, RunningStats
from batchnorm.kernels._activations import NAMES

_LAST = 2**63 - 1
_NONFINITE = ("skip", "propagate", "raise")
_NUMBER = (float, int)  # a tuple: a union would be made anew at each call


class Options(NamedTuple):
    """Valid options; make them with `options_of`.

    Attributes:
        epilogue: the activation.
        nonfinite: ``skip``, ``propagate`` or ``raise``: what becomes of the running statistics
            after a batch with a statistic that is not finite.
        correction: the running variance takes in the squared deviations divided by
            count - correction.
    """

    epilogue: Epilogue = PLAIN
    nonfinite: str = "skip"
    correction: int = 1

    def running(
        self,
        mean: Tensor | None,
        var: Tensor | None,
        counter: Tensor | None,
        skipped: Tensor | None,
        momentum: float | Tensor | None,
    ) -> RunningStats | None:
        """Return what a batch updates, `None` where it is nothing.

        Raises:
            OptionError: the momentum is not from 0 to 1; or `None`, and there is no counter.
        """
        if mean is None and var is None and counter is None:
            return None
        if momentum is None and counter is None:
            raise OptionError(
                "momentum=None averages all batches so far and needs their number, "
                "got num_batches_tracked=None: give the counter, or a momentum"
            )
        if momentum is None:
            _check_counter(counter)
        elif not isinstance(momentum, _NUMBER) or not 0.0 <= momentum <= 1.0:
            _check_momentum(momentum)
        skip = self.nonfinite == "skip"
        return RunningStats(mean, var, counter, momentum, skip, skipped, self.correction)


def _check_momentum(momentum: Any) -> None:
    """Refuse a weight that is none: anything but a number from 0 to 1, also in a tensor."""
    if isinstance(momentum, Tensor) and momentum.numel() == 1 and momentum.is_floating_point():
        # Elsewhere than in memory, looking at the value would wait for the device.
        seen = momentum.is_cpu and ops.is_plain_eager(momentum)
        if not seen or 0.0 <= float(momentum) <= 1.0:
            return
    raise OptionError(
        f"momentum must be from 0 to 1, the weight of the new batch, got {momentum}: "
        "the usual value is 0.1 (other libraries' 0.9 is the weight of the old)"
    )


def _check_counter(counter: Tensor | None) -> None:
    """Refuse a number of batches with which no average can go on."""
    if counter is None or not counter.is_cpu or not ops.is_plain_eager(counter):
        return  # elsewhere, looking at the value would wait for the device
    if not 0 <= int(counter) < _LAST:
        raise OptionError(
            "num_batches_tracked must be from 0 to 2**63 - 2 for momentum=None, which averages all "
            f"batches, got {int(counter)}: call reset_running_stats(), or give a momentum"
        )


def options_of(
    activation: str | None = None,
    negative_slope: float = 0.01,
    nonfinite: str = "skip",
    correction: int = 1,
) -> Options:
    """Return the options of a layer or a call.

    Args:
        activation: as `BatchNorm1d` lists them.
        negative_slope: slope of ``leaky_relu`` below zero.
        nonfinite: as in `Options`.
        correction: as in `Options`.

    Raises:
        OptionError: one of them is unknown or out of range.

    Example:
        >>> options_of("leaky_relu", 0.2).epilogue
        Epilogue(activation='leaky_relu', alpha=0.2)
    """
    if nonfinite not in _NONFINITE:
        raise OptionError(
            f"nonfinite must be one of {', '.join(_NONFINITE)}, got {nonfinite!r}: "
            "skip keeps the running statistics finite"
        )
    if correction not in (0, 1):
        raise OptionError(
            f"correction must be 0 or 1, got {correction}: "
            "1 stores the unbiased variance, as torch, and 0 the biased one"
        )
    return Options(epilogue_of(activation, negative_slope), nonfinite, correction)


def epilogue_of(activation: str | None, negative_slope: float = 0.01) -> Epilogue:
    """Return an activation as the kernels take it.

    Args:
        activation: as `BatchNorm1d` lists them.
        negative_slope: slope of ``leaky_relu`` below zero.

    Raises:
        OptionError: the activation is unknown, or the slope not positive.
    """
    if not (isinstance(negative_slope, float | int) and 0.0 < negative_slope < math.inf):
        raise OptionError(
            f"negative_slope must be positive and finite, got {negative_slope}: for zero take relu"
        )
    if activation is None:
        return PLAIN
    if activation not in NAMES:
        raise OptionError(
            f"activation must be None or one of {', '.join(NAMES)}, got {activation!r}: "
            "put any other behind the layer"
        )
    if activation != "leaky_relu":
        return Epilogue(activation)
    return Epilogue(activation, float(negative_slope))
