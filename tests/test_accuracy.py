"""The accuracy law: the error depends neither on the offset nor on the layout."""

import numpy as np
import pytest
import torch

from batchnorm import functional, reference
from support.layers.cases import lay_out

IMAGES, FEATURES, VOLUMES = (16, 4, 31, 33), (100_000, 3), (4, 2, 5, 17, 13)
INPUTS = [
    (shape, layout)
    for shape in (IMAGES, FEATURES, VOLUMES)
    for layout in ("contiguous", "transposed", "channels_last")
    if layout != "channels_last" or len(shape) > 3
]
BOUND = 2e-6


def measure(function, x):
    """Largest output error, and relative error of the running variance."""
    mean, var = torch.zeros(x.shape[1]), torch.ones(x.shape[1])
    y = function(x, mean, var, training=True, momentum=1.0)
    expected = reference.forward(x.numpy())
    batch = expected.statistics
    unbiased = batch.var * batch.count / (batch.count - 1)
    return np.abs(y.numpy() - expected.y).max(), np.abs(var.numpy() / unbiased - 1).max()


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e2, 1e4, 1e6, -1e6])
@pytest.mark.parametrize(("shape", "layout"), INPUTS, ids=str)
def test_error_is_independent_of_offset_and_layout(shape, layout, offset):
    x = lay_out(torch.randn(shape) + offset, layout)
    output, variance = measure(functional.batch_norm, x)
    assert output <= BOUND
    assert variance <= 1e-6


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_the_law_can_fail(layout):
    """torch's own layer breaks it, so the measurement above can see an error."""
    x = lay_out(torch.randn(IMAGES) + 1e4, layout)
    output, _ = measure(torch.nn.functional.batch_norm, x)
    assert output > 100 * BOUND


def test_a_million_values_per_channel():
    """evidence: (2^20, 2) at offset 100, where torch's output has a mean of 0.76."""
    x = torch.randn(2**20, 2) + 100
    output, variance = measure(functional.batch_norm, x)
    assert output <= BOUND
    assert variance <= 1e-6


def test_a_constant_input_gives_the_bias():
    y, _ = functional.normalize(torch.full((2**20, 2), 1e6), torch.ones(2), torch.full((2,), 0.5))
    assert torch.equal(y, torch.full_like(y, 0.5))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_gradient_at_an_offset(offset):
    x = (torch.randn(64, 3, 9, 9) + offset).requires_grad_()
    dy = torch.randn(x.shape)
    functional.normalize(x)[0].backward(dy)
    expected = reference.backward(dy.numpy(), x.detach().numpy())
    assert np.abs(x.grad.numpy() - expected.dx).max() <= 4 * BOUND
