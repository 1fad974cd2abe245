"""What the operators compute: that of the backend in charge."""

from torch import Tensor

from batchnorm import kernels
from batchnorm.kernels import Backward, Epilogue, Forward, Saved


def compute_forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    eps: float,
    residual: Tensor | None = None,
    activation: str = "identity",
    alpha: float = 0.0,
) -> Forward:
    chosen = kernels.current(x.device)
    epilogue = Epilogue(activation, alpha)
    return chosen.forward(x, weight, bias, mean, var, eps, residual, epilogue)


def compute_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    statistics: Tensor,
    mask: Tensor | None,
    eps: float,  # noqa: ARG001 -- needed by the second derivative, which takes the same arguments
    batch_statistics: bool,
    has_residual: bool = False,
    activation: str = "identity",
    alpha: float = 0.0,
) -> Backward:
    saved = Saved(x, weight, bias, residual, statistics, mask)
    epilogue = Epilogue(activation, alpha)
    return kernels.current(x.device).backward(dy, saved, batch_statistics, has_residual, epilogue)
