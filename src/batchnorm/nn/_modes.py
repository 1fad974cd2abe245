"""Modes of a layer beside `train()` and `eval()`: frozen and adapting."""

from typing import Any, Self

from torch import nn
from torch.nn.parameter import UninitializedBuffer

from batchnorm.errors import OptionError


def check_model(model: Any) -> None:
    """Refuse what is no model, at the door of what works on models.

    Raises:
        OptionError: it is something else.
    """
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"a torch.nn.Module is needed, got a {type(model).__name__}: give the model itself"
        )


class Modes(nn.Module):
    """Frozen and adapting: kept through `train()`, copies and pickles."""

    frozen: bool = False
    adapting: bool = False
    _required_grad: dict[str, bool] | None = None

    @property
    def affine_frozen(self) -> bool:
        """Whether the layer is frozen with weight and bias: neither requires a gradient.

        Read from the parameters, whoever has set their `requires_grad`.
        """
        learning = [parameter.requires_grad for parameter in self.parameters()]
        if not learning:  # nothing to read from
            return self._required_grad is not None
        return self.frozen and not any(learning)

    def freeze(self, affine: bool = False) -> Self:
        """Normalize with the running statistics, and leave them alone, in training too.

        Stays through `train()`, `eval()`, copies and pickles, until `unfreeze`. The gradient is
        that of the affine map which the layer then is.

        Args:
            affine: freeze weight and bias too (`requires_grad`).

        Returns:
            The layer.

        Raises:
            OptionError: the layer has no running statistics, or is adapting.

        Example:
            >>> import torch
            >>> from batchnorm.nn import BatchNorm1d
            >>> layer = BatchNorm1d(3).freeze().train()
            >>> layer(torch.ones(1, 3)).shape, layer.num_batches_tracked.item()
            (torch.Size([1, 3]), 0)
        """
        if not self.track_running_stats or self.running_mean is None:
            raise OptionError(
                "freeze needs running statistics, got a layer with track_running_stats=False: "
                "make it with track_running_stats=True and train or recalibrate it first"
            )
        if isinstance(self.running_mean, UninitializedBuffer):
            raise OptionError(
                "freeze needs running statistics, got a lazy layer that has none yet: "
                "train it first, or load a state"
            )
        if self.adapting:
            raise OptionError(
                "freeze needs a layer that takes its running statistics, got an adapting one: "
                "call adapt(False) first"
            )
        self.frozen = True
        if affine:
            before = self._required_grad or {}
            self._required_grad = {
                name: parameter.requires_grad or before.get(name, False)
                for name, parameter in self.named_parameters()
            }
            self.requires_grad_(False)
        return self

    def unfreeze(self) -> Self:
        """Undo `freeze`, and give weight and bias back the `requires_grad` they had.

        A parameter that somebody has made to learn in the meantime goes on learning.

        Returns:
            The layer.
        """
        self.frozen = False
        if self._required_grad is not None:
            for name, parameter in self.named_parameters():
                if not parameter.requires_grad:
                    parameter.requires_grad_(self._required_grad.get(name, True))
            self._required_grad = None
        return self

    def adapt(self, mode: bool = True) -> Self:
        """Normalize with the batch in evaluation too, as test-time adaptation does.

        The running statistics stay as they are, so that ``adapt(False)`` undoes it.

        Args:
            mode: whether to adapt.

        Returns:
            The layer.

        Raises:
            OptionError: the layer is frozen.

        References:
            Nado et al. (2020), "Evaluating Prediction-Time Batch Normalization for Robustness
            under Covariate Shift".

        Example:
            >>> import torch
            >>> from batchnorm.nn import BatchNorm1d
            >>> layer = BatchNorm1d(3).eval().adapt()
            >>> layer(50 + torch.randn(100, 3)).mean().abs().item() < 1e-5
            True
        """
        if mode and self.frozen:
            raise OptionError(
                "adapt needs a layer that may take the batch's statistics, got a frozen one: "
                "call unfreeze() first"
            )
        self.adapting = mode
        return self
