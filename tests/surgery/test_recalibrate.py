"""Population statistics against the float64 statistics of the concatenated data."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, TensorDataset

import batchnorm
from batchnorm import functional, reference
from batchnorm.errors import CountError, DataError, NonFiniteError, OptionError, SurgeryError
from batchnorm.surgery import recalibrate

RAGGED = (64, 7, 29, 4)
SPATIAL = {1: (), 2: (6, 5), 3: (2, 3, 4)}
FAMILIES = [nn, batchnorm.nn]
both_families = pytest.mark.parametrize("family", FAMILIES, ids=["torch", "ours"])
both_ways = pytest.mark.parametrize("layer_by_layer", [False, True])


def draw(*spatial, rows=RAGGED, offset=0.0, dtype=torch.float32, channels=3):
    """Return batches that differ in mean and scale, so that every wrong weight shows."""
    return [
        (torch.randn(n, channels, *spatial) * (number + 1) + offset + 5 * number).to(dtype)
        for number, n in enumerate(rows)
    ]


def statistics(data):
    """Return mean and unbiased variance of all values, in float64."""
    found = reference.statistics(torch.cat(data).double().numpy())
    return found.mean, found.var * found.count / (found.count - 1)


def assert_holds(layer, data, tolerance=1e-6):
    """The mean is held to the scale of the data, the variance to itself."""
    mean, var = statistics(data)
    error = np.abs(layer.running_mean.double().numpy() - mean)
    assert (error <= tolerance * (np.abs(mean) + np.sqrt(var))).all(), error
    np.testing.assert_allclose(layer.running_var.double(), var, rtol=tolerance)


def network(family=nn):
    """Three layers to estimate, with a dropout between, and one without running statistics."""
    return nn.Sequential(
        family.BatchNorm1d(3),
        nn.Dropout(0.5),
        nn.Linear(3, 4),
        family.BatchNorm1d(4, momentum=None),
        nn.ReLU(),
        family.BatchNorm1d(4, track_running_stats=False),
        family.BatchNorm1d(4),
    )


def inputs(model, data):
    """Return what reaches each batch-norm layer in evaluation, by the test's own means."""
    seen = {name: [] for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, arguments, __, made=made: made.append(arguments[0].detach())
        )
        for name, made in seen.items()
    ]
    modes = [module.training for module in model.modules()]
    model.eval()
    for batch in data:
        model(batch)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    for hook in hooks:
        hook.remove()
    return seen


def state(model):
    """Return what an operation that fails must leave alone."""
    return {
        "buffers": [(n, id(b), b.numpy().tobytes()) for n, b in model.named_buffers()],
        "modes": [module.training for module in model.modules()],
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "momentum": [m.momentum for m in model.modules() if isinstance(m, _BatchNorm)],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "random": torch.get_rng_state().numpy().tobytes(),
    }


# ------------------------------------------------------------------------------ what it finds


@both_families
@both_ways
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dimensions", SPATIAL)
def test_ragged_batches_give_the_statistics_of_all_values(
    family, dimensions, offset, layer_by_layer
):
    layer = getattr(family, f"BatchNorm{dimensions}d")(3)
    data = draw(*SPATIAL[dimensions], offset=offset)
    recalibrate(layer, data, layer_by_layer=layer_by_layer)
    assert_holds(layer, data)
    assert layer.num_batches_tracked.item() == len(RAGGED)


@both_families
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_input_of_any_precision(family, dtype):
    own = torch.float64 if dtype == torch.float64 else torch.float32
    layer, data = family.BatchNorm2d(3, dtype=own), draw(6, 5, dtype=dtype)
    recalibrate(layer, data)
    assert_holds(layer, data, 1e-12 if dtype == torch.float64 else 1e-6)


@both_families
def test_channels_last_at_an_offset(family):
    layer = family.BatchNorm2d(3)
    data = [x.contiguous(memory_format=torch.channels_last) for x in draw(6, 5, offset=1e4)]
    recalibrate(layer, data)
    assert_holds(layer, data)


@both_families
def test_one_pass_normalizes_each_layer_with_its_batch(family):
    model, data = network(family), draw()
    recalibrate(model, data)
    reached = []
    for x in data:  # by hand: batch statistics, no dropout
        hidden = model[2](functional.batch_norm(x, None, None, training=True))
        reached.append((x, hidden, functional.batch_norm(hidden, None, None, training=True)))
    first, second, last = zip(*reached, strict=True)
    with torch.no_grad():
        third = [functional.batch_norm(x.relu(), None, None, training=True) for x in last]
    assert_holds(model[0], list(first))
    assert_holds(model[3], [x.detach() for x in second], 1e-5)
    assert_holds(model[6], third, 1e-5)


@both_families
@pytest.mark.parametrize("method", ["exact", "algorithm-2"])
def test_layer_by_layer_gives_each_layer_the_statistics_it_meets_in_evaluation(family, method):
    model, data = network(family), draw(rows=(32, 32, 32))
    recalibrate(model, data, layer_by_layer=True, method=method)
    for name, seen in inputs(model, data).items():
        layer = model.get_submodule(name)
        if layer.running_mean is None:
            continue
        if method == "exact":
            assert_holds(layer, seen)
        else:
            means, variances = zip(*map(statistics, [[x] for x in seen]), strict=True)
            np.testing.assert_allclose(layer.running_mean, np.mean(means, 0), atol=1e-5)
            np.testing.assert_allclose(layer.running_var, np.mean(variances, 0), rtol=1e-6)


@both_ways
def test_algorithm_2_counts_every_batch_once(layer_by_layer):
    layer, data = nn.BatchNorm1d(3), draw()
    recalibrate(layer, data, method="algorithm-2", layer_by_layer=layer_by_layer)
    means, variances = zip(*(statistics([x]) for x in data), strict=True)
    np.testing.assert_allclose(layer.running_mean, np.mean(means, 0), rtol=1e-6)
    np.testing.assert_allclose(layer.running_var, np.mean(variances, 0), rtol=1e-6)


@both_ways
def test_all_calls_of_a_layer_are_merged(layer_by_layer):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            self.norm(input=x[:2])
            return self.norm(x[2:] * 2)

    model, data = Twice(), draw()
    recalibrate(model, data, layer_by_layer=layer_by_layer)
    assert_holds(model.norm, [part for x in data for part in (x[:2], x[2:] * 2)])
    assert model.norm.num_batches_tracked.item() == len(RAGGED)


def test_a_poisoned_layer_is_healed():
    for layer_by_layer in (False, True):
        model, data = network(), draw()
        model[0].running_var[1] = torch.nan
        model[3].running_mean.fill_(torch.inf)
        recalibrate(model, data, layer_by_layer=layer_by_layer)
        assert model(data[0]).isfinite().all()
        assert all(buffer.isfinite().all() for buffer in model.buffers())


def test_a_batch_of_one_row_counts_layer_by_layer():
    model, data = network()[:4], [*draw(), torch.randn(1, 3), torch.empty(0, 3)]
    recalibrate(model, data, layer_by_layer=True)
    assert_holds(model[0], data)
    assert_holds(model[3], inputs(model, data)["3"])
    assert model[0].num_batches_tracked.item() == len(RAGGED) + 1  # the empty one does not count


# --------------------------------------------------------------------- what it leaves alone


@both_families
@both_ways
def test_frozen_layers_are_left_alone(family, layer_by_layer):
    model, data = network(family), draw()
    model[3].eval()  # frozen the way torch knows
    if family is batchnorm.nn:
        model[6].freeze()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    record = recalibrate(model, data, layer_by_layer=layer_by_layer)
    kept = ("3.", "6.") if family is batchnorm.nn else ("3.",)
    for name, buffer in model.named_buffers():
        untouched = name.startswith(kept) or name.endswith("batches_skipped")
        assert torch.equal(buffer, before[name]) == untouched, name
    assert {change.module: change.detail for change in record.left} == {
        "3": "frozen: in evaluation mode in a model that trains",
        "5": "no running statistics",
        **({"6": "frozen"} if family is batchnorm.nn else {}),
    }


@both_families
def test_a_frozen_layer_normalizes_with_its_own_statistics(family):
    model, data = network(family)[:4].append(family.BatchNorm1d(4)), draw()
    model[3].running_mean.fill_(0.5)
    model[3].eval()
    recalibrate(model, data, layer_by_layer=True)
    assert_holds(model[4], inputs(model, data)["4"])


def test_a_model_in_evaluation_mode_is_recalibrated_whole():
    model, data = network().eval(), draw()
    assert len(recalibrate(model, data).done) == 3
    assert not any(module.training for module in model.modules())


def test_only_the_layers_asked_for():
    model, data = network(), draw()
    before = state(model[6])
    record = recalibrate(model, data, names=["3", "0", "3"])
    assert [change.module for change in record.done] == ["0", "3"]
    assert [(change.module, change.detail) for change in record.left] == [
        ("5", "no running statistics"),
        ("6", "not among the names"),
    ]
    assert state(model[6]) == before


def test_a_shared_layer_has_two_names():
    shared = nn.BatchNorm1d(3)
    model, data = nn.ModuleDict({"a": shared, "b": shared}), draw()
    record = recalibrate(model, data, names=["b"], forward=lambda m, x: m["b"](x))
    assert [change.module for change in record.changes] == ["a"]
    assert_holds(shared, data)


def without(model, x):
    model[:7](x)


def with_nothing(model, x):
    model.unused(x[:0])
    model[:7](x)


@both_ways
@pytest.mark.parametrize("forward", [without, with_nothing])
def test_a_layer_that_no_value_reaches_is_left_alone(forward, layer_by_layer):
    model, data = network(), draw()
    model.add_module("unused", nn.BatchNorm1d(3))
    before = state(model.unused)
    record = recalibrate(model, data, forward=forward, layer_by_layer=layer_by_layer)
    assert [(c.module, c.detail) for c in record.left][1:] == [("unused", "no batch reached it")]
    assert state(model.unused) == before


@both_ways
def test_everything_else_of_the_model_is_left_alone(layer_by_layer):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x[None, :1]

    model, data = network(), draw()
    model.append(Counting()).append(nn.InstanceNorm1d(1, track_running_stats=True))
    before = state(model)
    recalibrate(model, data, layer_by_layer=layer_by_layer)
    after = state(model)
    touched = ("0.", "3.", "6.")
    assert after.pop("buffers") != before["buffers"]
    assert all(value == before[key] for key, value in after.items())
    for old, new in zip(before["buffers"], state(model)["buffers"], strict=True):
        assert old[:2] == new[:2]
        assert old == new or old[0].startswith(touched)


def test_every_pass_sees_the_same_shuffling():
    model, dataset, seen = network(), TensorDataset(torch.cat(draw())), []
    before = torch.get_rng_state()

    def forward(model, batch):
        seen.append(batch[0][0].tolist())
        model(batch[0])

    loader = DataLoader(dataset, 26, shuffle=True)
    recalibrate(model, loader, forward=forward, layer_by_layer=True)
    assert len(seen) == 1 + 3 * 4  # the order of the layers shows in the first batch
    assert seen[1:5] == seen[5:9] == seen[9:]
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------------ what it is fed with


class Labelled(nn.Sequential):
    """Takes its input by name, as models of transformers do."""

    def forward(self, pixels, labels=None):  # noqa: ARG002 -- models that take labels use them
        return super().forward(pixels)


BATCHES = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, torch.zeros(len(x))),
    "list": lambda x: [x, "label"],
    "mapping": lambda x: {"pixels": x, "labels": None},
    "mapping and label": lambda x: ({"pixels": x}, "label"),
}


@both_ways
@pytest.mark.parametrize("kind", BATCHES)
def test_any_batch(kind, layer_by_layer):
    model, data = Labelled(*network()), draw()
    recalibrate(model, list(map(BATCHES[kind], data)), layer_by_layer=layer_by_layer)
    assert_holds(model[0], data)


def test_a_call_of_ones_own():
    model, data = network(), draw()
    recalibrate(model, [{"deep": (x,)} for x in data], forward=lambda m, b: m(b["deep"][0]))
    assert_holds(model[0], data)


def test_a_call_gets_the_bare_model_and_no_gradient():
    model, data = nn.DataParallel(network()), draw()
    seen = []

    def forward(bare, x):
        seen.append((type(bare), bare.training, torch.is_grad_enabled()))
        bare(x)

    def batches():
        for x in data:
            assert torch.is_grad_enabled()  # the data's own affair
            yield x

    recalibrate(model, batches(), forward=forward)
    assert set(seen) == {(nn.Sequential, False, False)}


def test_a_generator_serves_one_pass():
    layer, data = nn.BatchNorm1d(3), draw()
    recalibrate(layer, (x for x in data))
    assert_holds(layer, data)


def test_progress_is_told_after_every_batch():
    told = []
    recalibrate(network(), draw(), progress=lambda *numbers: told.append(numbers))
    assert told == [(n, 4) for n in (1, 2, 3, 4)]
    told.clear()
    recalibrate(network(), draw(), layer_by_layer=True, progress=lambda *n: told.append(n))
    assert told == [(n, 12) for n in range(1, 13)]
    told.clear()
    recalibrate(network(), iter(draw()), progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (4, None)


# --------------------------------------------------------------------------------- any layer


def test_synchronized_layers_in_one_process():
    model, data = nn.SyncBatchNorm.convert_sync_batchnorm(network()), draw()
    recalibrate(model, data)
    assert_holds(model[0], data)


def test_layers_of_other_packages_that_write_their_own_forward():
    class BatchNormAct(nn.BatchNorm2d):
        """The forward of torch, written out and followed by an activation, as in timm."""

        def forward(self, x):
            training = self.training or (self.running_mean is None and self.running_var is None)
            tracked = not self.training or self.track_running_stats
            mean, var = (self.running_mean, self.running_var) if tracked else (None, None)
            y = nn.functional.batch_norm(
                x, mean, var, self.weight, self.bias, training, self.momentum or 0.0, self.eps
            )
            return y.relu()

    model, data = nn.Sequential(BatchNormAct(3), nn.BatchNorm2d(3)), draw(6, 5)
    recalibrate(model, data, layer_by_layer=True)
    assert_holds(model[0], data)
    assert_holds(model[1], inputs(model, data)["1"])


def test_masked_values_and_weights_are_heeded():
    class Masked(nn.Module):
        def __init__(self, **options):
            super().__init__()
            self.norm = batchnorm.nn.BatchNorm1d(3, **options)

        def forward(self, x, **weights):
            return self.norm(x, **weights)

    data = draw(8)
    masks = [torch.rand(len(x), 8) < 0.7 for x in data]
    model = Masked()
    recalibrate(model, [{"x": x, "mask": m} for x, m in zip(data, masks, strict=True)])
    kept = [x.movedim(1, 2)[m] for x, m in zip(data, masks, strict=True)]
    assert_holds(model.norm, kept)

    model, twice = Masked(), [torch.randint(0, 3, (len(x),)) for x in data]
    recalibrate(model, [{"x": x, "sample_weight": n} for x, n in zip(data, twice, strict=True)])
    assert_holds(model.norm, [x.repeat_interleave(n, 0) for x, n in zip(data, twice, strict=True)])


@pytest.mark.parametrize("method", ["exact", "algorithm-2"])
def test_the_biased_variance_where_the_layer_keeps_that(method):
    layer, data = batchnorm.nn.BatchNorm1d(3, correction=0), draw(rows=(5,))
    recalibrate(layer, data, method=method)
    _, var = statistics(data)
    np.testing.assert_allclose(layer.running_var, var * 4 / 5, rtol=1e-6)


@both_ways
@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0, None])
def test_a_debiasing_layer_evaluates_with_exactly_these_statistics(momentum, layer_by_layer):
    options = {"debias": True, "momentum": momentum}
    model = nn.Sequential(*(batchnorm.nn.BatchNorm1d(3, **options) for _ in range(2)))
    data = draw()
    recalibrate(model, data, layer_by_layer=layer_by_layer)
    assert_holds(model[0], data)
    mean, var = (torch.tensor(each)[:, None].T for each in statistics(data))
    y = model[0].eval()(data[0])
    np.testing.assert_allclose(y.detach(), (data[0] - mean) / (var + 1e-5).sqrt(), atol=2e-6)
    assert model[0].num_batches_tracked.item() >= len(data)
    if layer_by_layer:
        assert_holds(model[1], inputs(model, data)["1"])


def test_a_compiled_model():
    model, data = network(), draw()
    compiled = torch.compile(model, backend="eager")
    compiled(data[0])
    recalibrate(compiled, data)
    assert_holds(model[0], data)


WRAPPERS = {
    "averaged": torch.optim.swa_utils.AveragedModel,
    "data parallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.optim.swa_utils.AveragedModel(model)),
}


@both_ways
@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_whose_own_mode_means_nothing(wrapper, mode, layer_by_layer):
    wrapped, data = WRAPPERS[wrapper](network().train(mode)), draw()
    assert wrapped.training
    assert len(recalibrate(wrapped, data, layer_by_layer=layer_by_layer).done) == 3
    layer = next(m for m in wrapped.modules() if isinstance(m, _BatchNorm))
    assert_holds(layer, data)


@pytest.mark.slow
def test_a_network_of_transformers():
    transformers = pytest.importorskip("transformers")
    shape = {"embedding_size": 4, "hidden_sizes": [8, 12], "depths": [2, 1]}
    model = transformers.ResNetModel(transformers.ResNetConfig(layer_type="basic", **shape))
    data = [{"pixel_values": torch.randn(n, 3, 32, 32) + n} for n in (9, 4)]
    with torch.no_grad():
        model.train()
        record = recalibrate(model, data, layer_by_layer=True)
        seen = inputs(model, [x["pixel_values"] for x in data])
    assert len(record.done) == len(seen) == 9
    for name, reached in seen.items():
        assert_holds(model.get_submodule(name), reached, 1e-5)


# --------------------------------------------------------------------------- when it goes wrong


def broken_off(data):
    yield data[0]
    raise KeyError("the data end")


class BrokenOff(list):
    """Ends in an exception in the middle of its second use."""

    uses = 0

    def __iter__(self):
        self.uses += 1
        for number, batch in enumerate(super().__iter__()):
            if self.uses == 2 and number == 2:
                raise KeyError("the data end")
            yield batch


def raising(*_, at=3, calls=[0]):  # noqa: B006 -- counts its calls
    calls[0] += 1
    if calls[0] == at:
        calls[0] = 0
        raise KeyError("in the middle")


FAILURES = {
    "data": lambda model, data: recalibrate(model, broken_off(data)),
    "data, layer by layer": lambda model, data: recalibrate(
        model, BrokenOff(data), layer_by_layer=True
    ),
    "forward": lambda model, data: recalibrate(model, data, forward=lambda m, x: (m(x), raising())),
    "forward, layer by layer": lambda model, data: recalibrate(
        model, data, forward=lambda m, x: (m(x), raising(at=8)), layer_by_layer=True
    ),
    "progress": lambda model, data: recalibrate(model, data, progress=raising),
    "hook": recalibrate,
    "interrupt": recalibrate,
}


@both_families
@pytest.mark.parametrize("where", FAILURES)
def test_after_an_exception_the_model_is_bit_identical(family, where):
    model, data = network(family), draw()
    model[3].eval()
    model(data[0])
    before = state(model)
    error = KeyError
    hook = None
    if where == "hook":
        hook = model[6].register_forward_hook(functools.partial(raising, at=2))
    if where == "interrupt":
        error = KeyboardInterrupt

        def interrupt(*_):
            torch.rand(1)
            model[0].running_mean = torch.ones(3)
            raise KeyboardInterrupt

        hook = model[6].register_forward_hook(interrupt)
    with pytest.raises(error):
        FAILURES[where](model, data)
    if hook is not None:
        hook.remove()
    assert state(model) == before


@both_families
@both_ways
def test_a_batch_that_is_not_finite_is_named_and_changes_nothing(family, layer_by_layer):
    model, data = network(family), draw()
    data[2][1, 2] = torch.inf
    before = state(model)
    with pytest.raises(NonFiniteError, match=r"channels \[2\] of 3 of layer '0' in batch 2"):
        recalibrate(model, data, layer_by_layer=layer_by_layer)
    assert state(model) == before


def test_statistics_too_large_for_the_buffers_change_nothing():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).half()
    data = [torch.randn(8, 3).half() * 1000]
    before = state(model)
    with pytest.raises(
        DataError, match=r"layer '0' must fit its torch.float16 buffers, got .*e\+0"
    ):
        recalibrate(model, data)
    assert state(model) == before


def lazy():
    return nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3))


DOORS = [
    (network, list, {}, DataError, "at least one batch .* '0', '3', '6', got none"),
    (network, lambda: iter([]), {}, DataError, "a generator gives its batches only once"),
    (network, list, {"layer_by_layer": True}, DataError, "at least one batch"),
    (network, lambda: [torch.empty(0, 3)], {}, DataError, "at least one batch"),
    (network, lambda: torch.randn(4, 3), {}, OptionError, "iterable of batches, got a Tensor: put"),
    (network, lambda: {"x": 1}, {}, OptionError, "iterable of batches, got a dict"),
    (network, lambda: 3, {}, OptionError, "iterable of batches, got a int"),
    (
        network,
        lambda: iter(draw()),
        {"layer_by_layer": True},
        OptionError,
        "used again, .* list_iterator",
    ),
    (network, lambda: [()], {}, DataError, "an empty tuple: say how .* forward="),
    (network, draw, {"method": "mean"}, OptionError, "exact, algorithm-2, got 'mean'"),
    (network, draw, {"names": ["2"]}, OptionError, "'2', which is a Linear"),
    (network, draw, {"names": ["nine"]}, OptionError, "'nine', which is no module"),
    (network, draw, {"names": ["5"]}, OptionError, r"got '5' \(no running statistics\)"),
    (network, draw, {"names": []}, SurgeryError, "0: not among the names; 3: not"),
    (lambda: nn.Linear(3, 3), draw, {}, SurgeryError, "is needed, got no batch-norm layer"),
    (lazy, draw, {}, SurgeryError, "got the lazy LazyLinear '0': pass one batch"),
    (
        lambda: nn.Sequential(nn.BatchNorm1d(3).eval()),
        draw,
        {},
        SurgeryError,
        "got 0: frozen: in evaluation mode in a model that trains",
    ),
    (
        network,
        lambda: [*draw(), torch.randn(1, 3)],
        {},
        CountError,
        r"batch 4 \(from 0\) gives layer '0' 1: join .* layer_by_layer=True",
    ),
    (
        network,
        lambda: [torch.randn(1, 3)],
        {"layer_by_layer": True, "names": ["0"], "forward": lambda m, x: m[0](x)},
        CountError,
        "layer '0' needs more than one value per channel .* got 1 rows, 1 batch: give more",
    ),
]


@pytest.mark.parametrize(("build", "data", "options", "error", "text"), DOORS)
def test_errors_say_what_was_needed_and_change_nothing(build, data, options, error, text):
    model, batches = build(), data()
    before = None if build is lazy else state(model)
    with pytest.raises(error, match=text):
        recalibrate(model, batches, **options)
    assert before is None or state(model) == before


def test_a_frozen_layer_is_refused_by_name():
    model = network(batchnorm.nn)
    model[0].freeze()
    with pytest.raises(OptionError, match=r"not frozen, got '0' \(frozen\): leave it out"):
        recalibrate(model, draw(), names=["0"])
