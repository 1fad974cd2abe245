import copy
import io

import pytest
import torch

import batchnorm
from batchnorm.errors import OptionError
from batchnorm.nn import BatchNorm1d, BatchNorm2d, LazyBatchNorm1d


def trained(**options):
    layer = BatchNorm1d(3, **options)
    for step in range(5):
        layer(torch.randn(16, 3) * 2 + step)
    return layer


def same_state(layer, before):
    return all(torch.equal(a, b) for a, b in zip(layer.state_dict().values(), before, strict=True))


def saved(layer):
    return [value.clone() for value in layer.state_dict().values()]


def reloaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [lambda x: x, copy.deepcopy, reloaded], ids=["", "copy", "file"])
def test_frozen_is_evaluation_whatever_train_says(again):
    layer = trained().freeze()
    x = torch.randn(16, 3)
    wanted = copy.deepcopy(layer).eval()(x)
    layer = again(layer)
    torch.nn.Sequential(layer).train()
    before = saved(layer)
    assert layer.training
    assert torch.equal(layer(x), wanted)
    assert same_state(layer, before)
    layer.unfreeze()
    assert not torch.equal(layer(x), wanted)
    assert not same_state(layer, before)


def test_a_state_dict_says_nothing_of_modes():
    layer = trained().freeze()
    other = trained()
    assert list(layer.state_dict()) == list(torch.nn.BatchNorm1d(3).state_dict())
    other.load_state_dict(layer.state_dict())
    assert not other.frozen
    layer.load_state_dict(other.state_dict())
    assert layer.frozen


def test_a_frozen_layer_trains_as_the_affine_map_it_is():
    layer, x = trained().freeze(), torch.randn(16, 3, requires_grad=True)
    layer(x).square().sum().backward()
    slope = layer.weight / (layer.running_var + layer.eps).sqrt()
    y = (x - layer.running_mean) * slope + layer.bias
    torch.testing.assert_close(x.grad, (2 * y * slope).detach())
    assert layer.weight.grad is not None


def test_frozen_affine_and_back():
    layer = trained()
    layer.bias.requires_grad_(False)
    layer.freeze(affine=True)
    assert layer.affine_frozen
    assert [p.requires_grad for p in layer.parameters()] == [False, False]
    layer.freeze(affine=True)  # twice is once
    layer.unfreeze()
    assert [p.requires_grad for p in layer.parameters()] == [True, False]
    assert not layer.affine_frozen


def test_frozen_affine_as_one_map():
    """A layer that has nothing to learn is frozen with it all the same."""
    assert BatchNorm1d(3, affine=False).freeze(affine=True).affine_frozen


OTHERS = {
    "requires_grad_ of the model": (lambda layer: layer.requires_grad_(True), [True, True]),
    "requires_grad_ of one": (lambda layer: layer.bias.requires_grad_(True), [False, True]),
    "a new parameter": (
        lambda layer: setattr(layer, "weight", torch.nn.Parameter(torch.ones(3))),
        [True, False],
    ),
    "nobody": (lambda layer: layer, [False, False]),
    "a state": (lambda layer: layer.load_state_dict(trained().state_dict()), [False, False]),
    "an assigned state": (
        lambda layer: layer.load_state_dict(trained().state_dict(), assign=True),
        [False, False],
    ),
    "a dtype": (lambda layer: layer.double(), [False, False]),
    "swapped tensors": (
        lambda layer: torch.utils.swap_tensors(
            layer.weight, torch.nn.Parameter(torch.ones(3), requires_grad=False)
        ),
        [False, False],
    ),
}


@pytest.mark.parametrize("again", [lambda x: x, copy.deepcopy, reloaded], ids=["", "copy", "file"])
@pytest.mark.parametrize("name", OTHERS)
def test_affine_frozen_is_what_the_parameters_say(name, again):
    """Whoever speaks last is right: what others made to learn learns on, also after `unfreeze`."""
    change, learning = OTHERS[name]
    layer = trained().freeze(affine=True)
    change(layer)
    layer = again(layer)
    assert [p.requires_grad for p in layer.parameters()] == learning
    assert layer.affine_frozen == (not any(learning))
    assert ("affine_frozen=True" in repr(layer)) == layer.affine_frozen
    layer.freeze(affine=True)
    assert layer.affine_frozen
    layer.unfreeze()
    assert [p.requires_grad for p in layer.parameters()] == [True, True]
    assert not layer.affine_frozen


def test_frozen_by_others_is_frozen_and_stays_so():
    layer = trained()
    layer.requires_grad_(False)
    assert not layer.affine_frozen, "its statistics move"
    assert layer.freeze().affine_frozen
    layer.freeze(affine=True).unfreeze()
    assert [p.requires_grad for p in layer.parameters()] == [False, False]


def test_a_parameter_that_learns_in_the_meantime_goes_on():
    layer = trained()
    layer.requires_grad_(False)
    layer.freeze(affine=True).weight.requires_grad_(True)
    layer.unfreeze()
    assert [p.requires_grad for p in layer.parameters()] == [True, False]


def test_a_parametrized_weight_is_frozen_and_comes_back():
    layer = torch.nn.utils.parametrizations.weight_norm(trained(), dim=None)
    layer.freeze(affine=True)
    assert layer.affine_frozen
    layer.unfreeze()
    assert all(p.requires_grad for p in layer.parameters())


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda layer: layer.load_state_dict(layer.state_dict()), 0),
        (lambda layer: layer.load_state_dict(trained().state_dict(), assign=True), 0),
        (lambda layer: layer.reset_running_stats(), 0),
        (lambda layer: layer.load_state_dict({"bias": torch.zeros(3)}, strict=False), 1),
        (lambda layer: layer.double(), 1),
    ],
    ids=["loaded", "assigned", "reset", "loaded without statistics", "cast"],
)
def test_skipped_batches_are_counted_since_the_statistics_were_made_loaded_or_reset(change, left):
    layer = trained()
    layer(torch.full((4, 3), torch.nan))
    assert copy.deepcopy(layer).batches_skipped == 1
    assert reloaded(layer).batches_skipped == 1
    change(layer)
    assert layer.batches_skipped == left


def test_one_sample_goes_through_a_frozen_layer():
    assert trained().freeze()(torch.randn(1, 3)).shape == (1, 3)


def test_adapting_takes_the_batch_in_evaluation_and_leaves_the_statistics():
    layer = trained().eval()
    before, x = saved(layer), 50 + 9 * torch.randn(64, 3)
    population = layer(x)
    y = layer.adapt()(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert same_state(layer, before)
    assert torch.equal(layer.adapt(False)(x), population)
    layer.adapt().train()(x)
    assert layer.num_batches_tracked == 6, "in training it trains"


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("frozen=True", lambda layer: layer.freeze()),
        ("affine_frozen=True", lambda layer: layer.freeze(affine=True)),
        ("adapting=True", lambda layer: layer.adapt()),
    ],
)
def test_modes_are_seen(words, change):
    layer = trained()
    assert repr(layer) == repr(torch.nn.BatchNorm1d(3))
    assert words in repr(change(layer))


def test_options_are_seen():
    layer = BatchNorm2d(4, nonfinite="raise", debias=True, correction=0)
    assert repr(layer).endswith("nonfinite='raise', debias=True, correction=0)")


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (
            lambda: BatchNorm1d(3, track_running_stats=False),
            lambda layer: layer.freeze(),
            "freeze needs running statistics",
        ),
        (
            LazyBatchNorm1d,
            lambda layer: layer.freeze(affine=True),
            "got a lazy layer that has none yet: train it first",
        ),
        (
            lambda: BatchNorm1d(3).adapt(),
            lambda layer: layer.freeze(),
            "got an adapting one",
        ),
        (
            lambda: BatchNorm1d(3).freeze(),
            lambda layer: layer.adapt(),
            "got a frozen one",
        ),
    ],
)
def test_modes_that_exclude_each_other(make, change, words):
    layer = make()
    with pytest.raises(OptionError, match=words):
        change(layer)


def test_adapt_on_a_layer_without_statistics_changes_nothing():
    layer = BatchNorm1d(3, track_running_stats=False)
    x = torch.randn(8, 3)
    assert torch.equal(layer.eval()(x), layer.adapt()(x))


def test_lazy_layers_have_the_modes_too():
    layer = LazyBatchNorm1d()
    layer(torch.randn(8, 3))
    assert layer.freeze().frozen


@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_frozen_under_every_backend(backend):
    layer = trained().freeze()
    with batchnorm.backend(backend):
        layer(torch.randn(8, 3))
    assert layer.num_batches_tracked == 5
