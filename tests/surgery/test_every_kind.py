"""Every layer with statistics is done or listed, whatever its kind."""

import copy

import pytest
import torch
from torch import nn

import batchnorm.nn as ours
from batchnorm.errors import OptionError, SurgeryError
from batchnorm.measure import evaluation_gap
from batchnorm.surgery import adapt, average_statistics, freeze, pool_statistics, recalibrate
from support.models.foreign import BatchNormAct2d
from support.models.surgery import FrozenBatchNorm2d

RAGGED = (40, 7, 19)
SPATIAL = {1: (), 2: (3, 2), 3: (2, 2, 2)}


def draw(*spatial, channels=4, rows=RAGGED):
    """Return batches of correlated channels that differ in mean and scale."""
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(channels, channels, generator=g, dtype=torch.float64)
    batches = []
    for step, n in enumerate(rows):
        x = torch.randn(n, *spatial, channels, generator=g, dtype=torch.float64)
        batches.append(((step + 1) * x @ mix + 3 * step).movedim(-1, 1))
    return batches


def covariance(batches, groups=1):
    """Return the mean and the unbiased covariance of all values, group by group."""
    values = torch.cat([x.movedim(1, 0).flatten(1) for x in batches], 1)
    return values.mean(1), torch.stack([torch.cov(part) for part in values.chunk(groups)])


def decorrelated(n, groups=1, **options):
    kind = getattr(ours, f"DecorrelatedBatchNorm{n}d")
    return kind(4, groups=groups, dtype=torch.float64, **options)


@pytest.mark.parametrize("layer_by_layer", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("n", SPATIAL)
def test_a_decorrelated_layer_gets_mean_and_covariance_of_all_values(n, groups, layer_by_layer):
    layer, batches = decorrelated(n, groups, shrinkage=0.1), draw(*SPATIAL[n])
    record = recalibrate(layer, batches, layer_by_layer=layer_by_layer)
    assert [row.what for row in record.changes] == ["recalibrated"]
    mean, cov = covariance(batches, groups)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_cov, cov)
    assert layer.num_batches_tracked == 3
    assert layer.training


def test_one_batch_is_what_training_with_momentum_one_gives():
    (batch,) = draw(rows=(50,))
    trained, layer = decorrelated(1, momentum=1.0), decorrelated(1)
    trained(batch)
    recalibrate(layer, [batch])
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)


def test_algorithm_2_averages_the_covariances_of_the_batches():
    layer, batches = decorrelated(1), draw()
    recalibrate(layer, batches, method="algorithm-2")
    each = [covariance([batch]) for batch in batches]
    torch.testing.assert_close(layer.running_mean, torch.stack([m for m, _ in each]).mean(0))
    torch.testing.assert_close(layer.running_cov, torch.stack([c for _, c in each]).mean(0))


def mixed():
    torch.manual_seed(0)
    return nn.Sequential(
        ours.BatchNorm1d(4), nn.Linear(4, 4), decorrelated(1), nn.Linear(4, 4), nn.BatchNorm1d(4)
    ).double()


def test_layer_by_layer_each_meets_what_it_meets_in_evaluation():
    model, batches = mixed(), draw()
    recalibrate(model, batches, layer_by_layer=True)
    model.eval()
    inner = [model[:2](batch).detach() for batch in batches]
    mean, cov = covariance(inner)
    torch.testing.assert_close(model[2].running_mean, mean)
    torch.testing.assert_close(model[2].running_cov, cov)
    _, cov = covariance([model[:4](batch).detach() for batch in batches], 4)
    torch.testing.assert_close(model[4].running_var, cov.flatten())


def test_after_one_batch_evaluation_repeats_the_pass():
    model, (batch,) = mixed(), draw(rows=(5000,))
    model[2].shrinkage = 0.2
    expected = copy.deepcopy(model)(batch)
    recalibrate(model, [batch])
    torch.testing.assert_close(model.eval()(batch), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weight", [0.0, 25.0])
def test_a_decorrelated_layer_is_adapted_and_given_back(weight):
    layer, batches = decorrelated(1), draw()
    recalibrate(layer, [10 + x for x in draw(rows=(30,))])
    before = (layer.running_mean.clone(), layer.running_cov.clone())
    mean, cov = covariance(batches)
    share = weight / (weight + sum(RAGGED))
    with adapt(layer, batches, source_weight=weight):
        torch.testing.assert_close(layer.running_mean, torch.lerp(mean, before[0], share))
        torch.testing.assert_close(layer.running_cov, torch.lerp(cov, before[1], share))
    assert torch.equal(layer.running_mean, before[0])
    assert torch.equal(layer.running_cov, before[1])


def test_decorrelated_layers_are_pooled_and_averaged():
    batches = draw()
    clients = [decorrelated(1, groups=2) for _ in batches]
    for client, batch in zip(clients, batches, strict=True):
        recalibrate(client, [batch])
    server = decorrelated(1, groups=2)
    pool_statistics(server, clients, RAGGED)
    mean, cov = covariance(batches, 2)
    torch.testing.assert_close(server.running_mean, mean)
    torch.testing.assert_close(server.running_cov, cov)
    average_statistics(server, clients[0], decay=0.75)
    mean_0, cov_0 = covariance(batches[:1], 2)
    torch.testing.assert_close(server.running_mean, torch.lerp(mean_0, mean, 0.75))
    torch.testing.assert_close(server.running_cov, torch.lerp(cov_0, cov, 0.75))


def test_a_decorrelated_layer_has_a_gap_until_it_is_recalibrated():
    model, (batch,) = nn.Sequential(decorrelated(1)), draw(rows=(2000,))
    assert evaluation_gap(model, batch).layers[0].gap > 1
    recalibrate(model, [batch])
    assert evaluation_gap(model, batch).layers[0].gap < 1e-2


def test_a_failure_leaves_a_decorrelated_layer_as_it_was():
    layer, batches = decorrelated(1), draw()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    buffers = [id(buffer) for buffer in layer.buffers()]
    with pytest.raises(ZeroDivisionError):
        recalibrate(layer, (batches[0] / (1 / step) for step in (1, 0)))
    assert [id(buffer) for buffer in layer.buffers()] == buffers
    for name, value in before.items():
        assert torch.equal(layer.state_dict()[name], value)


class Whitening(nn.Module):
    """A layer of somebody else's, with statistics of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_scale", torch.ones(4))

    def forward(self, x):
        return x * self.running_scale[:, None, None]


LISTED = {
    "frozen layer of another package": (
        lambda: FrozenBatchNorm2d(4),
        "frozen: its class always normalizes with its own statistics",
    ),
    "instance normalization": (
        lambda: nn.InstanceNorm2d(4, track_running_stats=True),
        "instance normalization, whose statistics are of single samples",
    ),
    "unknown": (Whitening, "Whitening is a class whose statistics are not known here"),
    "frozen decorrelation": (lambda: ours.DecorrelatedBatchNorm2d(4).freeze(), "frozen"),
    "no statistics": (
        lambda: ours.DecorrelatedBatchNorm2d(4, track_running_stats=False),
        "no running statistics",
    ),
}


@pytest.mark.parametrize("case", LISTED)
def test_what_is_left_alone_is_listed(case):
    build, reason = LISTED[case]
    model = nn.Sequential(nn.BatchNorm2d(4), build())
    batches = [torch.randn(8, 4, 3, 3)]
    before = {name: value.clone() for name, value in model[1].state_dict().items()}
    for record in (recalibrate(model, batches), adapt(model, batches)):
        assert [row.module for row in record.done] == ["0"]
        assert [(row.module, row.detail) for row in record.left] == [("1", reason)]
    for name, value in before.items():
        assert torch.equal(model[1].state_dict()[name], value)
    with pytest.raises(OptionError, match="names must be those of"):
        recalibrate(model, batches, names=["1"])


@pytest.mark.parametrize("build", [nn.SyncBatchNorm, lambda c: BatchNormAct2d(c, nn.GELU())])
def test_layers_of_other_classes_are_done(build):
    model, batches = nn.Sequential(build(4)), [torch.randn(8, 4, 3, 3), torch.randn(5, 4, 3, 3)]
    assert [row.what for row in recalibrate(model, batches).changes] == ["recalibrated"]
    mean, cov = covariance(batches, 4)
    torch.testing.assert_close(model[0].running_mean, mean)
    torch.testing.assert_close(model[0].running_var, cov.flatten())


def test_a_convolution_that_reads_the_statistics_of_its_layer():
    qat = torch.ao.nn.intrinsic.qat
    config = torch.ao.quantization.get_default_qat_qconfig()
    model = nn.Sequential(nn.BatchNorm2d(4), qat.ConvBn2d(4, 4, 1, qconfig=config))
    record = recalibrate(model, [torch.randn(8, 4, 3, 3)])
    assert [row.module for row in record.done] == ["0"]
    assert record.left[0].detail == (
        "ConvBn2d reads its statistics in training: estimate before preparing"
    )


def test_other_statistics_are_named_by_the_other_instruments():
    model = nn.Sequential(ours.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True))
    assert [row.module for row in freeze(model).left] == ["1"]
    pooled = pool_statistics(copy.deepcopy(model), [model], [100])
    assert [(row.module, row.what) for row in pooled.changes] == [
        ("0", "pooled"),
        ("1", "left alone"),
    ]
    model = nn.Sequential(nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True))
    gap = evaluation_gap(model.append(FrozenBatchNorm2d(4)), torch.randn(8, 4, 3, 3))
    assert (gap.others, gap.frozen) == (("1",), ("2",))


def test_lazy_layers_are_refused():
    with pytest.raises(SurgeryError, match="got the lazy LazyBatchNorm2d '0': pass one batch"):
        recalibrate(nn.Sequential(nn.LazyBatchNorm2d()), [torch.randn(8, 4, 3, 3)])
