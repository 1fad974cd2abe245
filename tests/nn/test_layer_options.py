"""Options are validated when they are set, and hold however they came to be set."""

import copy
import inspect
import pickle
import pickletools

import pytest
import torch

from batchnorm import nn
from batchnorm.errors import OptionError

WRONG = {
    "activation": ("mish", "activation must be None or one of relu, .*, tanh, got 'mish'"),
    "nonfinite": ("ignore", "nonfinite must be one of skip, propagate, raise, got 'ignore'"),
    "correction": (2, "correction must be 0 or 1, got 2"),
    "negative_slope": (-1.0, "negative_slope must be positive and finite, got -1.0"),
}
FAMILIES = [
    nn.BatchNorm1d,
    lambda channels, **options: nn.GhostBatchNorm1d(channels, 4, **options),
    nn.BatchRenorm1d,
    nn.ConditionalBatchNorm1d,
    lambda channels, **options: nn.ClassConditionalBatchNorm1d(channels, 2, **options),
    lambda _, **options: nn.LazyBatchNorm1d(**options),
]
NAMES = ["plain", "ghost", "renorm", "conditional", "class-conditional", "lazy"]


@pytest.mark.parametrize("make", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_is_refused_by_the_constructor_and_when_it_is_set(make, name):
    value, message = WRONG[name]
    with pytest.raises(OptionError, match=message):
        make(3, **{name: value})
    layer = make(3)
    before = getattr(layer, name)
    with pytest.raises(OptionError, match=message):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


@pytest.mark.parametrize("make", FAMILIES, ids=NAMES)
def test_an_option_that_there_is_not_is_refused(make):
    with pytest.raises(TypeError, match="activaton"):
        make(3, activaton="relu")


@pytest.mark.parametrize("slope", [0.0, -1.0, float("inf"), float("nan"), "0.1", None])
def test_a_slope_is_judged_when_it_is_set_whatever_the_activation(slope):
    layer = nn.BatchNorm1d(3)
    with pytest.raises(OptionError, match="negative_slope must be positive and finite, got"):
        layer.negative_slope = slope
    assert layer.negative_slope == 0.01


OF_RELATIVES = [
    (lambda: nn.GhostBatchNorm1d(3, 4), "virtual_batch_size", 0, "positive whole number, got 0"),
    (lambda: nn.GhostBatchNorm1d(3, 4), "virtual_batch_size", 2.5, "whole number, got 2.5"),
    (lambda: nn.BatchRenorm1d(3), "r_max", 0.5, "r_max must be at least 1"),
    (lambda: nn.BatchRenorm1d(3), "d_max", -1.0, "d_max at least 0"),
    (lambda: nn.BatchRenorm1d(3), "d_max", float("inf"), "a warm-up needs finite bounds"),
]


@pytest.mark.parametrize(("make", "name", "value", "message"), OF_RELATIVES)
def test_options_of_the_relatives_too(make, name, value, message):
    layer = make()
    before = getattr(layer, name)
    with pytest.raises(OptionError, match=message):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


def test_a_slope_holds_for_the_activation_that_needs_it():
    layer = nn.BatchNorm1d(3)
    layer.negative_slope = 0.5
    layer.activation = "leaky_relu"
    y = layer(torch.randn(8, 3))
    plain = nn.BatchNorm1d(3)
    torch.manual_seed(0)
    x = torch.randn(8, 3)
    torch.testing.assert_close(layer(x), torch.nn.functional.leaky_relu(plain(x), 0.5))
    assert y.min() < 0


def past_the_layer(layer):
    vars(layer)["activation"] = "relu"
    return layer


def through_a_copy(layer):
    layer.activation = "relu"
    return copy.deepcopy(layer)


def through_a_pickle(layer):
    layer.activation = "relu"
    return pickle.loads(pickle.dumps(layer))  # noqa: S301 -- our own


def of_an_older_version(layer):
    """Return a layer whose pickle knows nothing of validated options."""
    layer.activation = "relu"
    state = {name: value for name, value in vars(layer).items() if name != "_known"}
    old = nn.BatchNorm1d.__new__(nn.BatchNorm1d)
    old.__setstate__(state)
    return old


@pytest.mark.parametrize(
    "way", [past_the_layer, through_a_copy, through_a_pickle, of_an_older_version]
)
def test_an_option_holds_whatever_way_it_came(way):
    layer = way(nn.BatchNorm1d(3))
    assert bool((layer(torch.randn(8, 3)) >= 0).all())
    layer.activation = None
    assert bool((layer(torch.randn(8, 3)) < 0).any())


def test_a_pickle_names_the_class_of_the_layer_and_none_of_ours_beside_it():
    layer = nn.BatchNorm1d(3, activation="leaky_relu")
    layer(torch.randn(8, 3))
    named = {
        " ".join(str(argument).split())
        for code, argument, _ in pickletools.genops(pickle.dumps(layer, protocol=2))
        if code.name == "GLOBAL" and str(argument).startswith("batchnorm")
    }
    assert named == {"batchnorm.nn._batchnorm BatchNorm1d"}


def test_a_wrong_value_written_past_the_layer_is_refused_at_the_call():
    layer = nn.BatchNorm1d(3)
    vars(layer)["nonfinite"] = "ignore"
    with pytest.raises(OptionError, match="nonfinite must be one of"):
        layer(torch.randn(8, 3))


@pytest.mark.parametrize("family", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_a_constructor_shows_torch_s_arguments_first_and_all_of_ours(family):
    ours = inspect.signature(family).parameters
    theirs = inspect.signature(torch.nn.BatchNorm2d).parameters
    assert [*ours][: len(theirs)] == [*theirs]
    assert {"activation", "negative_slope", "nonfinite", "debias", "correction"} <= ours.keys()
    assert all(p.kind is not p.VAR_KEYWORD for p in ours.values())
