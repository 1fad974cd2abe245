"""torch.func, forward-mode and higher derivatives, against the same map in plain operations."""

import copy

import pytest
import torch
import torch.utils.checkpoint
from torch.autograd import forward_ad
from torch.func import (
    functional_call,
    functionalize,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

from batchnorm import functional, nn
from batchnorm.errors import TransformError
from batchnorm.nn import BatchNorm1d, BatchNorm2d

# Of PyTorch's own forward mode, which loads its decompositions with it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning"),
    # Of `linearize`, whatever function it is given.
    pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning"),
]

ACTIVATIONS = {
    None: lambda z: z,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.2),
    "silu": torch.nn.functional.silu,
}


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def plain(x, weight=None, bias=None, residual=None, activation=None):
    """Batch normalization in torch's own differentiable operations."""
    axes, column = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    centred = x - x.mean(axes, keepdim=True)
    y = centred / (centred.square().mean(axes, keepdim=True) + 1e-5).sqrt()
    y = y if weight is None else y * weight.reshape(column)
    y = y if bias is None else y + bias.reshape(column)
    return ACTIVATIONS[activation](y if residual is None else y + residual)


def ours(x, weight=None, bias=None, residual=None, activation=None):
    return functional.normalize(
        x, weight, bias, residual=residual, activation=activation, negative_slope=0.2
    )[0]


def thrice(f):
    def once(f):
        return lambda x: (grad(f)(x) * normal(*x.shape, seed=4)).sum()

    return grad(once(once(f)))


TRANSFORMS = {
    "grad": grad,
    "vjp": lambda f: lambda x: vjp(f, x)[1](torch.tensor(2.0, dtype=torch.float64)),
    "jvp": lambda f: lambda x: jvp(f, (x,), (x.cos(),)),
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "hessian": hessian,
    "third": thrice,
    "linearize": lambda f: lambda x: linearize(f, x)[1](x.sin()),
    "vmap of grad": lambda f: lambda x: vmap(grad(f))(torch.stack((x, x.cos(), 3 * x + 1))),
    "grad of vmap": lambda f: (
        lambda x: grad(lambda x: vmap(f)(x).square().sum())(torch.stack((x, x.cos())))
    ),
    "functionalize": lambda f: functionalize(grad(f)),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize(
    ("activation", "with_residual"), [(None, False), ("silu", True), ("leaky_relu", False)]
)
def test_the_functional_form_passes_every_transform(transform, activation, with_residual):
    weight, bias = normal(2, 3, seed=1)
    residual = normal(4, 3, 2, seed=2) if with_residual else None

    def loss(normalize):
        return lambda x: (normalize(x, weight, bias, residual, activation) ** 3).sin().sum()

    x = normal(4, 3, 2)
    found, wanted = transform(loss(ours))(x), transform(loss(plain))(x)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


def test_moments_come_out_of_a_transform():
    def loss(x):
        y, moments = functional.normalize(x)
        return (y**3).sum(), moments

    batches = normal(5, 8, 3)
    _, moments = vmap(grad(loss, has_aux=True))(batches)
    assert moments.mean.shape == (5, 3)
    for step, x in enumerate(batches):
        torch.testing.assert_close(moments.mean[step], x.mean(0))
        torch.testing.assert_close(moments.m2[step], (x - x.mean(0)).square().sum(0))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_residual", [False, True])
def test_forward_mode(with_residual, activation, training):
    """Dual numbers through a layer: the tangent is right, the statistics get the values only."""
    layer = BatchNorm1d(3, activation=activation, negative_slope=0.2, dtype=torch.float64)
    layer(normal(8, 3, seed=5) + 1)
    twin = copy.deepcopy(layer.train(training))
    x, tangent, residual = normal(3, 8, 3).unbind()
    with forward_ad.dual_level():
        y = layer(forward_ad.make_dual(x, tangent), residual if with_residual else None)
        found = forward_ad.unpack_dual(y)
        assert forward_ad.unpack_dual(layer.running_mean).tangent is None
    r = residual if with_residual else None

    def function(x):
        if training:
            return plain(x, residual=r, activation=activation)
        z = (x - twin.running_mean) / (twin.running_var + twin.eps).sqrt()
        return ACTIVATIONS[activation](z if r is None else z + r)

    wanted = torch.autograd.functional.jvp(function, x, tangent)
    torch.testing.assert_close((found.primal, found.tangent), wanted)
    twin(x, r)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(twin.named_buffers()))


def test_forward_over_reverse():
    """A Hessian-vector product by the two modes together."""
    layer, (x, v) = BatchNorm1d(3, dtype=torch.float64), normal(2, 8, 3)
    found = jvp(grad(lambda x: (ours(x, layer.weight) ** 3).sum()), (x,), (v,))[1]
    wanted = hessian(lambda x: (plain(x) ** 3).sum())(x).flatten(2).flatten(0, 1) @ v.flatten()
    torch.testing.assert_close(found.flatten(), wanted)


@pytest.mark.parametrize("activation", [None, "silu"])
def test_third_derivative_of_a_layer(activation):
    """Exact, in the parameters and a residual too; torch's is not (pytorch#186256)."""

    def third(layer, *inputs):
        value = layer(*inputs).cos().sum()
        for seed in range(3):
            grads = torch.autograd.grad(value, inputs, create_graph=True, materialize_grads=True)
            value = sum((g * normal(*g.shape, seed=seed)).sum() for g in grads)
        return torch.cat([g.flatten() for g in grads]).detach()

    def tensors():
        drawn = normal(6, 3), normal(3, seed=1), normal(3, seed=2), normal(6, 3, seed=3)
        return [t.requires_grad_() for t in drawn]

    def through(kind):
        layer = kind(3, dtype=torch.float64, track_running_stats=False)

        def call(x, weight, bias, residual):
            given = {"weight": weight, "bias": bias}
            if kind is BatchNorm1d:
                layer.activation = activation
                return functional_call(layer, given, (x, residual))
            return ACTIVATIONS[activation](functional_call(layer, given, (x,)) + residual)

        return call

    exact = third(lambda x, w, b, r: plain(x, w, b, r, activation), *tensors())
    error = {
        kind: ((third(through(kind), *tensors()) - exact).norm() / exact.norm()).item()
        for kind in (BatchNorm1d, torch.nn.BatchNorm1d)
    }
    assert error[BatchNorm1d] < 1e-12
    assert error[torch.nn.BatchNorm1d] > 0.01


# --------------------------------------------------------------------------- functional_call


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"nonfinite": "propagate"}], ids=str)
def test_buffers_that_are_passed_are_moved(options):
    """As a plain step moves the layer's own, which stay as they are."""
    layer, x = BatchNorm1d(3, dtype=torch.float64, **options), normal(8, 3)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}

    def loss(parameters, buffers, x):
        return (functional_call(layer, (parameters, buffers), (x,)) ** 3).sum()

    buffers = {name: buffer.clone() for name, buffer in before.items()}
    found = grad(loss)(dict(layer.named_parameters()), buffers, x)
    torch.testing.assert_close(dict(layer.named_buffers()), before)
    (layer(x) ** 3).sum().backward()
    torch.testing.assert_close(buffers, dict(layer.named_buffers()))
    torch.testing.assert_close(found, {n: p.grad for n, p in layer.named_parameters()})


def test_captured_statistics_are_refused_as_torch_s_are():
    """A transform cannot move what it was not given (pytorch#85533); then take `normalize`."""
    x = torch.randn(4, 6, 3)
    for layer in (BatchNorm1d(3), torch.nn.BatchNorm1d(3)):
        before = copy.deepcopy(layer.state_dict())
        with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
            grad(lambda x, layer=layer: layer(x).sum())(x[0])
        with pytest.raises(RuntimeError, match=r"vmap|Batch norm got a batched"):
            vmap(layer)(x)
        if isinstance(layer, BatchNorm1d):
            torch.testing.assert_close(layer.state_dict(), before)
    for change in (lambda layer: layer.freeze(), lambda layer: layer.eval()):
        layer = change(BatchNorm1d(3))
        torch.testing.assert_close(vmap(layer)(x), torch.stack([layer(part) for part in x]))
        assert grad(lambda x, layer=layer: layer(x).sum())(x[0]).shape == (6, 3)


# --------------------------------------------------------------------------------- ensembles


def ensemble(kind, **options):
    models = [kind(3, dtype=torch.float64, **options) for _ in range(4)]
    for seed, model in enumerate(models):
        with torch.no_grad():
            model.weight.copy_(normal(3, seed=seed))
            model.running_mean.copy_(normal(3, seed=seed + 9))
    return models


def run(models, x):
    """Run an ensemble as one model whose state has one more dimension."""
    parameters, buffers = stack_module_state(models)
    shell = copy.deepcopy(models[0]).to("meta")

    def one(parameters, buffers, x):
        return functional_call(shell, (parameters, buffers), (x,))

    return vmap(one, in_dims=(0, 0, 0))(parameters, buffers, x), buffers


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"debias": True}, {"activation": "silu"}, {"correction": 0}],
    ids=str,
)
def test_an_ensemble_of_layers(options, training):
    """One call equals a loop over the members: outputs, statistics and counters."""
    models = [model.train(training) for model in ensemble(BatchNorm1d, **options)]
    x = normal(4, 8, 3, seed=3)
    y, buffers = run(models, x)
    torch.testing.assert_close(y, torch.stack([m(part) for m, part in zip(models, x, strict=True)]))
    for name, stacked in buffers.items():
        torch.testing.assert_close(stacked, torch.stack([getattr(m, name) for m in models]))


def test_an_ensemble_skips_what_is_not_finite_member_by_member():
    models, x = ensemble(BatchNorm1d), normal(4, 8, 3)
    x[2, 5, 1] = torch.inf
    _, buffers = run(models, x)
    assert buffers["num_batches_tracked"].tolist() == [1, 1, 0, 1]
    assert buffers["batches_skipped"].tolist() == [0, 0, 1, 0]
    assert buffers["running_mean"].isfinite().all()


def test_torch_s_ensemble_cannot_have_a_cumulative_average():
    with pytest.raises(RuntimeError, match=r"vmap: .* calling \.item\(\)"):
        run(ensemble(torch.nn.BatchNorm1d, momentum=None), normal(4, 8, 3))


def test_training_an_ensemble_in_the_functional_form():
    """Per-member gradients and moments from one call; the statistics are moved behind it."""
    models, x = ensemble(BatchNorm1d), normal(4, 8, 3, seed=3)
    parameters, buffers = stack_module_state(models)
    buffers = {name: buffer.clone() for name, buffer in buffers.items()}

    def loss(parameters, x):
        y, moments = functional.normalize(x, parameters["weight"], parameters["bias"])
        return (y**3).sum(), moments

    def move(mean, var, counter, moments):
        functional.update_running_(mean, var, moments, num_batches_tracked=counter)

    found, moments = vmap(grad(loss, has_aux=True))(parameters, x)
    names = ("running_mean", "running_var", "num_batches_tracked")
    vmap(move, out_dims=None)(*(buffers[name] for name in names), moments)
    for i, (model, part) in enumerate(zip(models, x, strict=True)):
        (model(part) ** 3).sum().backward()
        torch.testing.assert_close(found["weight"][i], model.weight.grad)
        torch.testing.assert_close(buffers["running_mean"][i], model.running_mean)
        torch.testing.assert_close(buffers["running_var"][i], model.running_var)
        assert buffers["num_batches_tracked"][i] == 1


def test_per_sample_gradients_of_a_frozen_network():
    """What differential privacy asks for: possible where samples do not share statistics."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), BatchNorm2d(4, activation="relu"), torch.nn.Flatten()
    ).double()
    model(normal(8, 3, 5, 5))
    model[1].freeze()
    parameters, x = dict(model.named_parameters()), normal(6, 3, 5, 5)

    def loss(parameters, x):
        return functional_call(model, parameters, (x.unsqueeze(0),)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i, sample in enumerate(x):
        wanted = grad(loss)(parameters, sample)
        torch.testing.assert_close({n: g[i] for n, g in found.items()}, wanted)


# ---------------------------------------------------------------- states without all their buffers

MEMBERS = {
    "plain": lambda: nn.BatchNorm1d(3),
    "cumulative": lambda: nn.BatchNorm1d(3, momentum=None, activation="silu"),
    "propagate": lambda: nn.BatchNorm1d(3, nonfinite="propagate"),
    "ghost": lambda: nn.GhostBatchNorm1d(3, 4),
    "renorm": lambda: nn.BatchRenorm1d(3, warmup=None),
    "decorrelated": lambda: nn.DecorrelatedBatchNorm1d(3),
    "frozen": lambda: nn.BatchNorm1d(3).freeze(),
}


def stacked(models):
    """Return the stacked `state_dict`s, in which there are torch's keys only."""
    states = [model.state_dict() for model in models]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def members(make, count=4):
    models = [make().double() for _ in range(count)]
    for seed, model in enumerate(models):
        for parameter in model.parameters():
            parameter.data.copy_(normal(3, seed=seed))
        model(normal(8, 3, seed=seed + 20) + seed)
    return models


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MEMBERS)
def test_stacked_state_dicts(name, training, chunk_size):
    """An ensemble of what torch keeps of each model: outputs, gradients, statistics, counters."""
    models = [model.train(training) for model in members(MEMBERS[name])]
    x, state, shell = normal(4, 8, 3, seed=3), stacked(models), copy.deepcopy(models[0])
    names = [name for name, _ in shell.named_parameters()]

    def loss(parameters, buffers, x):
        y = functional_call(shell, (parameters, buffers), (x,))
        return (y**3).sum(), y

    parameters = {name: state[name].detach() for name in names}
    buffers = {name: value for name, value in state.items() if name not in names}
    found, y = vmap(grad(loss, has_aux=True), chunk_size=chunk_size)(parameters, buffers, x)
    for i, (model, part) in enumerate(zip(models, x, strict=True)):
        wanted = model(part)
        (wanted**3).sum().backward()
        torch.testing.assert_close(y[i], wanted.detach())
        for own, parameter in model.named_parameters():
            torch.testing.assert_close(found[own][i], parameter.grad)
        torch.testing.assert_close(
            {own: value[i] for own, value in buffers.items()},
            {own: getattr(model, own) for own in buffers},
        )


@pytest.mark.parametrize("transform", ["vmap", "chunks", "vmap of vmap", "vmap of grad"])
def test_a_counter_that_was_not_given_counts_what_all_members_skip(transform):
    """It is in no `state_dict`, and so the layer's own."""
    layer, x = BatchNorm1d(3), normal(2, 3, 8, 3).float()
    x[0, 1, 5, 1], x[1, 2] = torch.inf, torch.nan
    state = {own: value.expand(2, 3, *value.shape).clone() for own, value in
             layer.state_dict().items()}  # fmt: skip

    def call(state, x):
        return functional_call(layer, state, (x,)).sum()

    if transform == "vmap of vmap":
        vmap(vmap(call))(state, x)
    else:
        state, x = {own: value.flatten(0, 1) for own, value in state.items()}, x.flatten(0, 1)
        f = grad(call, argnums=1) if transform == "vmap of grad" else call
        vmap(f, chunk_size=4 if transform == "chunks" else None)(state, x)
    assert layer.batches_skipped == 2
    assert state["num_batches_tracked"].flatten().tolist() == [1, 0, 1, 1, 1, 0]
    assert state["running_mean"].isfinite().all()
    assert layer.num_batches_tracked == 0


def test_a_compiled_ensemble_of_state_dicts():
    models = members(MEMBERS["plain"])
    x, state, shell = normal(4, 8, 3, seed=3), stacked(models), copy.deepcopy(models[0])

    def run(state, x):
        return vmap(lambda state, x: functional_call(shell, state, (x,)))(state, x)

    y = torch.compile(run, backend="eager", fullgraph=True)(state, x)
    torch.testing.assert_close(y, torch.stack([m(p) for m, p in zip(models, x, strict=True)]))
    torch.testing.assert_close(state, stacked(models))


@pytest.mark.parametrize("training", [True, False])
def test_debiasing_without_what_it_remembers_is_refused(training):
    """In evaluation too, where the members by themselves would give something else."""
    layer = BatchNorm1d(3, debias=True, dtype=torch.float64)
    layer(normal(8, 3))
    state = stacked([layer, layer])
    with pytest.raises(TransformError, match=r"needs its buffer debias_state .*: pass all"):
        vmap(lambda s, x: functional_call(layer.train(training), s, (x,)))(state, normal(2, 8, 3))


def test_others_statistics_leave_alone_what_debiasing_remembers():
    layer, other = (BatchNorm1d(3, debias=True, dtype=torch.float64) for _ in range(2))
    for seed in range(3):
        layer(normal(8, 3, seed=seed) + 4)
        other(normal(8, 3, seed=seed) - 7)
    wanted = copy.deepcopy(layer).eval()(normal(8, 3))
    state = {own: value.clone() for own, value in other.state_dict().items()}
    functional_call(layer, state, (normal(8, 3, seed=9),))
    assert state["num_batches_tracked"] == 4
    torch.testing.assert_close(layer.eval()(normal(8, 3)), wanted)


CAPTURED = {
    "vmap": lambda call, x: vmap(call)(x),
    "grad": lambda call, x: grad(lambda x: call(x).sum())(x[0]),
    "vmap of grad": lambda call, x: vmap(grad(lambda x: call(x).sum()))(x),
    "jvp": lambda call, x: jvp(call, (x[0],), (x[0],)),
    "jacrev": lambda call, x: jacrev(call)(x[0]),
}


@pytest.mark.parametrize("name", CAPTURED)
@pytest.mark.parametrize(
    "make",
    [BatchNorm1d, nn.DecorrelatedBatchNorm1d, lambda n: nn.GhostBatchNorm1d(n, 2)],
    ids=["plain", "decorrelated", "ghost"],
)
def test_captured_statistics_are_refused_with_what_to_do(make, name):
    if name == "jvp" and make is nn.DecorrelatedBatchNorm1d:
        pytest.skip("has no forward mode")
    layer, x = make(3), torch.randn(4, 8, 3)
    before = copy.deepcopy(layer.state_dict())
    message = r"got captured ones.*: pass the buffers too .* or freeze\(\), or normalize with"
    with pytest.raises(TransformError, match=message):
        CAPTURED[name](layer, x)
    torch.testing.assert_close(layer.state_dict(), before)


def test_statistics_are_not_looked_at_under_vmap():
    models = ensemble(BatchNorm1d, nonfinite="raise")
    with pytest.raises(TransformError, match="got those of all members of a vmap: choose nonfinit"):
        run(models, normal(4, 8, 3))


@pytest.mark.parametrize("make", [BatchNorm1d, nn.DecorrelatedBatchNorm1d])
def test_moments_are_not_accumulated_under_a_transform(make):
    models = [make(3, dtype=torch.float64) for _ in range(2)]
    shell, state = copy.deepcopy(models[0]), stacked(models)
    with (
        pytest.raises(TransformError, match=r"got vmap, .*: take the moments that .* returns"),
        nn.accumulate_statistics(shell),
    ):
        vmap(lambda s, x: functional_call(shell, s, (x,)))(state, normal(2, 8, 3))
    assert shell.num_batches_tracked == 0


def test_renormalization_keeps_nothing_of_a_transform():
    """For the backward pass of a checkpoint, which may come later."""
    layer, x = nn.BatchRenorm1d(3, warmup=None, dtype=torch.float64), normal(8, 3)
    state = stacked([layer, layer])
    vmap(lambda s, x: functional_call(layer, s, (x,)))(state, normal(2, 8, 3))
    x.requires_grad_()
    torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum().backward()
    assert x.grad.isfinite().all()
