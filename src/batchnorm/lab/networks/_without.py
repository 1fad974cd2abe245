"""Removal of batch normalization from a network; weight and bias of each layer stay."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Affine(nn.Module):
    """What is left of a batch normalization that does not normalize: a weight and a bias.

    Args:
        norm: the layer whose weight ``(C,)`` and bias ``(C,)`` are taken.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x * weight + bias`` by channel, for `x` of shape ``(N, C, *)``."""
        shape = (-1, *(1 for _ in x.shape[2:]))
        if self.weight is not None:
            x = x * self.weight.view(shape)
        return x if self.bias is None else x + self.bias.view(shape)


def without_normalization(model: nn.Module) -> int:
    """Replace every batch normalization by its own weight and bias, in place.

    The network keeps its parameters and what it can represent: only the normalization is gone.

    Args:
        model: any module that is not itself a batch normalization.

    Returns:
        How many there were.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU())
        >>> without_normalization(model), type(model[1]).__name__
        (1, 'Affine')
    """
    found = {module: Affine(module) for module in model.modules() if isinstance(module, _BatchNorm)}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # noqa: SLF001  (a shared one has two names)
            if isinstance(child, _BatchNorm):
                parent._modules[name] = found[child]  # noqa: SLF001
    return len(found)
