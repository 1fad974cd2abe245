"""Batch normalization as functions: one with torch's signature, one that mutates nothing."""

from torch import Tensor

from batchnorm._moments import Moments
from batchnorm.functional._apply import evaluate, measure, train
from batchnorm.functional._batch import Batch
from batchnorm.functional._checks import (
    check_count,
    check_counter,
    check_eps,
    check_input,
    check_statistics,
)
from batchnorm.functional._kinds import check_tensors
from batchnorm.functional._options import epilogue_of, options_of


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor | None = 0.1,
    eps: float = 1e-5,
    *,
    residual: Tensor | None = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    num_batches_tracked: Tensor | None = None,
    batches_skipped: Tensor | None = None,
    nonfinite: str = "skip",
    correction: int = 1,
) -> Tensor:
    r"""Normalize every channel; in training, also update the running statistics.

    The signature of `torch.nn.functional.batch_norm`, and what often follows it done in the same
    pass over memory.

    .. math::

        y = f\left(\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\, w + b + r\right)

    Args:
        x: input, shape ``(N, C, *)``, float64, float32, bfloat16 or float16.
        running_mean: running mean, shape ``(C,)``; changed in place in training.
        running_var: running (unbiased) variance, shape ``(C,)``; changed in place in training.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        training: normalize with the statistics of the batch (and update the running ones, where
            given); otherwise with the running ones.
        momentum: weight of the new batch in the running statistics, a number or a tensor of one;
            `None` gives all batches so far equal weight, and needs `num_batches_tracked`.
        eps: added to the variance, inside the square root.
        residual: r, added before the activation, shape and dtype of `x`; `None` is 0.
        activation: f, one of
            ``relu``, ``leaky_relu``, ``relu6``, ``elu``, ``silu``, ``gelu``, ``gelu_tanh``,
            ``hardswish``, ``sigmoid``, ``hardsigmoid`` and ``tanh``;
            `None` is the identity.
        negative_slope: slope of ``leaky_relu`` below zero, positive.
        mask: which positions are data, a bool of shape ``(N, *)``: `x` without its channels.
            Padding is ignored, gets no gradient, and outputs 0. `None` is all.
        sample_weight: how often each sample counts in the statistics of the batch, shape
            ``(N,)``, not negative; `None` is 1.
        num_batches_tracked: goes up by one in training, in place, when the running statistics
            move; an int64 of shape ``()``.
        batches_skipped: goes up by one in training, in place, when `nonfinite` skips a batch; an
            int64 of shape ``()``.
        nonfinite: what becomes of the running statistics after a batch whose mean or variance is
            not finite in some channel: ``skip`` leaves them as they are, without waiting for the
            device; ``propagate`` moves them all the same; ``raise`` waits and raises.
        correction: the running variance takes in the squared deviations divided by
            count - correction; 1 is torch's convention, 0 that of Keras, flax and ONNX.

    Returns:
        Output, with the shape, dtype and memory format of `x`.

    Raises:
        ShapeError: `x` has fewer than two dimensions, or `residual`, `mask` or `sample_weight`
            another shape.
        ChannelError: a per-channel tensor does not have one value per channel.
        CountError: in training, there is one value per channel only.
        DTypeError: `x` is not floating, another tensor's dtype does not go with it, or a counter
            is not one int64.
        DeviceError: the tensors are on different devices.
        NonFiniteError: a statistic of the batch is not finite, under ``nonfinite="raise"``.
        OptionError: `eps` is negative, or zero in training; evaluation without both running
            statistics; an unknown activation, `nonfinite` or `correction`; or `momentum` is
            `None` without a counter.

    Note:
        The output is normalized with the biased variance; the running variance gets the unbiased
        one. An empty batch gives an empty output and leaves the running statistics untouched, and
        so does a mask that leaves fewer than two values. `running_mean` and `running_var` get no
        gradient.

    References:
        Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift", Algorithms 1 and 2.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> mean, var = torch.zeros(1), torch.ones(1)
        >>> batch_norm(x, mean, var, training=True, momentum=0.5).flatten()
        tensor([-1.0000,  1.0000])
        >>> mean, var
        (tensor([1.]), tensor([1.5000]))
        >>> padded = torch.tensor([[1.0], [3.0], [99.0]])
        >>> there = torch.tensor([True, True, False])
        >>> batch_norm(padded, None, None, training=True, mask=there).flatten()
        tensor([-1.0000,  1.0000,  0.0000])
    """
    check_tensors(
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
        num_batches_tracked=num_batches_tracked,
    )
    check_input(x, weight, bias)
    check_statistics(x, running_mean, running_var)
    check_eps(eps, training)
    options = options_of(activation, negative_slope, nonfinite, correction)
    batch = Batch(x, residual, mask, sample_weight).checked()
    if training:
        check_counter(x, num_batches_tracked, "num_batches_tracked")
        check_counter(x, batches_skipped, "batches_skipped")
        running = options.running(
            running_mean, running_var, num_batches_tracked, batches_skipped, momentum
        )
        if check_count(x) == 0:
            running = None
        return train(batch, (weight, bias), eps, running, options)
    return evaluate(batch, (weight, bias), running_mean, running_var, eps, options.epilogue)


def normalize(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    residual: Tensor | None = None,
    activation: str | None = None,
    negative_slope: float = 0.01,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> tuple[Tensor, Moments]:
    """Normalize with the statistics of the batch, and return them: mutates nothing.

    The form for `torch.func`: `grad`, `vmap`, `jvp` and `functional_call` pass through it.
    `update_running_` takes the moments afterwards.

    Args:
        x: input, shape ``(N, C, *)``, float64, float32, bfloat16 or float16.
        weight: scale, shape ``(C,)``; `None` is 1.
        bias: shift, shape ``(C,)``; `None` is 0.
        eps: added to the variance, inside the square root; positive.
        residual: added before the activation, shape and dtype of `x`; `None` is 0.
        activation: as in `batch_norm`; `None` is the identity.
        negative_slope: slope of ``leaky_relu`` below zero, positive.
        mask: which positions are data, a bool of shape ``(N, *)``; `None` is all.
        sample_weight: how often each sample counts, shape ``(N,)``; `None` is 1.

    Returns:
        Output like `x`, and the `Moments` of the batch, which carry no gradient. Their count is
        the sum of the weights, a float64, where there is a mask or a weight.

    Raises:
        ShapeError: `x` has fewer than two dimensions, or `residual`, `mask` or `sample_weight`
            another shape.
        ChannelError: a per-channel tensor does not have one value per channel.
        CountError: there is one value per channel only.
        DTypeError: `x` is not floating, or another tensor's dtype does not go with it.
        OptionError: `eps` is not positive, or the activation is unknown.

    References:
        Ioffe and Szegedy (2015), Algorithm 1.

    Example:
        >>> import torch
        >>> y, moments = normalize(torch.tensor([[1.0], [3.0]]))
        >>> y.flatten()
        tensor([-1.0000,  1.0000])
        >>> moments.mean.item(), moments.variance(correction=1).item()
        (2.0, 2.0)
        >>> def energy(x):
        ...     y, moments = normalize(x)
        ...     return (y**3).sum(), moments
        >>> gradient, moments = torch.func.grad(energy, has_aux=True)(torch.randn(8, 4))
        >>> gradient.shape, moments.mean.shape
        (torch.Size([8, 4]), torch.Size([4]))
    """
    check_tensors(weight=weight, bias=bias)
    check_input(x, weight, bias)
    check_eps(eps, training=True)
    epilogue = epilogue_of(activation, negative_slope)
    batch = Batch(x, residual, mask, sample_weight).checked()
    check_count(x)
    return measure(batch, (weight, bias), eps, epilogue)
