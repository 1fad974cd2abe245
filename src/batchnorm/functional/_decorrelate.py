"""Decorrelation: the channels of a group normalized jointly, by their covariance."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from batchnorm import _axes, ops
from batchnorm._moments import Moments
from batchnorm.errors import CountError, OptionError, ShapeError
from batchnorm.functional._checks import check_count, check_eps, check_input, check_statistics
from batchnorm.functional._whitening import whitening_matrix


class Comoments(NamedTuple):
    r"""Sufficient statistics of groups of channels: the matrix twin of `Moments`, float64.

    Attributes:
        count: values per channel, an int64 tensor of shape ``()``.
        mean: shape ``(C,)``.
        m2: :math:`\sum (x - \mathrm{mean})(x - \mathrm{mean})^\top` of each of G groups, shape
            ``(G, C / G, C / G)``.

    Example:
        >>> x = torch.tensor([[1.0, 1.0], [3.0, 5.0], [8.0, 0.0]])
        >>> whole = Comoments.of(x)
        >>> parts = Comoments.of(x[:2]).merge(Comoments.of(x[2:]))
        >>> torch.equal(parts.m2, whole.m2), whole.covariance()[0]
        (True, tensor([[ 8.6667, -2.6667],
                [-2.6667,  4.6667]], dtype=torch.float64))
    """

    count: Tensor  # type: ignore[assignment] # hides tuple.count, which nobody wants here
    mean: Tensor
    m2: Tensor

    @classmethod
    def of(cls, x: Tensor, groups: int = 1) -> "Comoments":
        """Return the comoments of an input, differentiably.

        Args:
            x: shape ``(N, C, *)``, any floating dtype. An empty batch has mean and m2 0.
            groups: G, a divisor of C.
        """
        values = _grouped(x, groups)
        count = values.shape[-1]
        mean = values.sum(-1) / max(count, 1)
        centred = values - mean.unsqueeze(-1)
        return cls(torch.full((), count, device=x.device), mean.flatten(), centred @ centred.mT)

    def merge(self, *others: "Comoments") -> "Comoments":
        r"""Return the comoments of all the values together.

        Count and mean are those of `Moments.merge`, and

        .. math::

            m_2 = \sum_i m_{2,i} + n_i (\mathrm{mean}_i - \mathrm{mean})
                (\mathrm{mean}_i - \mathrm{mean})^\top
        """
        parts = (self, *others)
        total, mean, _ = self.moments().merge(*(part.moments() for part in others))
        m2 = torch.zeros_like(self.m2)
        for part in parts:
            off = (part.mean - mean).reshape(self.m2.shape[:-1]).unsqueeze(-1)
            m2 = m2 + part.m2 + part.count * (off @ off.mT)
        return Comoments(total, mean, m2)

    def moments(self) -> Moments:
        """Return the moments of each channel alone."""
        return Moments(self.count, self.mean, self.m2.diagonal(dim1=-2, dim2=-1).flatten())

    def covariance(self) -> Tensor:
        """Return the biased covariance of each group, which normalization uses; 0 without values.

        Returns:
            Shape ``(G, C / G, C / G)``, float64.
        """
        return self.m2 / self.count.clamp(min=1)


def decorrelate(
    x: Tensor,
    mean: Tensor | None = None,
    covariance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    method: str = "zca",
    shrinkage: float = 0.0,
    eps: float = 1e-5,
) -> tuple[Tensor, Comoments | None]:
    r"""Give the channels mean 0, variance 1 and no correlation.

    .. math::

        y = W (x - \mu)\, w + b \qquad W \Sigma W^\top = I \qquad
        \Sigma = (1 - s)\, \mathrm{Cov}[x] + s\, \mathrm{diag}(\mathrm{Cov}[x]) + \epsilon I

    Args:
        x: input, shape ``(N, C, *)``, float64, float32, bfloat16 or float16.
        mean: :math:`\mu`, shape ``(C,)``; `None` takes the statistics of the batch, through which
            the gradient passes then.
        covariance: of each of G groups of channels, shape ``(G, C / G, C / G)``; `None` together
            with `mean`.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        groups: G; only channels of the same group, which are neighbours, are decorrelated.
        method: of `whitening_matrix`.
        shrinkage: s, from 0 to 1, where it is ordinary batch normalization.
        eps: added to the diagonal.

    Returns:
        Output, with the shape and dtype of `x`, and the batch's comoments, without a gradient;
        `None` where its statistics were not taken.

    Raises:
        ShapeError: `x` has fewer than two dimensions, or the covariance another shape.
        ChannelError: a per-channel tensor does not have one value per channel.
        CountError: the batch has one value per channel, or without shrinkage no more than a group
            has channels.
        DTypeError: `x` is not floating, or another tensor's dtype does not go with it.
        DeviceError: the tensors are on different devices.
        NonFiniteError: the covariance of the batch is not finite.
        OptionError: an option is out of range; or ONNX is to say what it cannot.

    References:
        Huang et al. (2018), "Decorrelated Batch Normalization".

    Example:
        >>> x = torch.randn(1000, 2, dtype=torch.float64)
        >>> y, _ = decorrelate(torch.stack((x[:, 0], x[:, 0] + x[:, 1]), 1), eps=1e-12)
        >>> torch.allclose(y.T @ y / 1000, torch.eye(2, dtype=torch.float64))
        True
    """
    check_input(x, weight, bias)
    check_statistics(x, mean, None)
    check_groups(x.shape[1], groups)
    check_shrinkage(shrinkage)
    check_eps(eps, training=mean is None)
    given = mean is not None and covariance is not None
    if ops.exporting_onnx():
        _check_onnx(given)
    batch = None
    if mean is None or covariance is None:
        _check_enough(x, groups, shrinkage)
        batch = Comoments.of(x, groups)
        mean, covariance = batch.mean, batch.covariance()
    else:
        _check_covariance(x, covariance, groups)
        mean, covariance = mean.double(), covariance.double()
    # A population's matrix is a constant to `torch.jit.trace` and the exporter that stands on it.
    whiten = partial(ops.untraced, _whitening) if given else _whitening
    matrix, dtype = whiten(covariance, shrinkage, method, eps), ops.arithmetic(x)
    centred = _grouped(x, groups).to(dtype) - mean.to(dtype).reshape(groups, -1, 1)
    z = matrix.to(dtype) @ centred
    z = z.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
    shape = _axes.broadcast(x.shape[1], x.ndim)
    z = z if weight is None else z * weight.reshape(shape)
    z = z if bias is None else z + bias.reshape(shape)
    found = None if batch is None else Comoments(*(part.detach() for part in batch))
    return z.to(x.dtype), found


def _whitening(covariance: Tensor, shrinkage: float, method: str, eps: float) -> Tensor:
    diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    return whitening_matrix(torch.lerp(covariance, diagonal, shrinkage), method, eps)


def _check_onnx(given: bool) -> None:
    """Refuse what needs the decomposition of a matrix inside a program of ONNX, which has none."""
    if not given:
        raise OptionError(
            "decorrelation in ONNX needs a covariance that is known, got that of each batch, which "
            "ONNX has no operator to decompose: export after eval()"
        )
    if not ops.tracing():
        raise OptionError(
            "decorrelation in ONNX needs an exporter that sees the covariance's values, got "
            "torch.onnx.export(dynamo=True): give dynamo=False, which takes the whitening matrix "
            "as a constant"
        )


def _grouped(x: Tensor, groups: int) -> Tensor:
    """Return the values as float64 ``(G, C / G, m)``."""
    shape = (groups, x.shape[1] // groups, _axes.count(x.shape))
    return x.transpose(0, 1).to(torch.float64).reshape(shape)


def check_groups(channels: int, groups: int) -> None:
    """Refuse groups that do not have as many channels each."""
    if groups < 1 or channels % groups:
        raise OptionError(
            f"groups must divide the number of channels, {channels}, got {groups}: "
            "groups=1 decorrelates all of them"
        )


def check_shrinkage(shrinkage: float) -> None:
    """Refuse a shrinkage that is no share."""
    if not 0.0 <= shrinkage <= 1.0:
        raise OptionError(
            f"shrinkage must be from 0 to 1, got {shrinkage}: 0 decorrelates fully, 1 not at all"
        )


def _check_enough(x: Tensor, groups: int, shrinkage: float) -> None:
    count, channels = check_count(x), x.shape[1] // groups
    if 0 < count <= channels and shrinkage == 0.0 and channels > 1:
        raise CountError(
            f"decorrelating {channels} channels needs more than {channels} values per channel, got "
            f"input size {tuple(x.shape)} with {count}: use a larger batch, more groups, or a "
            "shrinkage above 0"
        )


def _check_covariance(x: Tensor, covariance: Tensor, groups: int) -> None:
    channels = x.shape[1] // groups
    if covariance.shape != (groups, channels, channels):
        raise ShapeError(
            f"covariance needs shape {(groups, channels, channels)} for {groups} groups of the "
            f"channels of x {tuple(x.shape)}, got {tuple(covariance.shape)}: give the groups it "
            "was taken with"
        )
