"""The proof of a fold: outputs before and after, beside those of the model before in float64."""

import torch
from torch import Tensor, nn

from batchnorm._arguments import Arguments, mapped, tensors
from batchnorm._borrow import borrowed
from batchnorm.errors import SurgeryError

from ._copy import copied

_MORE_THAN_BEFORE = 4.0  # times the distance from float64 that the model has already


class Proof:
    """What a model gives before it is changed, in float64 and in its own dtype.

    Args:
        model: the model, which is not touched; a copy of it is computed in float64.
        call: arguments that it takes.
        random_inputs: also call it with random values of the same shapes and scales.
        tolerance: largest relative error of an output; `None` is the square root of its dtype's
            machine epsilon, or four times the error that it has before, whichever is larger.

    Attributes:
        copy: the model in float64, to try the change on.

    Raises:
        SurgeryError: the model cannot be copied, or does not run in float64.
    """

    def __init__(
        self, model: nn.Module, call: Arguments, *, random_inputs: bool, tolerance: float | None
    ) -> None:
        self._tolerance = tolerance
        self._calls = [call, _randomized(call)] if random_inputs else [call]
        self._doubles: list[Arguments] = [mapped(call, _to_double) for call in self._calls]
        with borrowed(model):
            self.copy = copied(model).double()
        self._truth = self._outputs_in_double()
        self._before = self._errors(model)

    def check_copy(self) -> None:
        """Compare the changed copy in float64: mistakes show there, rounding hardly.

        Raises:
            SurgeryError: the outputs differ, or the forward needs what is gone.
        """
        try:
            found = _outputs(self.copy, self._doubles)
        except Exception as error:
            raise SurgeryError(
                "a forward that does without the folded layers is needed, got "
                f"{type(error).__name__} ({error}): name the layers that it can miss with pairs="
            ) from error
        self._check(found, [0.0] * len(found))
        del self.copy

    def check(self, model: nn.Module) -> float:
        """Return the largest relative error of the model's outputs after the change.

        Raises:
            SurgeryError: it is too large.
        """
        return self._check(_outputs(model, self._calls), self._before)

    def _check(self, found: list[Tensor], before: list[float]) -> float:
        worst = 0.0
        for y, truth, error_before in zip(found, self._truth, before, strict=True):
            error = relative_error(y, truth)
            limit = self._tolerance
            if limit is None:
                limit = max(torch.finfo(y.dtype).eps ** 0.5, _MORE_THAN_BEFORE * error_before)
            if not error <= limit:
                raise SurgeryError(
                    f"an output within {limit:.1g} of the model's before (relative, in float64) "
                    f"is needed, got {error:.1g} in {y.dtype}: the model is as it was; "
                    "fold fewer layers with pairs=, or allow more with tolerance="
                )
            worst = max(worst, error)
        return worst

    def _errors(self, model: nn.Module) -> list[float]:
        return [
            relative_error(y, truth)
            for y, truth in zip(_outputs(model, self._calls), self._truth, strict=True)
        ]

    def _outputs_in_double(self) -> list[Tensor]:
        try:
            outputs = _outputs(self.copy, self._doubles)
        except Exception as error:
            raise SurgeryError(
                "a model that also runs in float64, and on random inputs, is needed for the proof, "
                f"got {type(error).__name__} ({error}): let its forward take the dtype from its "
                "input, or leave the random inputs out with random_inputs=False"
            ) from error
        if not outputs:
            raise SurgeryError(
                "a model that returns floating tensors is needed for the proof, got none: "
                "fold the part of it that does"
            )
        return outputs


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest expected value, both finite.

    Where both are the same infinity or both are not a number, there is no difference.

    Example:
        >>> relative_error(torch.tensor([1.0, 4.1]), torch.tensor([1.0, 4.0])) < 0.026
        True
    """
    found, expected = found.double(), expected.double()
    same = (found == expected) | (found.isnan() & expected.isnan())
    if same.all():
        return 0.0
    difference = torch.where(same, 0.0, (found - expected).abs()).max().item()
    size = expected[expected.isfinite()].abs().max().item() if expected.isfinite().any() else 0.0
    return difference / (size or 1.0)


def _outputs(model: nn.Module, calls: list[Arguments]) -> list[Tensor]:
    """Return the floating outputs of all calls, each with the same random numbers."""
    found: list[Tensor] = []
    for args, kwargs in calls:
        with borrowed(model), torch.no_grad():
            found += (y.clone() for y in tensors(model(*args, **kwargs)) if y.is_floating_point())
    return found


def _randomized(call: Arguments) -> Arguments:
    generator = torch.Generator().manual_seed(0)

    def noise(x: Tensor) -> Tensor:
        if not x.is_floating_point() or not x.numel():
            return x
        values = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
        std, mean = torch.std_mean(x.double(), correction=0)
        return (values * torch.where(std > 0, std, 1.0) + mean).to(x.dtype)

    args, kwargs = call
    return mapped(args, noise), mapped(kwargs, noise)


def _to_double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x
