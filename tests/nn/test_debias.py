"""Debiasing takes out what is left of the start, and nothing where nothing of it is left."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import batchnorm
from batchnorm.nn import BatchNorm1d, BatchRenorm1d, DomainBatchNorm1d, LazyBatchNorm1d

KEYS = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def batches(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(64, 3, generator=g, dtype=torch.float64) * 2 + 7 for _ in range(count)]


def trained(count=3, **options):
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64, **options)
    for x in batches(count):
        layer(x)
    return layer


def in_use(layer):
    """The mean and variance that evaluation takes, from what it does to two inputs."""
    layer = copy.deepcopy(layer).eval()
    with torch.no_grad():
        low, high = layer(torch.zeros(1, 3).double()), layer(torch.ones(1, 3).double())
    scale = high - low
    return torch.stack([(-low / scale)[0], (1 / scale.square() - layer.eps)[0]])


def average(weights, found):
    """The weighted average of the moments of batches, weights of any sum."""
    shares = np.array(weights) / sum(weights)
    moments = [torch.stack([x.mean(0), x.var(0)]) for x in found]
    return sum(share * moment for share, moment in zip(shares, moments, strict=True))


def assert_close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def stored(layer):
    return torch.stack([layer.running_mean, layer.running_var])


def test_a_momentum_that_changes_on_the_way():
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    momenta, weights = [0.5, 0.5, 0.1, 0.01, 0.3, 0.0], []
    for x, layer.momentum in zip(batches(6), momenta, strict=True):
        layer(x)
        weights = [weight * (1 - layer.momentum) for weight in weights] + [layer.momentum]
    assert_close(in_use(layer), average(weights, batches(6)))
    layer.momentum = 0.9  # what comes is not what was
    assert_close(in_use(layer), average(weights, batches(6)))


@pytest.mark.parametrize("count", [1, 10])
def test_exact_averages_are_left_alone(count):
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    layer(batches(1)[0] * 5)
    update_bn(batches(count), layer)
    assert layer.momentum == 0.1
    assert_close(in_use(layer), average([1] * count, batches(count)))
    x = batches(1, seed=9)[0]
    layer.train()(x)
    assert_close(in_use(layer), stored(layer))


def test_recalibrated_statistics_are_left_alone_and_counted_truly():
    layer = trained()
    batchnorm.recalibrate(torch.nn.Sequential(layer), batches(2))
    whole = torch.cat(batches(2))
    assert_close(in_use(layer), torch.stack([whole.mean(0), whole.var(0)]))
    assert layer.num_batches_tracked == 2


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("way", [lambda state: state, saved, copy.deepcopy])
def test_a_state_of_ours_goes_on_as_if_nothing_had_been(way):
    layer, twin = trained(), BatchNorm1d(3, debias=True, dtype=torch.float64)
    state = way(layer.state_dict())
    assert list(state) == KEYS
    twin.load_state_dict(state)
    assert_close(in_use(twin), in_use(layer))
    for each in (layer, twin):
        each(batches(1, seed=5)[0])
    assert torch.equal(in_use(twin), in_use(layer))


def test_a_state_is_loaded_by_torch_s_layer_which_knows_nothing_of_it():
    layer, plain = trained(), torch.nn.BatchNorm1d(3, dtype=torch.float64)
    plain.load_state_dict(layer.state_dict())
    x = batches(1)[0]
    wanted = (x - layer.running_mean) / (layer.running_var + 1e-5).sqrt()
    assert_close(plain.eval()(x), wanted)


@pytest.mark.parametrize("without", [(), ("num_batches_tracked",)])
def test_statistics_from_elsewhere_have_no_start_in_them(without):
    plain = torch.nn.BatchNorm1d(3, dtype=torch.float64, momentum=None)
    plain(batches(1)[0])
    state = {name: value for name, value in plain.state_dict().items() if name not in without}
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    layer.load_state_dict(state, strict=False)
    assert_close(in_use(layer), stored(plain))
    layer.train()(batches(1, seed=3)[0])
    assert_close(in_use(layer), stored(layer))


def test_statistics_that_are_copied_have_no_start_in_them():
    layer = trained()
    with torch.no_grad():
        layer.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.running_var.mul_(0).add_(4)
    assert_close(in_use(layer), stored(layer))


def test_the_start_is_the_start_however_it_came():
    fresh, layer = BatchNorm1d(3, debias=True, dtype=torch.float64), trained()
    layer.load_state_dict(torch.nn.BatchNorm1d(3, dtype=torch.float64).state_dict())
    again = trained()
    again.reset_running_stats()
    by_hand = trained()
    with torch.no_grad():
        by_hand.running_mean.zero_(), by_hand.running_var.fill_(1.0)
    x = batches(1, seed=2)[0]
    for each in (fresh, layer, again, by_hand):
        assert_close(in_use(each), torch.stack([torch.zeros(3), torch.ones(3)]).double())
        each.train()(x)
        assert_close(in_use(each), average([1], [x]))


def test_a_teacher_that_averages_all_buffers():
    student = torch.nn.Sequential(BatchNorm1d(3, debias=True, momentum=0.2))
    teacher = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    weights, mixed = [], []
    for step, x in enumerate(batches(4)):
        student(x.float())
        teacher.update_parameters(student)
        weights = [weight * 0.8 for weight in weights] + [0.2]
        new = np.array(weights + [0.0] * (3 - step))
        mixed = new if step == 0 else 0.75 * mixed + 0.25 * new
    found = in_use(copy.deepcopy(teacher.module[0]).double())
    torch.testing.assert_close(found, average(mixed, batches(4)), rtol=1e-4, atol=1e-4)


def test_a_teacher_that_averages_states_is_torch_s():
    student, teacher = trained(1), BatchNorm1d(3, debias=True, dtype=torch.float64)
    for x in batches(3):
        student(x)
        for mine, its in zip(
            teacher.state_dict().values(), student.state_dict().values(), strict=True
        ):
            mine.copy_(0.9 * mine + 0.1 * its if mine.is_floating_point() else its)
    assert_close(in_use(teacher), stored(teacher))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])  # noqa: S301
def test_copies_remember(way):
    assert_close(in_use(way(trained())), average([0.81, 0.9, 1], batches(3)))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_pickle_from_before_there_was_a_memory(momentum):
    layer = trained(momentum=momentum)
    wanted = in_use(layer)
    state = layer.__getstate__()
    state["_buffers"] = {n: b for n, b in state["_buffers"].items() if n != "debias_state"}
    old = BatchNorm1d.__new__(BatchNorm1d)
    old.__setstate__(state)
    assert_close(in_use(old), wanted)


def test_asked_for_later_it_takes_the_momentum_for_constant():
    layer = BatchNorm1d(3, dtype=torch.float64)
    for x in batches(3):
        layer(x)
    layer.debias = True
    assert_close(in_use(layer), in_use(trained()))


def test_what_is_skipped_does_not_count():
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    first, second, third = batches(3)
    for x in (first, torch.full_like(second, torch.nan), second, third):
        layer(x)
    assert layer.batches_skipped == 1
    assert_close(in_use(layer), in_use(trained()))


def test_micro_batches_count_once():
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    for x in batches(3):
        with batchnorm.nn.accumulate_statistics(layer):
            for part in x.split(16):
                layer(part)
    assert_close(in_use(layer), in_use(trained()))


def test_a_lazy_layer_and_one_in_16_bits():
    layer = LazyBatchNorm1d(debias=True)
    for x in batches(3):
        layer(x.float())
    wanted = in_use(trained())
    torch.testing.assert_close(in_use(layer.double()), wanted, rtol=1e-5, atol=1e-5)
    half = trained().to(torch.float32).bfloat16()
    assert half.debias_state.dtype == torch.float32
    torch.testing.assert_close(in_use(half.double()), wanted, rtol=1e-4, atol=1e-4)


def test_compiled_training_remembers():
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    call = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for x in batches(3):
        call(x)
    assert_close(in_use(layer), in_use(trained()))


def test_the_relatives_remember_too():
    domains = DomainBatchNorm1d(3, 2, debias=True, dtype=torch.float64)
    for x in batches(3):
        domains(x, 1)
    assert_close(in_use(domains.domains[1]), in_use(trained()))
    renorm = BatchRenorm1d(3, debias=True, dtype=torch.float64)
    for x in batches(3):
        renorm(x)
    assert_close(in_use(renorm), in_use(trained()))


def test_a_state_that_was_copied_without_its_metadata_is_known_again():
    layer, x = trained(), batches(1, seed=4)[0]
    wanted = layer.eval()(x)
    bare = {name: value.clone() for name, value in layer.state_dict().items()}
    for each in (BatchNorm1d(3, debias=True, dtype=torch.float64), layer.train()):
        each(batches(1, seed=5)[0])
        each.load_state_dict(bare)
        assert_close(each.eval()(x), wanted)


def test_a_state_that_nobody_knows_is_taken_as_it_is_and_that_is_said(caplog):
    layer = trained()
    layer.running_mean.add_(1.0)
    bare = {name: value.clone() for name, value in layer.state_dict().items()}
    bare["running_mean"] = bare["running_mean"] + 1.0
    other = BatchNorm1d(3, debias=True, dtype=torch.float64)
    other.load_state_dict(bare)
    assert_close(in_use(other), stored(other))
    assert "batches came without the metadata" in caplog.text


@pytest.mark.parametrize("count", [0, 500])
def test_nothing_is_said_where_the_start_does_not_matter(count, caplog):
    layer = torch.nn.BatchNorm1d(3)
    layer.running_mean.add_(2.0)
    layer.num_batches_tracked.fill_(count)
    other = BatchNorm1d(3, debias=True)
    other.load_state_dict(dict(layer.state_dict()))
    x = torch.randn(8, 3)
    torch.testing.assert_close(other.eval()(x), layer.eval()(x))
    assert not caplog.text
