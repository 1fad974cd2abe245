import pytest
import torch

from batchnorm import nn, reference

LAZY = [
    (nn.LazyBatchNorm1d, nn.BatchNorm1d, torch.nn.LazyBatchNorm1d, (8, 3)),
    (nn.LazyBatchNorm2d, nn.BatchNorm2d, torch.nn.LazyBatchNorm2d, (4, 3, 5, 5)),
    (nn.LazyBatchNorm3d, nn.BatchNorm3d, torch.nn.LazyBatchNorm3d, (2, 3, 2, 5, 5)),
]


@pytest.mark.parametrize(("lazy", "becomes", "torch_lazy", "shape"), LAZY)
def test_becomes_our_layer_at_the_first_input(lazy, becomes, torch_lazy, shape):
    layer = lazy(momentum=0.5, dtype=torch.float64)
    assert isinstance(layer, torch_lazy)
    layer(torch.randn(shape, dtype=torch.float64))
    assert type(layer) is becomes
    assert layer.num_features == 3
    assert layer.weight.shape == layer.running_mean.shape == (3,)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(("lazy", "becomes", "torch_lazy", "shape"), LAZY)
def test_first_forward_is_ours(lazy, becomes, torch_lazy, shape):
    """Exact at an offset where torch's layer is off by more than 1e-4."""
    x = torch.randn(shape) + 1e5
    expected = reference.forward(x.numpy()).y
    assert abs(lazy()(x).detach().numpy() - expected).max() < 2e-6
    assert abs(torch_lazy()(x).detach().numpy() - expected).max() > 1e-4


@pytest.mark.parametrize(("lazy", "becomes", "torch_lazy", "shape"), LAZY)
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}])
def test_state_loads_into_a_lazy_layer(lazy, becomes, torch_lazy, shape, options):
    layer = becomes(3, **options)
    layer(torch.randn(shape))
    other = lazy(**options)
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other.running_mean, layer.running_mean)
    assert torch.equal(other.eval()(torch.ones(shape)), layer.eval()(torch.ones(shape)))


def test_wrong_input_leaves_it_lazy_in_words():
    with pytest.raises(ValueError, match="expected 4D input"):
        nn.LazyBatchNorm2d()(torch.randn(2, 3))
