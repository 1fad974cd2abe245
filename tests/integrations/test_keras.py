"""Keras: beside the real one, and what is refused.

Keras 3 computes batch normalization in float32, even in a layer of dtype float64 (its result type
of float64 and float32 is float32), and with E[x²] - E[x]² on torch, so the comparison is in float32
and near zero.
"""

import copy

import numpy as np
import pytest
import torch

from batchnorm import nn
from batchnorm.errors import OptionError
from batchnorm.integrations import from_keras, to_keras
from support.layers.cases import SHAPES, Case
from support.layers.laws import array, assert_close

# Keras converts a variable on torch with an array protocol that NumPy 2 calls old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def real(keras, shape, axis=1, **options):
    """Return a built layer of Keras with weights that are not the identity."""
    layer = keras.layers.BatchNormalization(axis=axis, **options)
    channels = shape[1]
    layer.build((None, channels, *shape[2:]) if axis == 1 else (None, *shape[2:], channels))
    rng = np.random.default_rng(5)
    layer.set_weights([rng.uniform(0.5, 2.0, channels) for _ in layer.weights])
    return layer


def call(layer, x, axis, **options):
    """Call a layer of Keras on data whose channels are dimension 1."""
    return layer(x.movedim(1, axis), **options).movedim(axis, 1)


def close(found, expected, what):
    assert_close(array(found), array(expected), torch.float32, what, looser=20)  # theirs: 1.5e-5


OPTIONS = [
    {},
    {"momentum": 0.9, "epsilon": 1e-5},
    {"center": False},
    {"scale": False},
    {"center": False, "scale": False},
]


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_trains_and_infers_as_keras_does(keras, shape, axis, options):
    theirs = real(keras, shape, axis, **options)
    ours = from_keras(theirs)
    for step in range(10):
        case = Case(shape, dtype=torch.float32)
        x, dy = case.x(seed=step), case.dy(seed=step)
        x1, x2 = x.clone().requires_grad_(), x.clone().requires_grad_()
        y1, y2 = ours(x1), call(theirs, x2, axis, training=True)
        close(y1, y2, "output")
        y1.backward(dy)
        y2.backward(dy)
        close(x1.grad, x2.grad, "dx")
        if step in {0, 1, 9}:
            for name, buffer in (("mean", ours.running_mean), ("variance", ours.running_var)):
                close(buffer, getattr(theirs, f"moving_{name}").value, name)
    for parameter, name in ((ours.weight, "gamma"), (ours.bias, "beta")):
        if parameter is not None and parameter.requires_grad:
            close(parameter.grad, getattr(theirs, name).value.grad, name)
    close(ours.eval()(x), call(theirs, x, axis), "inference")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_four_ways_to_name_a_layer_are_one(keras, options):
    layer = real(keras, (4, 3, 5, 6), axis=-1, **options)
    whole = from_keras(layer)
    config, weights = layer.get_config(), layer.get_weights()
    named = {variable.name: value for variable, value in zip(layer.weights, weights, strict=True)}
    serialized = keras.layers.serialize(layer)
    for other in (
        from_keras(config, weights, ndim=4),
        from_keras(config, named, ndim=4),
        from_keras(serialized, weights),
    ):
        assert repr(other) == repr(whole)
        assert type(other) is type(whole)
        for key, value in whole.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("axis", [1, -1])
def test_there_and_back(keras, options, axis):
    theirs = real(keras, (4, 3, 5), axis, **options)
    config, weights = to_keras(from_keras(theirs), axis=axis)
    assert {key: theirs.get_config()[key] for key in config} == config
    again = keras.layers.BatchNormalization(**config)
    again.build(theirs.get_build_config()["input_shape"])
    again.set_weights(list(weights.values()))
    assert [variable.name for variable in again.weights] == list(weights)
    for found, expected in zip(again.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3, momentum=0.3, eps=1e-4),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, bias=False),
        torch.nn.BatchNorm2d(3),
    ],
    ids=["plain", "affine=False", "bias=False", "torch"],
)
def test_keras_infers_what_ours_did(keras, layer):
    case = Case((4, 3, 5, 6), dtype=torch.float32)
    layer = copy.deepcopy(layer)
    for step in range(3):
        layer(case.x(seed=step))
    config, weights = to_keras(layer)
    theirs = keras.layers.BatchNormalization(**config)
    theirs.build((None, 3, 5, 6))
    theirs.set_weights(list(weights.values()))
    x = case.x(seed=4)
    close(layer.eval()(x), theirs(x), "inference")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_not_trainable_is_frozen_whatever_the_mode(keras, options):
    case = Case((4, 3, 5, 6), dtype=torch.float32)
    theirs = real(keras, case.shape, trainable=False, **options)
    ours = from_keras(theirs).train()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    x1, x2 = case.x().requires_grad_(), case.x().requires_grad_()
    y1, y2 = ours(x1), theirs(x2, training=True)
    close(y1, y2, "output")
    y1.backward(case.dy())
    y2.backward(case.dy())
    close(x1.grad, x2.grad, "dx")
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert to_keras(ours)[0]["trainable"] is False
    assert to_keras(ours.unfreeze())[0]["trainable"] is True
    learned = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert learned == {"weight", "bias"} - {
        {"scale": "weight", "center": "bias"}.get(option) for option in options
    }


def test_statistics_frozen_alone_are_refused():
    layer = nn.BatchNorm2d(3).freeze()
    with pytest.raises(
        OptionError, match=r"whose parameters learn: call layer.freeze\(affine=True"
    ):
        to_keras(layer)
    assert to_keras(nn.BatchNorm2d(3, affine=False).freeze())[0]["trainable"] is False


WEIGHTS = {key: np.ones(3) for key in ("gamma", "beta", "moving_mean", "moving_variance")}


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"renorm": True}, "renorm=True of Keras is not converted: .*BatchRenorm1d"),
        ({"synchronized": True}, r"synchronized=True of Keras .* those of one process, set"),
        ({"virtual_batch_size": 8}, "virtual_batch_size=8 of Keras .*GhostBatchNorm1d"),
        ({"gamma_regularizer": {"l2": 0.1}}, "gamma_regularizer=.* add it to the loss"),
        ({"beta_constraint": "non_neg"}, "beta_constraint=.* apply it after each step"),
        ({"of_the_future": 3}, "of_the_future=3 of Keras .* if it may be left out"),
        ({"axis": [1, 2]}, r"expected one axis, got axis=\[1, 2\]: "),
    ],
    ids=str,
)
def test_what_does_not_exist_here_is_refused(option, text):
    with pytest.raises(OptionError, match=text):
        from_keras(option, WEIGHTS, ndim=4)


def test_what_is_off_or_says_nothing_is_let_through():
    """Such as the configuration of TensorFlow 2's Keras."""
    config = {
        "name": "bn",
        "trainable": True,
        "dtype": "float32",
        "axis": [3],
        "momentum": 0.99,
        "epsilon": 0.001,
        "center": True,
        "scale": True,
        "beta_initializer": {"class_name": "Zeros", "config": {}},
        "gamma_regularizer": None,
        "renorm": False,
        "renorm_momentum": 0.99,
        "virtual_batch_size": None,
    }
    layer = from_keras(config, list(WEIGHTS.values()), ndim=4)
    assert (layer.momentum, layer.eps) == (0.01, 0.001)


def test_defaults_are_those_of_keras(keras):
    layer = from_keras({}, WEIGHTS, ndim=4)
    config = keras.layers.BatchNormalization().get_config()
    assert (1 - layer.momentum, layer.eps) == (config["momentum"], config["epsilon"])


def test_other_layers_and_weights_are_refused(keras):
    with pytest.raises(OptionError, match="got LayerNormalization: pick the layers by their type"):
        from_keras(keras.layers.LayerNormalization())
    with pytest.raises(OptionError, match="got Dense: pick"):
        from_keras({"class_name": "Dense", "config": {}}, WEIGHTS, ndim=4)
    with pytest.raises(OptionError, match="expected a built layer, got one without weights"):
        from_keras(keras.layers.BatchNormalization())
    with pytest.raises(OptionError, match="moving_mean, moving_variance, got 3 arrays: take"):
        from_keras({}, [np.ones(3)] * 3, ndim=4)
    with pytest.raises(OptionError, match=r"expected the weights beta, moving.* got gamma, beta"):
        from_keras({"scale": False}, WEIGHTS, ndim=4)
    with pytest.raises(OptionError, match="got 0 arrays"):
        from_keras({}, ndim=4)
    with pytest.raises(OptionError, match=r"number of dimensions .* give ndim, such as 4"):
        from_keras({}, WEIGHTS)
