import pytest
import torch
from torch import nn

from batchnorm.errors import NonFiniteError, OptionError
from batchnorm.nn import BatchNorm1d, BatchNorm2d, LazyBatchNorm1d, accumulate_statistics


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
@pytest.mark.parametrize("sizes", [[8, 8, 8, 8], [20, 9, 3], [32]], ids=str)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_update_is_that_of_the_whole_batch(momentum, sizes, steps):
    parts, whole = BatchNorm2d(3, momentum=momentum), BatchNorm2d(3, momentum=momentum)
    for step in range(steps):
        x = 1e3 * step + torch.randn(32, 3, 4, 4)
        with accumulate_statistics(parts):
            for part in x.split(sizes):
                torch.testing.assert_close(
                    parts(part).mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0
                )
            assert parts.num_batches_tracked == step, "nothing moves before the end"
        whole(x)
    torch.testing.assert_close(parts.running_mean, whole.running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(parts.running_var, whole.running_var, rtol=1e-6, atol=1e-6)
    assert parts.num_batches_tracked == steps


def test_masked_micro_batches_weigh_what_is_there():
    parts, whole = BatchNorm1d(3), BatchNorm1d(3)
    x, mask = torch.randn(12, 3), torch.rand(12) < 0.6
    with accumulate_statistics(parts):
        for part, there in zip(x.split(6), mask.split(6), strict=True):
            parts(part, mask=there)
    whole(x[mask])
    torch.testing.assert_close(parts.running_mean, whole.running_mean)
    torch.testing.assert_close(parts.running_var, whole.running_var)


def micro_batches(model, x, *, fail=False):
    with accumulate_statistics(model):
        for part in x.split(4):
            model(part)
        if fail:
            raise ZeroDivisionError


def test_an_exception_leaves_everything_as_it_was():
    model, x = nn.Sequential(nn.Linear(4, 3), BatchNorm1d(3)), torch.randn(8, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError):
        micro_batches(model, x, fail=True)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model(x)
    assert model[1].num_batches_tracked == 1, "and it goes on as usual"


def test_a_micro_batch_that_is_not_finite_spoils_the_step_as_it_would_the_batch():
    x = torch.randn(8, 3)
    x[1, 1] = torch.nan
    layer = BatchNorm1d(3)
    micro_batches(layer, x)
    assert (layer.num_batches_tracked, layer.batches_skipped) == (0, 1)


def test_no_layer_moves_when_one_raises():
    model = nn.Sequential(
        BatchNorm1d(3), nn.Threshold(9, torch.inf), BatchNorm1d(3, nonfinite="raise")
    )
    with pytest.raises(NonFiniteError, match="in 3 of 3 channels"):
        micro_batches(model, torch.randn(8, 3))
    assert [model[i].num_batches_tracked.item() for i in (0, 2)] == [0, 0]
    assert model[0]._accumulated is None


def test_frozen_layers_and_evaluation_are_left_alone():
    model = nn.Sequential(BatchNorm1d(3).freeze(), BatchNorm1d(3), BatchNorm1d(3).eval())
    with accumulate_statistics(model):
        model(torch.randn(8, 3))
    assert [layer.num_batches_tracked.item() for layer in model] == [0, 1, 0]


def test_under_checkpointing_a_micro_batch_counts_once():
    layer, x = BatchNorm1d(3), torch.randn(8, 3, requires_grad=True)
    with accumulate_statistics(layer):
        for part in x.split(4):
            y = torch.utils.checkpoint.checkpoint(layer, part, use_reentrant=False)
            y.square().sum().backward()
    assert layer.num_batches_tracked == 1
    torch.testing.assert_close(layer.running_mean, 0.1 * x.detach().mean(0))


def test_lazy_layers():
    layer = LazyBatchNorm1d()
    with accumulate_statistics(layer):
        layer(torch.randn(4, 3))
        layer(torch.randn(4, 3))
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 2), "got no batch normalization"),
        (nn.Sequential(BatchNorm1d(2), nn.BatchNorm1d(2)), r"got torch.nn layers \['1'\]"),
        (nn.BatchNorm1d(2), r"got torch.nn layers \['model'\]"),
    ],
)
def test_what_cannot_accumulate_is_refused(model, words):
    with pytest.raises(OptionError, match=words), accumulate_statistics(model):
        pass


def test_blocks_do_not_nest():
    layer = BatchNorm1d(3)
    with (
        accumulate_statistics(layer),
        pytest.raises(OptionError, match="cannot be nested"),
        accumulate_statistics(layer),
    ):
        pass
    assert layer._accumulated is None
