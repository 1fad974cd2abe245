"""Arguments and results of a forward and a backward kernel, in the order of the operators' schemas.

So `torch.ops.batchnorm.forward(*call)` and ``backend.forward(call)`` take the same thing.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Epilogue(NamedTuple):
    """What follows the normalization in the same pass: ``activation(normalized + residual)``.

    Attributes:
        activation: a name of `_activations`.
        alpha: slope of ``leaky_relu`` below zero.
    """

    activation: str = "identity"
    alpha: float = 0.0


PLAIN = Epilogue()


class Call(NamedTuple):
    """Arguments of a forward.

    Attributes:
        x: input, shape ``(N, C, *)``; if empty, its statistics are 0.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        mean: population mean, shape ``(C,)``; `None` takes the statistics of the batch.
        var: population variance, shape ``(C,)``; `None` together with `mean`.
        eps: added to the variance, inside the square root.
        residual: added before the activation, shape of `x`; `None` is 0.
        activation: as in `Epilogue`.
        alpha: as in `Epilogue`.
    """

    x: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None
    mean: Tensor | None = None
    var: Tensor | None = None
    eps: float = 1e-5
    residual: Tensor | None = None
    activation: str = "identity"
    alpha: float = 0.0

    @property
    def epilogue(self) -> Epilogue:
        """The activation."""
        return Epilogue(self.activation, self.alpha)

    @property
    def masked(self) -> bool:
        """Whether the backward needs to know where the output was above zero."""
        return self.residual is not None and self.activation == "relu"


class Forward(NamedTuple):
    """Results of a forward kernel.

    Attributes:
        y: output, with the shape, dtype and memory format of the input.
        statistics: float64 ``(3, C)``: the mean that was subtracted, the biased variance that was
            divided by, and ``1 / sqrt(var + eps)``.
        mask: for ``relu`` with a residual, where the output is above zero (see `_mask`); otherwise
            `None`.
    """

    y: Tensor
    statistics: Tensor
    mask: Tensor | None


class GradientCall(NamedTuple):
    """Arguments of a backward.

    Attributes:
        dy: gradient of the loss with respect to the output, shape ``(N, C, *)``.
        x: the input of the forward.
        weight: its scale, or `None`.
        bias: its shift, or `None`; only an activation's derivative needs it.
        residual: its residual where the derivative of the activation needs it, or `None`.
        statistics: as the forward returned them.
        mask: as the forward returned it.
        eps: of the forward; only the derivative of the backward needs it.
        batch_statistics: whether the forward took its statistics from `x`, so that the gradient
            passes through them too.
        has_residual: whether the forward had a residual, and its gradient is wanted apart from
            `dy`.
        activation: of the forward.
        alpha: of the forward.
    """

    dy: Tensor
    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    residual: Tensor | None
    statistics: Tensor
    mask: Tensor | None
    eps: float
    batch_statistics: bool
    has_residual: bool = False
    activation: str = "identity"
    alpha: float = 0.0

    @property
    def epilogue(self) -> Epilogue:
        """The activation of the forward."""
        return Epilogue(self.activation, self.alpha)

    @property
    def masked(self) -> bool:
        """Whether the forward kept where its output was above zero."""
        return self.has_residual and self.activation == "relu"


class Backward(NamedTuple):
    """Results of a backward kernel.

    Attributes:
        dx: gradient of the input, like the input.
        dweight: gradient of the scale, ``(C,)``, of `gradient_dtype`.
        dbias: gradient of the shift, ``(C,)``, of `gradient_dtype`.
        dresidual: gradient of the residual, like the input; `None` where there was none.
    """

    dx: Tensor
    dweight: Tensor
    dbias: Tensor
    dresidual: Tensor | None


def gradient_dtype(weight: Tensor | None) -> torch.dtype:
    """Return the dtype of the gradients of the parameters, as a backward kernel returns them.

    That of the scale, so that nothing is left to convert; float64 where that would be rounding
    twice.
    """
    return torch.float32 if weight is not None and weight.dtype == torch.float32 else torch.float64
