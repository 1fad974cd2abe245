"""flax: beside the real one, and what is refused."""

import numpy as np
import pytest
import torch

from batchnorm import nn
from batchnorm.errors import OptionError
from batchnorm.integrations import from_flax, to_flax
from support.layers.cases import SHAPES, Case
from support.layers.laws import array, assert_close


@pytest.fixture(scope="module")
def linen():
    pytest.importorskip("flax", reason="the peer is not installed")
    import flax.linen

    return flax.linen


@pytest.fixture(scope="module")
def nnx():
    pytest.importorskip("flax", reason="the peer is not installed")
    import flax.nnx

    return flax.nnx


OPTIONS = [
    {},
    {"momentum": 0.9, "epsilon": 1e-3},
    {"use_bias": False},
    {"use_scale": False},
    {"use_bias": False, "use_scale": False},
]


def variables_of(options, channels=3):
    rng = np.random.default_rng(5)
    names = [name for name in ("scale", "bias") if options.get(f"use_{name}", True)]
    params = {name: rng.uniform(0.5, 2.0, channels).astype(np.float32) for name in names}
    stats = {name: rng.uniform(0.5, 2.0, channels).astype(np.float32) for name in ("mean", "var")}
    return params, stats


def converted(options, ndim, params, stats):
    options = {key: options[key] for key in ("momentum", "epsilon") if key in options}
    return from_flax(params, stats, ndim=ndim, **options)


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_trains_and_infers_as_linen_does(linen, shape, axis, options):
    import jax

    params, stats = variables_of(options, shape[1])
    module = linen.BatchNorm(axis=axis, use_fast_variance=False, **options)
    ours = converted(options, len(shape), params, stats)

    def apply(params, stats, x, use_running_average):
        y, changed = module.apply(
            {"params": params, "batch_stats": stats},
            jax.numpy.moveaxis(x, 1, axis),
            use_running_average=use_running_average,
            mutable=["batch_stats"],
        )
        return jax.numpy.moveaxis(y, axis, 1), changed["batch_stats"]

    for step in range(10):
        case = Case(shape, dtype=torch.float32)
        x, dy = case.x(seed=step).requires_grad_(), case.dy(seed=step)
        y = ours(x)
        y.backward(dy)
        theirs, pull, stats = jax.vjp(
            lambda params, x, stats=stats: apply(params, stats, x, False),
            params,
            x.detach().numpy(),
            has_aux=True,
        )
        dparams, dx = pull(dy.numpy())
        assert_close(array(y), theirs, torch.float32, "output", looser=4)
        assert_close(array(x.grad), dx, torch.float32, "dx", looser=8)
        if step in {0, 1, 9}:
            assert_close(array(ours.running_mean), stats["mean"], torch.float32, "mean", looser=4)
            assert_close(array(ours.running_var), stats["var"], torch.float32, "var", looser=4)
        for name, parameter in (("scale", ours.weight), ("bias", ours.bias)):
            if name in params:
                assert_close(array(parameter.grad), dparams[name], torch.float32, name, looser=8)
        ours.zero_grad()
    x = x.detach()
    theirs, _ = apply(params, stats, x.numpy(), True)
    assert_close(array(ours.eval()(x)), theirs, torch.float32, "inference", looser=4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_state_of_nnx_is_taken_as_it_is(nnx, options):
    module = nnx.BatchNorm(3, axis=1, rngs=nnx.Rngs(0), **options)
    ours = converted(options, 4, nnx.state(module, nnx.Param), nnx.state(module, nnx.BatchStat))
    for step in range(3):
        x = Case((4, 3, 5, 6), dtype=torch.float32).x(seed=step)
        assert_close(array(ours(x)), module(x.numpy()), torch.float32, "output", looser=4)
    x = x.detach()
    module.eval()
    assert_close(array(ours.eval()(x)), module(x.numpy()), torch.float32, "inference", looser=4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_there_and_back(options):
    params, stats = variables_of(options)
    found, params_again, stats_again = to_flax(converted(options, 4, params, stats), axis=-1)
    defaults = {"momentum": 0.99, "epsilon": 1e-5, "use_bias": True, "use_scale": True}
    assert found == defaults | options | {"axis": -1, "use_running_average": None}
    for again, before in ((params_again, params), (stats_again, stats)):
        assert list(again) == list(before)
        for key, value in before.items():
            np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(3, momentum=0.3, eps=1e-4), nn.BatchNorm2d(3, affine=False)],
    ids=["plain", "affine=False"],
)
def test_flax_infers_what_ours_did(linen, layer):
    for step in range(3):
        layer(Case((4, 3, 5, 6), dtype=torch.float32).x(seed=step))
    options, params, stats = to_flax(layer)
    x = Case((4, 3, 5, 6), dtype=torch.float32).x(seed=4)
    theirs = linen.BatchNorm(**options).apply(
        {"params": params, "batch_stats": stats}, x.numpy(), use_running_average=True
    )
    assert_close(array(layer.eval()(x)), theirs, torch.float32, looser=4)


def test_use_running_average_freezes_the_statistics_alone(linen):
    case, (params, stats) = Case((4, 3, 5, 6), dtype=torch.float32), variables_of({})
    ours = from_flax(params, stats, ndim=4, use_running_average=True).train()
    y = ours(case.x())
    module = linen.BatchNorm(axis=1, use_running_average=True)
    theirs = module.apply({"params": params, "batch_stats": stats}, case.x().numpy())
    assert_close(array(y), theirs, torch.float32, looser=4)
    np.testing.assert_array_equal(array(ours.running_mean), stats["mean"])
    assert ours.weight.requires_grad


@pytest.mark.parametrize(("given", "back"), [(True, True), (False, None), (None, None)])
def test_use_running_average_there_and_back(given, back):
    layer = from_flax(*variables_of({}), ndim=4, use_running_average=given)
    assert layer.frozen is bool(given)
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert to_flax(layer)[0]["use_running_average"] is back


def test_arrays_of_a_whole_model_are_refused():
    params, stats = variables_of({})
    text = "scale and bias, .* got .*: give the entries of one BatchNorm"
    with pytest.raises(OptionError, match=text):
        from_flax({"BatchNorm_0": params}, {"BatchNorm_0": stats}, ndim=4)
    with pytest.raises(OptionError, match=text):
        from_flax(params, {"mean": stats["mean"]}, ndim=4)


def test_params_may_be_none():
    assert list(from_flax(None, variables_of({})[1], ndim=2).parameters()) == []
