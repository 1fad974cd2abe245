r"""The specification: batch normalization in NumPy float64, slow and readable.

Everything else in this package is tested against these functions. They follow Algorithms 1
and 2 of Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
Reducing Internal Covariate Shift", on arrays ``(N, C, *)``. For channel c, over its
m = N·prod(spatial) values:

.. math::

    \mu = \tfrac{1}{m}\sum x \qquad \sigma^2 = \tfrac{1}{m}\sum (x - \mu)^2 \qquad
    \hat{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \qquad y = w\,\hat{x} + b

The derivation of the backward pass, step by step, is in ``docs/explain/derivation.md``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from batchnorm import _axes

Array = NDArray[np.float64]


class Statistics(NamedTuple):
    """Count, mean and biased variance of every channel.

    Attributes:
        count: values per channel.
        mean: shape ``(C,)``.
        var: biased (divided by count), shape ``(C,)``.
    """

    count: int  # type: ignore[assignment] # hides tuple.count, which nobody wants here
    mean: Array
    var: Array


class Training(NamedTuple):
    """What the training forward returns.

    Attributes:
        y: output, shape ``(N, C, *)``.
        xhat: normalized input, shape ``(N, C, *)``.
        invstd: ``1 / sqrt(var + eps)``, shape ``(C,)``.
        statistics: those of the batch.
    """

    y: Array
    xhat: Array
    invstd: Array
    statistics: Statistics


class Gradients(NamedTuple):
    """Gradients of a loss: `dx` shaped ``(N, C, *)``, `dweight` and `dbias` shaped ``(C,)``."""

    dx: Array
    dweight: Array
    dbias: Array


def statistics(x: ArrayLike) -> Statistics:
    """Return the statistics of each channel, in two passes.

    Args:
        x: input, shape ``(N, C, *)``. An empty batch has mean and variance 0.

    Example:
        >>> statistics([[1.0, 10.0], [3.0, 10.0]])
        Statistics(count=2, mean=array([ 2., 10.]), var=array([1., 0.]))
    """
    x = np.asarray(x, np.float64)
    count = _axes.count(x.shape)
    if count == 0:
        zero = np.zeros(x.shape[1])
        return Statistics(0, zero, zero.copy())
    axes = _axes.reduced(x.ndim)
    shape = _axes.broadcast(x.shape[1], x.ndim)
    mean = x.mean(axes)
    # One correction step: the mean of what is left takes the rounding of the first sum out.
    mean = mean + (x - mean.reshape(shape)).mean(axes)
    var = ((x - mean.reshape(shape)) ** 2).mean(axes)
    return Statistics(count, mean, var)


def forward(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Training:
    """Normalize with the statistics of the batch (Algorithm 1).

    Args:
        x: input, shape ``(N, C, *)``.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        eps: added to the variance, inside the square root.

    Example:
        >>> forward([[1.0], [3.0]], eps=0.0).y.ravel()
        array([-1.,  1.])
    """
    x = np.asarray(x, np.float64)
    batch = statistics(x)
    invstd = 1.0 / np.sqrt(batch.var + eps)
    shape = _axes.broadcast(x.shape[1], x.ndim)
    xhat = (x - batch.mean.reshape(shape)) * invstd.reshape(shape)
    return Training(_affine(xhat, weight, bias), xhat, invstd, batch)


def backward(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike | None = None, eps: float = 1e-5
) -> Gradients:
    r"""Differentiate `forward`, in closed form.

    .. math::

        dx = \frac{w}{\sqrt{\sigma^2 + \epsilon}}
             \left(dy - \overline{dy} - \hat{x}\,\overline{dy\,\hat{x}}\right)

    Args:
        dy: gradient of the loss with respect to the output, shape ``(N, C, *)``.
        x: the input of `forward`, shape ``(N, C, *)``.
        weight: the scale of `forward`, shape ``(C,)``; `None` is 1.
        eps: the eps of `forward`.
    """
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    axes, shape = _axes.reduced(x.ndim), _axes.broadcast(x.shape[1], x.ndim)
    _, xhat, invstd, batch = forward(x, eps=eps)
    dbias, dweight = dy.sum(axes), (dy * xhat).sum(axes)
    per_value = max(batch.count, 1)
    scale = _affine(np.broadcast_to(invstd.reshape(shape), x.shape), weight, None)
    mean_dy, mean_dy_xhat = dbias / per_value, dweight / per_value
    dx = scale * (dy - mean_dy.reshape(shape) - xhat * mean_dy_xhat.reshape(shape))
    return Gradients(dx, dweight, dbias)


def backward_chain(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike | None = None, eps: float = 1e-5
) -> Gradients:
    r"""Differentiate `forward` as the paper writes it: one partial derivative after the other.

    The six equations of section 3 (Ioffe and Szegedy, 2015), in their order. `backward` is
    what they simplify to; that the two agree is a test.

    Args:
        dy: gradient of the loss with respect to the output, shape ``(N, C, *)``.
        x: the input of `forward`, shape ``(N, C, *)``.
        weight: the scale of `forward`, shape ``(C,)``; `None` is 1.
        eps: the eps of `forward`.
    """
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    axes, shape = _axes.reduced(x.ndim), _axes.broadcast(x.shape[1], x.ndim)
    m, mean, var = statistics(x)
    m = max(m, 1)
    centred = x - mean.reshape(shape)
    root = np.sqrt(var + eps)

    dxhat = _affine(dy, weight, None)
    dvar = (dxhat * centred).sum(axes) * -0.5 * root**-3
    dmean = -(dxhat.sum(axes) / root) + dvar * (-2.0 * centred).sum(axes) / m
    dx = (
        dxhat / root.reshape(shape)
        + dvar.reshape(shape) * 2.0 * centred / m
        + dmean.reshape(shape) / m
    )
    dweight = (dy * centred / root.reshape(shape)).sum(axes)
    return Gradients(dx, dweight, dy.sum(axes))


def inference(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Array:
    """Normalize with given statistics (Algorithm 2, step 11): an affine map of `x`.

    Args:
        x: input, shape ``(N, C, *)``.
        mean: population mean, shape ``(C,)``.
        var: population variance, shape ``(C,)``.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        eps: added to the variance, inside the square root.

    Example:
        >>> inference([[7.0]], mean=[5.0], var=[4.0], weight=[3.0], bias=[1.0], eps=0.0)
        array([[4.]])
    """
    x = np.asarray(x, np.float64)
    shape = _axes.broadcast(x.shape[1], x.ndim)
    mean, var = np.asarray(mean, np.float64), np.asarray(var, np.float64)
    xhat = (x - mean.reshape(shape)) / np.sqrt(var + eps).reshape(shape)
    return _affine(xhat, weight, bias)


def inference_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    weight: ArrayLike | None = None,
    eps: float = 1e-5,
) -> Gradients:
    """Differentiate `inference` with respect to `x`, `weight` and `bias`.

    The statistics are constants here, so nothing is subtracted from `dy`.

    Args:
        dy: gradient of the loss with respect to the output, shape ``(N, C, *)``.
        x: the input of `inference`, shape ``(N, C, *)``.
        mean: population mean, shape ``(C,)``.
        var: population variance, shape ``(C,)``.
        weight: the scale of `inference`, shape ``(C,)``; `None` is 1.
        eps: the eps of `inference`.
    """
    dy = np.asarray(dy, np.float64)
    axes, shape = _axes.reduced(dy.ndim), _axes.broadcast(dy.shape[1], dy.ndim)
    xhat = inference(x, mean, var, eps=eps)
    root = np.sqrt(np.asarray(var, np.float64) + eps)
    dx = _affine(dy, weight, None) / root.reshape(shape)
    return Gradients(dx, (dy * xhat).sum(axes), dy.sum(axes))


def update_running(
    running: tuple[ArrayLike, ArrayLike], batch: Statistics, momentum: float
) -> tuple[Array, Array]:
    """Return the running mean and variance after one more batch.

    The batch enters with weight `momentum`, its variance unbiased (m/(m-1)). An empty batch
    changes nothing.

    Args:
        running: running mean and running variance so far, each of shape ``(C,)``.
        batch: statistics of the new batch.
        momentum: weight of the new batch, from 0 to 1.

    Example:
        >>> batch = statistics([[2.0], [4.0]])
        >>> update_running(([0.0], [1.0]), batch, momentum=0.1)
        (array([0.3]), array([1.1]))
    """
    mean, var = (np.asarray(value, np.float64) for value in running)
    if batch.count == 0:
        return mean, var
    unbiased = batch.var * batch.count / (batch.count - 1)
    return (
        (1.0 - momentum) * mean + momentum * batch.mean,
        (1.0 - momentum) * var + momentum * unbiased,
    )


def population(batches: Sequence[Statistics]) -> tuple[Array, Array]:
    r"""Estimate the population's statistics from batches of one size (Algorithm 2, step 10).

    .. math::

        \mathrm{E}[x] = \mathrm{E}_B[\mu_B] \qquad
        \mathrm{Var}[x] = \tfrac{m}{m-1}\,\mathrm{E}_B[\sigma_B^2]

    Args:
        batches: statistics of each batch, all of the same count m > 1.

    Raises:
        ValueError: there is no batch, or the counts differ or are below 2.

    Example:
        >>> population([statistics([[1.0], [3.0]]), statistics([[2.0], [4.0]])])
        (array([2.5]), array([2.]))
    """
    counts = sorted({batch.count for batch in batches})
    if len(counts) != 1 or counts[0] < 2:  # noqa: PLR2004 -- a variance needs two values
        raise ValueError(
            "population needs batches of one size of at least 2 values per channel, "
            f"got sizes {counts}: leave the ragged batch out, or merge their moments instead"
        )
    m = counts[0]
    mean = np.mean([batch.mean for batch in batches], axis=0)
    var = np.mean([batch.var for batch in batches], axis=0)
    return mean, m / (m - 1) * var


def _affine(xhat: Array, weight: ArrayLike | None, bias: ArrayLike | None) -> Array:
    shape = _axes.broadcast(xhat.shape[1], xhat.ndim)
    y = xhat
    if weight is not None:
        y = y * np.asarray(weight, np.float64).reshape(shape)
    if bias is not None:
        y = y + np.asarray(bias, np.float64).reshape(shape)
    return y
