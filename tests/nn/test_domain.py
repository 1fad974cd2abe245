"""Domain-specific batch normalization is one plain layer for each domain."""

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from batchnorm.errors import (
    ChannelError,
    CountError,
    DeviceError,
    DTypeError,
    OptionError,
    ShapeError,
)
from batchnorm.nn import (
    BatchNorm1d,
    BatchNorm2d,
    ConditionalBatchNorm2d,
    DomainBatchNorm1d,
    DomainBatchNorm2d,
    GhostBatchNorm1d,
    use_domain,
)
from support.layers.cases import lay_out

WHERE = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1])


def build(shared=False, **options):
    layer = DomainBatchNorm2d(3, 3, shared_affine=shared, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(3))
    return layer


def saved(module):
    return copy.deepcopy(module.state_dict())


def same(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "strided"])
@pytest.mark.parametrize("given", ["", "residual", "mask", "sample_weight"])
@pytest.mark.parametrize("training", [True, False])
def test_a_mixed_batch_is_its_domains_apart(shared, layout, given, training):
    """Output, gradients and state are those of one call for each domain."""
    mixed = build(shared, activation="silu").train(training)
    apart = copy.deepcopy(mixed)
    x = lay_out(torch.randn(9, 3, 5, 4, dtype=torch.float64) * 2 + 1, layout)
    companions = {
        "": {},
        "residual": {"residual": torch.randn(9, 3, 5, 4, dtype=torch.float64)},
        "mask": {"mask": torch.rand(9, 5, 4) < 0.6},
        "sample_weight": {"sample_weight": torch.rand(9)},
    }[given]
    x.requires_grad_()
    y = mixed(x, WHERE, **companions)
    y.square().sum().backward()
    wanted, dx = torch.empty_like(x), torch.empty_like(x)
    for domain in (0, 1):
        here = domain == WHERE
        part = x.detach()[here].requires_grad_()
        out = apart(part, domain, **{name: values[here] for name, values in companions.items()})
        out.square().sum().backward()
        wanted.data[here], dx.data[here] = out.detach(), part.grad
    assert y.stride() == torch.empty_like(x).stride()
    torch.testing.assert_close(y, wanted, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(x.grad, dx, rtol=1e-12, atol=1e-12)
    for mine, other in zip(mixed.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixed.state_dict(), apart.state_dict(), rtol=1e-13, atol=1e-13)


def test_each_domain_has_its_own_statistics():
    layer = build()
    for step in range(200):
        x = torch.randn(8, 3, 2, 2, dtype=torch.float64)
        layer(x * 2 + 10, 0)
        layer(x - 5, step % 2 + 1)
    means = [domain.running_mean.mean().item() for domain in layer.domains]
    assert means == pytest.approx([10, -5, -5], abs=1)
    assert [domain.num_batches_tracked.item() for domain in layer.domains] == [200, 100, 100]


def test_a_domain_that_is_not_there_gets_nothing():
    layer = build()
    before = saved(layer.domains[2])
    layer(torch.randn(9, 3, 2, 2, dtype=torch.float64), WHERE).sum().backward()
    assert same(layer.domains[2], before)
    assert layer.domains[2].weight.grad is None
    assert layer.domains[1].weight.grad is not None


@pytest.mark.parametrize(("shared", "kind"), [(False, BatchNorm2d), (True, ConditionalBatchNorm2d)])
def test_the_layers_inside_are_ordinary(shared, kind):
    """What walks the modules of a model and acts on each layer finds them."""
    layer = build(shared)
    inside = [module for module in layer.modules() if isinstance(module, _BatchNorm)]
    assert [type(module) for module in inside] == [kind] * 3
    for module in inside[:2]:
        module.freeze()
    before = saved(layer)
    layer(torch.randn(9, 3, 2, 2, dtype=torch.float64), WHERE)
    assert same(layer, before)


def test_state_keys():
    buffers = ["running_mean", "running_var", "num_batches_tracked"]
    own, shared = DomainBatchNorm1d(3, 2), DomainBatchNorm1d(3, 2, shared_affine=True)
    assert list(own.state_dict()) == [
        f"domains.{k}.{name}" for k in (0, 1) for name in ("weight", "bias", *buffers)
    ]
    assert list(shared.state_dict()) == [
        "weight", "bias", *(f"domains.{k}.{name}" for k in (0, 1) for name in buffers)
    ]  # fmt: skip
    assert [name for name, _ in shared.named_parameters()] == ["weight", "bias"]
    assert list(DomainBatchNorm1d(3, 2, affine=False).parameters()) == []
    plain = DomainBatchNorm1d(3, 2, shared_affine=True, affine=False)
    assert (plain.weight, plain.bias) == (None, None)
    assert DomainBatchNorm1d(3, 2, shared_affine=True, bias=False).bias is None


def test_every_domain_can_start_from_a_trained_layer():
    plain = BatchNorm1d(3)
    plain(torch.randn(16, 3) + 4)
    layer = DomainBatchNorm1d(3, 2).eval()
    for domain in layer.domains:
        domain.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(4, 3)
    assert torch.equal(layer(x, torch.tensor([0, 1, 1, 0])), plain.eval()(x))


def test_a_domain_can_be_any_layer_that_takes_an_input():
    layer = DomainBatchNorm1d(3, 2)
    layer.domains[1] = torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3)
    y = layer(x, torch.tensor([0, 1] * 4))
    torch.testing.assert_close(y[1::2], BatchNorm1d(3)(x[1::2]))


def test_one_domain_in_a_tensor_is_not_taken_apart():
    layer = build()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    y = layer(x, torch.full((4,), 2))
    assert type(y.grad_fn) is type(layer(x, 2).grad_fn)
    assert layer(x[:0], torch.empty(0, dtype=torch.int64)).shape == (0, 3, 2, 2)


@pytest.mark.parametrize(
    ("domain", "error", "text"),
    [
        (3, OptionError, "must be from 0 to 2, got 3: num_domains"),
        (-1, OptionError, "must be from 0 to 2, got -1"),
        (None, OptionError, r"needed, got None: give it as layer\(x, domain\), or .* use_domain"),
        (torch.tensor([0, 0, 3, 3]), OptionError, "from 0 to 2, got 0 to 3"),
        (torch.tensor([-7, 0, 0, 0]), OptionError, "got -7 to 0"),
        (torch.tensor([0, 0, 1]), ShapeError, r"shape \(4,\), .* got \(3,\): give an int"),
        (torch.tensor(0), ShapeError, r"got \(\): give an int"),
        (torch.tensor([0, 0, 1, 1.0]), DTypeError, r"int64, got torch.float32: .* domain.long\(\)"),
        (torch.tensor([0, 0, 0, 1]), CountError, r"\(4, 3\) with one sample of domain 1: use a"),
    ],
    ids=str,
)
def test_a_wrong_domain_changes_nothing(domain, error, text):
    layer = DomainBatchNorm1d(3, 3)
    before = saved(layer)
    with pytest.raises(error, match=text):
        layer(torch.randn(4, 3), domain)
    assert same(layer, before)


@pytest.mark.parametrize(
    ("x", "companions", "error"),
    [
        (torch.randn(4, 3, 1, 1), {}, ShapeError),
        (torch.randn(4), {}, ShapeError),
        (torch.randn(4, 2), {}, ChannelError),
        (torch.randn(4, 3).double(), {}, DTypeError),
        (torch.randn(4, 3), {"residual": torch.randn(5, 3)}, ShapeError),
        (torch.randn(4, 3), {"mask": torch.ones(5).bool()}, ShapeError),
        (torch.randn(4, 3), {"sample_weight": torch.ones(3)}, ShapeError),
        (torch.randn(4, 3), {"mask": torch.ones(4, device="meta").bool()}, DeviceError),
    ],
)
def test_wrong_companions_change_nothing(x, companions, error):
    layer = DomainBatchNorm1d(3, 3)
    before = saved(layer)
    with pytest.raises(error):
        layer(x, torch.tensor([0, 0, 1, 1]), **companions)
    assert same(layer, before)


def test_one_sample_of_a_domain_is_enough_where_nothing_is_taken_of_it():
    layer = DomainBatchNorm1d(3, 2)
    x, where = torch.randn(3, 3), torch.tensor([0, 0, 1])
    layer.domains[1].freeze()
    assert layer(x, where).isfinite().all()
    layer.domains[1].unfreeze()
    with pytest.raises(CountError, match="one sample of domain 1"):
        layer(x, where)
    assert layer.eval()(x, where).isfinite().all()


def test_use_domain_reaches_every_layer_of_a_model_and_ends():
    model = torch.nn.Sequential(DomainBatchNorm1d(3, 2), torch.nn.ReLU(), DomainBatchNorm1d(3, 3))
    x = torch.randn(4, 3)
    with use_domain(model, 1):
        y = model(x)
        with use_domain(model[2], torch.tensor([0, 2, 0, 2])):
            model(x)
        with pytest.raises(OptionError, match="from 0 to 1, got 5"), use_domain(model, 5):
            model(x)
        assert [layer.domain for layer in (model[0], model[2])] == [1, 1]
        assert torch.equal(model[0](x, 1), model[0](x))
    assert y.shape == (4, 3)
    counted = [[d.num_batches_tracked.item() for d in model[i].domains] for i in (0, 2)]
    assert counted == [[0, 4], [1, 1, 1]]
    with pytest.raises(OptionError, match="needed, got None"):
        model(x)


def test_use_domain_needs_such_a_layer():
    with (
        pytest.raises(OptionError, match="needs a model with layers like DomainBatchNorm2d, got"),
        use_domain(GhostBatchNorm1d(3, 4), 0),
    ):
        pass


def test_a_domain_at_the_call_comes_before_that_of_the_block():
    layer = DomainBatchNorm1d(3, 2)
    with use_domain(layer, 1):
        layer(torch.randn(4, 3), 0)
    assert [domain.num_batches_tracked.item() for domain in layer.domains] == [1, 0]


@pytest.mark.parametrize("number", [0, -1])
def test_no_domains_are_refused(number):
    with pytest.raises(OptionError, match=f"num_domains must be positive, got {number}"):
        DomainBatchNorm1d(3, number)


@pytest.mark.parametrize("shared", [False, True])
def test_everything_can_be_set_to_its_start(shared):
    layer, fresh = build(shared), DomainBatchNorm2d(3, 3, shared_affine=shared, dtype=torch.float64)
    layer(torch.randn(9, 3, 2, 2, dtype=torch.float64), WHERE)
    layer.reset_parameters()
    assert same(layer, fresh.state_dict())


def test_repr():
    assert repr(DomainBatchNorm1d(3, 2, shared_affine=True)).startswith(
        "DomainBatchNorm1d(\n  3, num_domains=2, shared_affine=True\n  (domains): ModuleList("
    )
