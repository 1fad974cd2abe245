"""Linear maps: weights in one layout, ``(groups, out, in, taps)``, whatever torch stores."""

from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from batchnorm._model._affine import Affine

LinearMap = nn.Linear | _ConvNd
_TYPES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def is_linear_map(module: nn.Module) -> TypeGuard[LinearMap]:
    """Return whether a module computes what one of torch's linear or convolution layers does.

    Example:
        >>> [is_linear_map(m) for m in (nn.Conv2d(3, 3, 1), nn.Bilinear(3, 3, 3))]
        [True, False]
    """
    kind = type(module)
    if "forward" in vars(module) or "_conv_forward" in vars(module):
        return False
    return any(
        kind.forward is known.forward
        and getattr(kind, "_conv_forward", None) is getattr(known, "_conv_forward", None)
        for known in _TYPES
    )


def result_ndim(layer: nn.Module) -> int:
    """Return the dimensions of a result whose dimension 1 is the layer's output features."""
    return len(layer.kernel_size) + 2 if isinstance(layer, _ConvNd) else 2


def feature_dimension(layer: LinearMap, ndim: int) -> int:
    """Return the dimension of the features in inputs and results of `ndim` dimensions.

    Example:
        >>> feature_dimension(nn.Linear(3, 3), ndim=3)  # sequences
        2
        >>> feature_dimension(nn.Conv2d(3, 3, 1), ndim=3)  # an image without a batch
        0
    """
    return ndim - len(layer.kernel_size) - 1 if isinstance(layer, _ConvNd) else ndim - 1


def mixes_borders(layer: LinearMap) -> bool:
    """Return whether outputs near the border see less of a constant added to the input.

    Example:
        >>> mixes_borders(nn.Conv2d(3, 3, 3, padding=1)), mixes_borders(nn.Conv2d(3, 3, 3))
        (True, False)
        >>> mixes_borders(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"))
        False
    """
    if isinstance(layer, _ConvTransposeNd):
        once = all(k == s == 1 for k, s in zip(layer.kernel_size, layer.stride, strict=True))
        return not once or any(layer.output_padding)
    if isinstance(layer, _ConvNd):
        same = isinstance(layer.padding, str)  # whose amounts torch keeps elsewhere
        amounts = layer._reversed_padding_repeated_twice if same else layer.padding  # noqa: SLF001
        return layer.padding_mode == "zeros" and any(amounts)
    return False


@dataclass(frozen=True)
class Weights:
    """Weight and bias of a linear map in float64.

    Attributes:
        weight: shape ``(groups, out features of a group, in features of a group, taps)``.
        bias: shape ``(out features,)``.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, layer: LinearMap) -> "Weights":
        """Read them from a layer."""
        first, second = layer.weight.shape[:2]
        groups, transposed = _layout(layer)
        weight = layer.weight.double().reshape(groups, first // groups, second, -1)
        if transposed:
            weight = weight.transpose(1, 2)
        if layer.bias is not None:
            return cls(weight, layer.bias.double())
        return cls(weight, weight.new_zeros(weight.shape[0] * weight.shape[1]))

    def then(self, affine: Affine) -> "Weights":
        """Return the linear map followed by the affine one."""
        scale = affine.scale.reshape(self.weight.shape[0], -1, 1, 1)
        return Weights(self.weight * scale, self.bias * affine.scale + affine.shift)

    def after(self, affine: Affine) -> "Weights":
        """Return the affine map followed by the linear one, as it is away from the borders."""
        groups = self.weight.shape[0]
        scale, shift = (vector.reshape(groups, 1, -1, 1) for vector in affine)
        constant = (self.weight * shift).sum((2, 3)).flatten()
        return Weights(self.weight * scale, self.bias + constant)

    def fit(self, dtype: torch.dtype) -> bool:
        """Return whether they are finite in a dtype."""
        largest = torch.finfo(dtype).max
        return all(bool((v.abs() <= largest).all()) for v in (self.weight, self.bias))

    def stored(self, layer: LinearMap) -> Tensor:
        """Return the weight in the layout and the dtype of the layer's own."""
        weight = self.weight.transpose(1, 2) if _layout(layer)[1] else self.weight
        return weight.reshape(layer.weight.shape).to(layer.weight.dtype)


def _layout(layer: LinearMap) -> tuple[int, bool]:
    """Return the number of groups, and whether the weight has its input features first."""
    return getattr(layer, "groups", 1), isinstance(layer, _ConvTransposeNd)
