"""What comes to a layer and is no dense tensor, no number in range, no whole counter."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence
from torch.optim.swa_utils import update_bn

import batchnorm
from batchnorm import functional, nn
from batchnorm.errors import (
    BatchNormError,
    ChannelError,
    DeviceError,
    DTypeError,
    OptionError,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(prototype|beta state|deprecated|Sparse CSR|quantize_per).*:UserWarning"
)

KINDS = {
    "sparse": (lambda: torch.eye(3).to_sparse(), r"layout torch.sparse_coo: .*x.to_dense\(\)"),
    "rows": (lambda: torch.eye(3).to_sparse_csr(), r"layout torch.sparse_csr: .*x.to_dense\(\)"),
    "oneDNN": (lambda: torch.ones(2, 3).to_mkldnn(), r"layout torch._mkldnn: .*x.to_dense\(\)"),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)]),
        r"got a nested tensor: pad it and give a mask.*to_padded_tensor\(x, 0.0\)",
    ),
    "jagged": (
        lambda: torch.nested.nested_tensor(
            [torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged
        ),
        "got a nested tensor: pad it and give a mask",
    ),
    "packed": (
        lambda: pack_sequence([torch.ones(4, 3), torch.ones(2, 3)]),
        r"got a PackedSequence: pad it and give a mask.*pad_packed_sequence\(x, batch_first",
    ),
    "masked": (
        lambda: torch.masked.masked_tensor(torch.ones(2, 3), torch.ones(2, 3).bool()),
        r"got a MaskedTensor: give x.get_data\(\), and x.get_mask\(\) as mask=",
    ),
    "list": (lambda: [torch.ones(3)] * 2, r"got a list: stack .* torch.stack\(list\(x\)\)"),
    "array": (lambda: np.ones((2, 3)), r"got a ndarray: convert it with torch.as_tensor\(x\)"),
    "nothing": (lambda: None, "got a NoneType: give a torch.Tensor"),
    "complex": (lambda: torch.ones(2, 3).to(torch.complex64), "complex64: .*view_as_real"),
    "whole": (lambda: torch.ones(2, 3).long(), r"got torch.int64: convert it with x.float\(\)"),
    "quantized": (
        lambda: torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.quint8),
        r"got torch.quint8: convert it with x.dequantize\(\)",
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_input(kind, training):
    make, message = KINDS[kind]
    layer = nn.BatchNorm1d(3).train(training)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(DTypeError, match=message):
        layer(make())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("kind", ["sparse", "list", "array", "nested"])
@pytest.mark.parametrize("companion", ["residual", "mask", "sample_weight"])
def test_kinds_of_companions(kind, companion):
    with pytest.raises(DTypeError, match=f"{companion} needs to be a dense tensor, got"):
        nn.BatchNorm1d(3)(torch.ones(3, 3), **{companion: KINDS[kind][0]()})


NUMBERS = [
    ({"momentum": float("nan")}, "momentum must be from 0 to 1, .* got nan"),
    ({"momentum": float("inf")}, "momentum must be from 0 to 1, .* got inf"),
    ({"momentum": -0.1}, "momentum must be from 0 to 1"),
    ({"momentum": 1.5}, "momentum must be from 0 to 1"),
    ({"eps": float("inf")}, "eps must be positive in training and finite, got inf"),
    ({"eps": float("nan")}, "eps must be positive in training"),
]


@pytest.mark.parametrize(("options", "message"), NUMBERS, ids=str)
def test_numbers(options, message):
    x = torch.randn(4, 3)
    with pytest.raises(OptionError, match=message):
        nn.BatchNorm1d(3, **options)(x)
    with pytest.raises(OptionError, match=message):
        functional.batch_norm(x, torch.zeros(3), torch.ones(3), training=True, **options)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_of_samples(weight):
    given = torch.tensor([1.0, weight, 2.0])
    with pytest.raises(OptionError, match=r"finite weights of at least 0, got .* for sample 1"):
        nn.BatchNorm1d(3)(torch.randn(3, 3), sample_weight=given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int32, torch.bool])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_counter_that_somebody_has_cast_is_counted_on(dtype, momentum):
    layer, twin = nn.BatchNorm1d(3, momentum=momentum), nn.BatchNorm1d(3, momentum=momentum)
    x = torch.randn(8, 3)
    for each in (layer, twin):
        each(x)
    for name in ("num_batches_tracked", "batches_skipped"):
        layer._buffers[name] = layer._buffers[name].to(dtype)
    for each in (layer, twin):
        each(x * 2)
    for name, buffer in twin.named_buffers():
        assert layer._buffers[name].dtype == buffer.dtype
        assert torch.equal(layer._buffers[name], buffer)


def test_an_averaged_counter_is_rounded():
    layer = nn.BatchNorm1d(3)
    layer.num_batches_tracked = torch.tensor(6.7)
    layer(torch.randn(8, 3))
    assert layer.num_batches_tracked == 8


@pytest.mark.parametrize("what", ["weight", "running_mean", "x"])
def test_freed_memory(what):
    layer, x = nn.BatchNorm1d(3), torch.randn(8, 3)
    victim = x if what == "x" else getattr(layer, what)
    victim.untyped_storage().resize_(0)
    with pytest.raises((DeviceError, RuntimeError), match=r"memory|storage|allocated"):
        layer.eval()(x)


def test_frozen_statistics_are_not_reset_by_others():
    x = 7 + torch.randn(64, 2)
    model = torch.nn.Sequential(nn.BatchNorm1d(2, momentum=None), nn.BatchNorm1d(2))
    model(x)
    model[0].freeze()
    before = model[0].running_mean.clone()
    with pytest.warns(UserWarning, match="leaves a frozen layer's .* unfreeze"):
        update_bn([x, x], model)
    assert torch.equal(model[0].running_mean, before)
    model[0].unfreeze().reset_running_stats()
    assert torch.equal(model[0].running_mean, torch.zeros(2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripting_a_plain_layer_in_evaluation_gives_torch_s():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), nn.BatchNorm1d(3))
    x = torch.randn(8, 4)
    model(x)
    scripted = torch.jit.script(model.eval())
    torch.testing.assert_close(scripted(x), model(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (lambda: nn.BatchNorm1d(3), r"train\(\)"),
        (lambda: nn.BatchNorm1d(3, activation="relu").eval(), "activation='relu'"),
        (lambda: nn.BatchNorm1d(3, debias=True).eval(), "debias=True"),
        (lambda: nn.BatchNorm1d(3).freeze().eval(), "frozen=True"),
        (lambda: nn.BatchNorm1d(3).eval().adapt(), "adapting=True"),
        (lambda: nn.GhostBatchNorm1d(3, 4).eval(), "GhostBatchNorm1d"),
        (lambda: nn.BatchRenorm1d(3).eval(), "BatchRenorm1d"),
    ],
)
def test_scripting_any_other_is_refused_with_our_ways(layer, found):
    with pytest.raises(OptionError, match=f"got {found}: export with torch.export"):
        torch.jit.script(torch.nn.Sequential(layer()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"activation": "relu"}, {"activation": "silu"}], ids=str)
def test_batched_gradients(options, training):
    """The vmap of the autograd engine, which is not that of torch.func."""
    layer = nn.BatchNorm2d(3, dtype=torch.float64, track_running_stats=False, **options)
    layer.train(training)
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian
    torch.testing.assert_close(jacobian(layer, x, vectorize=True), jacobian(layer, x))
    assert torch.autograd.gradcheck(layer, (x,), check_batched_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,), check_batched_grad=True)


def test_every_refusal_is_one_of_ours():
    for make, _ in KINDS.values():
        with pytest.raises(BatchNormError):
            batchnorm.functional.batch_norm(make(), None, None, training=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 2.0, 1 + 2j])
@pytest.mark.parametrize("form", ["number", "tensor"])
def test_a_momentum_that_is_no_weight_is_refused(form, value):
    momentum = torch.tensor(value) if form == "tensor" else value
    mean, var = torch.zeros(3), torch.ones(3)
    with pytest.raises(OptionError, match="momentum must be from 0 to 1"):
        functional.batch_norm(torch.randn(4, 3), mean, var, training=True, momentum=momentum)
    layer = nn.BatchNorm1d(3)
    layer.momentum = momentum
    with pytest.raises(OptionError, match="momentum must be from 0 to 1"):
        layer(torch.randn(4, 3))
    assert mean.eq(0).all()
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("counter", [-3, -1, 2**63 - 1])
def test_a_counter_with_which_no_average_goes_on_is_refused(counter):
    layer = nn.BatchNorm1d(3, momentum=None)
    layer.num_batches_tracked.fill_(counter)
    with pytest.raises(OptionError, match=r"from 0 to 2\*\*63 - 2 .* reset_running_stats"):
        layer(torch.randn(4, 3))
    assert layer.running_mean.eq(0).all()


WRONG_STATISTICS = {
    "whole numbers": (torch.zeros(3, dtype=torch.long), torch.ones(3), DTypeError),
    "complex": (torch.zeros(3, dtype=torch.complex64), torch.ones(3), DTypeError),
    "a row": (torch.zeros(1, 3), torch.ones(1, 3), ChannelError),
    "none beside one": (None, torch.ones(3), DTypeError),
    "another size": (torch.zeros(3), torch.ones(4), ChannelError),
}


@pytest.mark.parametrize("what", WRONG_STATISTICS)
def test_running_statistics_that_are_none_are_refused(what):
    mean, var, error = WRONG_STATISTICS[what]
    moments = functional.normalize(torch.randn(8, 3))[1]
    with pytest.raises(error, match="running_mean"):
        functional.update_running_(mean, var, moments)
    if what != "a row":
        with pytest.raises(error, match="running_mean"):
            functional.debiased(mean, var, 0.5)


@pytest.mark.parametrize("gathered", [-0.1, 2.0, float("nan")])
def test_a_gathered_weight_beyond_its_range_is_refused(gathered):
    with pytest.raises(OptionError, match="gathered must be from 0 to 1"):
        functional.debiased(torch.zeros(3), torch.ones(3), gathered)


@pytest.mark.parametrize(("r_max", "d_max"), [(0.5, 5.0), (0.0, 5.0), (-1.0, 5.0), (3.0, -1.0)])
def test_bounds_of_renormalization_are_checked(r_max, d_max):
    with pytest.raises(OptionError, match="r_max must be at least 1 and d_max at least 0"):
        functional.renorm_corrections(
            torch.randn(8, 3), torch.zeros(3), torch.ones(3), r_max=r_max, d_max=d_max
        )


VERBS = {
    **{name: getattr(batchnorm, name) for name in ("convert", "revert", "freeze", "unfreeze")},
    "no_decay_groups": lambda model: batchnorm.no_decay_groups(model, weight_decay=0.1),
    "fold": lambda model: batchnorm.fold(model, torch.ones(2, 3)),
    "insert": lambda model: batchnorm.insert(model, torch.ones(2, 3)),
    "recalibrate": lambda model: batchnorm.recalibrate(model, [torch.ones(2, 3)]),
    "adapt": lambda model: batchnorm.adapt(model, [torch.ones(2, 3)]).__enter__(),
    "accumulate_statistics": lambda model: nn.accumulate_statistics(model).__enter__(),
    "use_domain": lambda model: nn.use_domain(model, 0).__enter__(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_model_is_refused(verb):
    with pytest.raises(OptionError, match=r"a torch.nn.Module is needed, got a OrderedDict"):
        VERBS[verb](torch.nn.Linear(2, 2).state_dict())


@pytest.mark.parametrize("name", ["running_mean", "running_var", "weight", "bias"])
@pytest.mark.parametrize("kind", [list, np.asarray])
def test_what_goes_with_an_input_is_a_tensor(name, kind):
    given = {"running_mean": torch.zeros(3), "running_var": torch.ones(3)} | {name: kind([1.0] * 3)}
    with pytest.raises(DTypeError, match=f"{name} needs to be a dense tensor"):
        functional.batch_norm(torch.randn(4, 3), **given, training=True)
