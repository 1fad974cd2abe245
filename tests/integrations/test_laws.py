"""What a converted layer must do, whatever library it comes from: the reference decides."""

import numpy as np
import pytest
import torch

from batchnorm import integrations, nn, reference
from batchnorm.errors import ChannelError, OptionError, ShapeError
from support.layers.cases import SHAPES, Case
from support.layers.laws import array, assert_close

DECAY, EPS = 0.8, 3e-3


def from_keras(state, ndim, **changes):
    config = {"axis": -1, "momentum": DECAY, "epsilon": EPS, **changes}
    config |= {"scale": "weight" in state, "center": "bias" in state}
    names = {"weight": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    weights = {names[key]: value for key, value in state.items()}
    return integrations.from_keras(config, weights, ndim=ndim)


def from_flax(state, ndim, **changes):
    options = {"momentum": DECAY, "epsilon": EPS, **changes}
    params = {"scale": state.get("weight"), "bias": state.get("bias")}
    params = {key: value for key, value in params.items() if value is not None}
    batch_stats = {key: state[key] for key in ("mean", "var")}
    return integrations.from_flax(params, batch_stats, ndim=ndim, **options)


def from_onnx(state, ndim, **changes):
    attributes = {"momentum": DECAY, "epsilon": EPS, "training_mode": 1, **changes}
    return integrations.from_onnx(attributes, *state.values(), ndim=ndim)


CONVERTERS = [from_keras, from_flax, from_onnx]
TORCH = {np.float64: torch.float64, np.float32: torch.float32}
every_converter = pytest.mark.parametrize("convert", CONVERTERS, ids=lambda f: f.__name__)
every_dtype = pytest.mark.parametrize("dtype", TORCH, ids=lambda dtype: dtype.__name__)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def state_of(channels, dtype=np.float64):
    state = {
        "weight": np.linspace(-1.0, 2.0, channels),
        "bias": np.linspace(0.5, -0.5, channels),
        "mean": np.linspace(-2.0, 2.0, channels),
        "var": np.linspace(0.5, 3.0, channels),
    }
    return {key: value.astype(dtype) for key, value in state.items()}


@every_converter
@every_dtype
@every_shape
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_running_statistics_keep_decay_of_the_old_and_take_the_biased_variance(
    convert, shape, dtype, steps
):
    state = state_of(shape[1], dtype)
    layer = convert(state, len(shape))
    mean, var = (state[key].astype(np.float64) for key in ("mean", "var"))
    for step in range(steps):
        x = Case(shape, dtype=TORCH[dtype]).x(seed=step)
        layer(x)
        batch = reference.statistics(array(x))
        mean = DECAY * mean + (1 - DECAY) * batch.mean
        var = DECAY * var + (1 - DECAY) * batch.var
    assert_close(array(layer.running_mean), mean, TORCH[dtype], "running_mean")
    assert_close(array(layer.running_var), var, TORCH[dtype], "running_var")


@every_converter
@every_dtype
@every_shape
def test_output_and_gradients_are_those_of_the_reference(convert, shape, dtype):
    state, case = state_of(shape[1], dtype), Case(shape, dtype=TORCH[dtype])
    layer, x, dy = convert(state, len(shape)), case.x().requires_grad_(), case.dy()
    y = layer(x)
    y.backward(dy)
    forward = reference.forward(array(x), state["weight"], state["bias"], EPS)
    backward = reference.backward(array(dy), array(x), state["weight"], EPS)
    assert_close(array(y), forward.y, case.dtype, "output")
    assert_close(array(x.grad), backward.dx, case.dtype, "dx", looser=4)
    assert_close(array(layer.weight.grad), backward.dweight, case.dtype, "dweight", looser=4)
    assert_close(array(layer.bias.grad), backward.dbias, case.dtype, "dbias", looser=4)


@every_converter
@every_dtype
@every_shape
def test_evaluation_uses_the_statistics_that_came(convert, shape, dtype):
    state, case = state_of(shape[1], dtype), Case(shape, dtype=TORCH[dtype])
    y = convert(state, len(shape)).eval()(case.x())
    keys = ("mean", "var", "weight", "bias")
    expected = reference.inference(array(case.x()), *(state[key] for key in keys), EPS)
    assert_close(array(y), expected, case.dtype, "output")


@every_converter
@pytest.mark.parametrize(
    ("ndim", "name"),
    [(2, "BatchNorm1d"), (3, "BatchNorm1d"), (4, "BatchNorm2d"), (5, "BatchNorm3d")],
)
def test_the_layer_is_ours_and_fits_the_dimensions(convert, ndim, name):
    assert type(convert(state_of(3), ndim)) is getattr(nn, name)


@every_converter
def test_the_arrays_are_copied(convert):
    state = state_of(3, np.float32)
    layer = convert(state, 4)
    layer(torch.randn(2, 3, 4, 4))
    with torch.no_grad():
        layer.weight.zero_()
    for key, value in state_of(3, np.float32).items():
        np.testing.assert_array_equal(state[key], value)


@every_converter
def test_arrays_of_other_kinds(convert):
    state = state_of(3)
    expected = convert(state, 4).state_dict()
    for kind in (torch.from_numpy, list, lambda value: torch.nn.Parameter(torch.tensor(value))):
        found = convert({key: kind(value) for key, value in state.items()}, 4).state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    mixed = convert(
        {key: value.astype(np.float32) for key, value in state.items()} | {"bias": state["bias"]}, 4
    )
    assert mixed.running_mean.dtype == mixed.bias.dtype == torch.float64
    half = convert({key: torch.tensor(value).bfloat16() for key, value in state.items()}, 4)
    assert half.running_mean.dtype == half.weight.dtype == torch.float32


@pytest.mark.parametrize("convert", [from_keras, from_flax], ids=lambda f: f.__name__)
def test_a_parameter_that_is_not_there_is_not_learned(convert):
    x, state = Case((4, 3)).x(), state_of(3)

    def output(weight, bias):
        return reference.forward(array(x), weight, bias, EPS).y

    shift = convert({key: value for key, value in state.items() if key != "weight"}, 2)
    assert [name for name, p in shift.named_parameters() if p.requires_grad] == ["bias"]
    assert_close(array(shift(x)), output(None, state["bias"]), torch.float64)
    scale = convert({key: value for key, value in state.items() if key != "bias"}, 2)
    assert [name for name, _ in scale.named_parameters()] == ["weight"]
    assert_close(array(scale(x)), output(state["weight"], None), torch.float64)
    neither = convert({key: state[key] for key in ("mean", "var")}, 2)
    assert list(neither.parameters()) == []
    assert_close(array(neither(x)), output(None, None), torch.float64)


@every_converter
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99, 0.999, 1.0])
def test_momentum_is_turned_round_in_decimals(convert, momentum):
    layer = convert(state_of(3), 2, momentum=momentum)
    assert layer.momentum == pytest.approx(1 - momentum, abs=1e-15)
    assert str(layer.momentum) == {0.0: "1.0", 0.9: "0.1", 0.99: "0.01", 0.999: "0.001"}.get(
        momentum, "0.0"
    )


@every_converter
def test_bad_input_is_refused(convert):
    state = state_of(3)
    with pytest.raises(ShapeError, match=r"2 to 5 dimensions.* got ndim=6: reshape"):
        convert(state, 6)
    for momentum in (1.5, -0.1, float("nan")):
        with pytest.raises(OptionError, match=r"momentum from 0 to 1.* got"):
            convert(state, 4, momentum=momentum)
    with pytest.raises(ChannelError, match=r"running_var of shape \(3,\).* got \(4,\): take all"):
        convert(state | {"var": np.ones(4)}, 4)
    with pytest.raises(ShapeError, match=r"mean of shape \(C,\), got \(3, 2\)"):
        convert(state | {"mean": np.ones((3, 2))}, 4)


WRITERS = [integrations.to_keras, integrations.to_flax, integrations.to_onnx]
every_writer = pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)


@every_writer
@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.BatchNorm2d(3, activation="relu"), "got one with activation='relu': set layer.act"),
        (nn.BatchNorm2d(3, momentum=None), "got one with momentum=None: set layer.momentum"),
        (nn.BatchNorm2d(3, track_running_stats=False), "got one with no running statistics: keep"),
        (nn.BatchNorm2d(3).adapt(), r"got one with adapting=True: call layer.adapt\(False\)"),
        (nn.LazyBatchNorm2d(), "expected a BatchNorm1d, 2d or 3d, got LazyBatchNorm2d"),
        (torch.nn.InstanceNorm2d(3), "got InstanceNorm2d, which .* may not have: build"),
    ],
    ids=["activation", "momentum", "untracked", "adapting", "lazy", "other"],
)
def test_what_the_other_library_cannot_say_is_refused(write, layer, text):
    with pytest.raises(OptionError, match=text):
        write(layer)


@every_writer
@pytest.mark.parametrize("dtype", TORCH.values(), ids=str)
def test_debiased_statistics_leave_as_evaluation_uses_them(write, dtype):
    layer = nn.BatchNorm2d(3, debias=True, momentum=0.01, dtype=dtype)
    case = Case((4, 3, 5, 6), dtype=dtype)
    layer(case.x())
    arrays = {key: value for collection in write(layer)[1:] for key, value in collection.items()}
    mean = next(value for key, value in arrays.items() if "mean" in key)
    var = next(value for key, value in arrays.items() if "var" in key)
    batch = reference.statistics(array(case.x()))
    assert mean.dtype == var.dtype == layer.running_mean.numpy().dtype
    assert_close(mean, batch.mean, dtype, "mean", looser=100)  # 1/0.01 of the buffers' rounding
    assert_close(var, batch.var * batch.count / (batch.count - 1), dtype, "var", looser=100)


@pytest.mark.parametrize("write", WRITERS[:2], ids=lambda f: f.__name__)
def test_a_scale_is_left_out_only_where_it_is_1_for_good(write):
    def has_scale(layer):
        config = write(layer)[0]
        return config.get("scale", config.get("use_scale"))

    layer = nn.BatchNorm2d(3)
    assert has_scale(layer)
    assert has_scale(layer.freeze(affine=True))  # it is learned again after unfreeze
    layer.unfreeze().weight.requires_grad_(False)
    assert not has_scale(layer)
    with torch.no_grad():
        layer.weight[1] = 2.0
    assert has_scale(layer)


@every_writer
def test_torchs_own_layers_are_taken_and_left_alone(write):
    layer = torch.nn.BatchNorm3d(3)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    collections = write(layer)
    for collection in collections[1:]:
        for value in collection.values():
            value[:] = 5.0
    assert all(torch.equal(layer.state_dict()[key], before[key]) for key in before)
