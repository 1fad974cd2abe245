"""PyTorch's own table of how it tests BatchNorm1d, 2d and 3d, run over our classes.

The table ships with PyTorch, the program that runs it (`test_modules.py`) does not: each law here
is one of its tests.
"""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from batchnorm import nn, reference
from support.layers.laws import array, assert_close

OURS = {
    torch.nn.BatchNorm1d: nn.BatchNorm1d,
    torch.nn.BatchNorm2d: nn.BatchNorm2d,
    torch.nn.BatchNorm3d: nn.BatchNorm3d,
}
HALF = (torch.float16, torch.bfloat16)

every_class = pytest.mark.parametrize("torch_class", OURS, ids=lambda c: c.__name__)
every_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


class Entry:
    """One row: how to make a module of either class, and what to call it with."""

    def __init__(self, row, torch_class, dtype, training):
        self.row, self.torch_class, self.dtype, self.training = row, torch_class, dtype, training

    def module(self, *, ours=True, **options):
        made = self.row.constructor_input
        options = {"dtype": self.dtype, **made.kwargs, **options}
        chosen = OURS[self.torch_class] if ours else self.torch_class
        return chosen(*made.args, **options).train(self.training)

    def twins(self):
        """Return ours and torch's with the same parameters and statistics."""
        theirs, ours = self.module(ours=False), self.module()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.uniform_(0.5, 1.5)
        ours.load_state_dict(theirs.state_dict())
        return ours, theirs

    @property
    def x(self):
        (x,) = self.row.forward_input.args
        assert not self.row.forward_input.kwargs
        return x.detach().clone().requires_grad_(x.requires_grad)


def entries(torch_class, dtype, training, *, requires_grad=False):
    """Return the rows of the table for a class."""
    # Here, because it takes seconds.
    from torch.testing._internal.common_modules import module_db

    (info,) = (info for info in module_db if info.module_cls is torch_class)
    assert dtype in info.dtypes
    rows = info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training
    )
    assert len(rows) >= 7
    assert all(row.reference_fn is None for row in rows), "then compare with it"
    return [Entry(row, torch_class, dtype, training) for row in rows]


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@every_class
@every_mode
@every_dtype
def test_forward(torch_class, dtype, training):
    """As torch, but that an empty batch is not counted; as the reference, to our tolerance."""
    for entry in entries(torch_class, dtype, training):
        ours, theirs = entry.twins()
        statistics = array(ours.running_mean), array(ours.running_var)
        x = entry.x
        with torch.no_grad():
            y = ours(x)
            torch.testing.assert_close(y, theirs(x), rtol=1e-5, atol=1e-5)
        if x.numel() == 0:
            assert y.shape == x.shape
            continue
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-5)
        parameters = array(ours.weight), array(ours.bias), ours.eps
        if training or not ours.track_running_stats:
            expected = reference.forward(array(x), *parameters).y
        else:
            expected = reference.inference(array(x), *statistics, *parameters)
        assert_close(array(y), expected, dtype)


@every_class
@every_mode
def test_first_and_second_derivatives(torch_class, training):
    """With respect to the input and all parameters, buffers moving as they do."""
    for entry in entries(torch_class, torch.float64, training, requires_grad=True):
        module = entry.module()
        names = [name for name, _ in module.named_parameters()]

        def function(x, *parameters, module=module, names=names):
            given = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(module, given, (x,))

        inputs = (entry.x, *module.parameters())
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:DeprecationWarning")  # of forward mode
@every_mode
@pytest.mark.parametrize(
    "torch_class",
    [
        torch.nn.BatchNorm1d,
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
        ),
    ],
)
def test_derivatives_forward_and_batched_by_the_engine(torch_class, training):
    seen = set()
    for entry in entries(torch_class, torch.float64, training, requires_grad=True):
        module = entry.module()
        kind = module.affine, module.track_running_stats, module.bias is None, entry.x.numel() > 0
        if kind in seen:  # the momentum makes no difference
            continue
        seen.add(kind)
        names = [name for name, _ in module.named_parameters()]

        def function(x, *parameters, module=module, names=names):
            given = dict(zip(names, parameters, strict=True))
            return torch.func.functional_call(module, given, (x,))

        inputs = (entry.x, *module.parameters())
        ways = {"fast_mode": True, "check_batched_grad": True}
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, **ways)
        assert torch.autograd.gradgradcheck(function, inputs, **ways)


@every_class
@every_dtype
def test_errors(torch_class, dtype):
    from torch.testing._internal.common_modules import module_db

    (info,) = (info for info in module_db if info.module_cls is torch_class)
    rows = info.module_error_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=False, training=True
    )
    assert rows
    for row in rows:
        assert row.error_on.name == "FORWARD_ERROR"
        module = Entry(row.module_error_input, torch_class, dtype, training=True).module()
        with pytest.raises(row.error_type, match=row.error_regex):
            module(*row.module_error_input.forward_input.args)


@every_class
@every_mode
def test_strided_input(torch_class, training):
    """Input and output gradient with gaps between the values."""

    def with_gaps(tensor):
        wide = torch.full((*tensor.shape, 2), torch.nan, dtype=tensor.dtype)
        wide[..., 0] = tensor.detach()
        return wide[..., 0].requires_grad_(tensor.requires_grad)

    for entry in entries(torch_class, torch.float64, training, requires_grad=True):
        found = []
        for lay_out in (lambda t: t, with_gaps):
            module, x = entry.module(), lay_out(entry.x)
            assert x.is_contiguous() == (lay_out is not with_gaps or x.numel() == 0)
            y = module(x)
            torch.manual_seed(1)
            dy = lay_out(torch.randn(y.shape, dtype=y.dtype))
            found.append([y, *torch.autograd.grad(y, [x, *module.parameters()], dy)])
            found[-1] += state(module).values()
        torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("torch_class", "memory_format"),
    [
        (torch.nn.BatchNorm2d, torch.channels_last),
        (torch.nn.BatchNorm3d, torch.channels_last_3d),
    ],
)
@pytest.mark.parametrize("convert", ["input", "module", "both"])
@every_mode
def test_memory_format(torch_class, memory_format, convert, training):
    """Output and gradient lie in memory as torch lays them out."""
    for entry in entries(torch_class, torch.float32, training, requires_grad=True):
        found = []
        for module in entry.twins():
            x = entry.x.detach()
            if convert != "input":
                module.to(memory_format=memory_format)
            if convert != "module":
                x = x.contiguous(memory_format=memory_format)
            y = module(x.requires_grad_())
            y.sum().backward()
            found.append((y, x.grad))
        for ours, theirs in zip(*found, strict=True):
            assert ours.stride() == theirs.stride()
            assert ours.is_contiguous(memory_format=memory_format) == theirs.is_contiguous(
                memory_format=memory_format
            )


@every_class
@every_mode
@pytest.mark.parametrize("way", ["pickle", "torch.save", "deepcopy", "state_dict"])
def test_copies(torch_class, training, way):
    """A copy does what its original does, from the state in which it was copied."""

    def copied(module, entry):
        if way == "pickle":
            return pickle.loads(pickle.dumps(module))  # noqa: S301 -- written one line up
        if way == "deepcopy":
            return copy.deepcopy(module)
        file = io.BytesIO()
        torch.save(module if way == "torch.save" else module.state_dict(), file)
        file.seek(0)
        if way == "torch.save":
            return torch.load(file, weights_only=False)
        other = entry.module()
        other.load_state_dict(torch.load(file, weights_only=True))
        return other

    for entry in entries(torch_class, torch.float32, training):
        module = entry.module()
        module(entry.x)
        other = copied(module, entry)
        assert type(other) is type(module)
        assert repr(other) == repr(module)
        assert torch.equal(other(entry.x), module(entry.x))
        torch.testing.assert_close(other.state_dict(), module.state_dict(), rtol=0, atol=0)


@every_class
@every_dtype
def test_factory_arguments(torch_class, dtype):
    """Created where and as what is asked for, before the first byte is written."""
    for entry in entries(torch_class, torch.float32, training=True):
        module = entry.module(device="meta", dtype=dtype)
        floating = [t for t in pytree.tree_leaves(module.state_dict()) if t.is_floating_point()]
        assert {t.dtype for t in floating} <= {dtype}
        held = [*module.parameters(), *module.buffers()]
        assert all(t.is_meta for t in held)
        torch.set_default_dtype(dtype)
        try:
            assert {t.dtype for t in entry.module(dtype=None).parameters()} <= {dtype}
        finally:
            torch.set_default_dtype(torch.float32)


@every_class
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_factory_arguments_of_16_bits_leave_the_statistics_32(torch_class, dtype):
    """Where we depart from torch, on purpose."""
    for entry in entries(torch_class, torch.float32, training=True):
        module = entry.module(dtype=dtype)
        assert {t.dtype for t in module.parameters()} <= {dtype}
        floating = [t for t in module.buffers() if t.is_floating_point()]
        assert {t.dtype for t in floating} <= {torch.float32}


@every_class
def test_repr(torch_class):
    for entry in entries(torch_class, torch.float32, training=True):
        assert repr(entry.module()) == repr(entry.module(ours=False))


@every_class
def test_training_and_evaluation_differ(torch_class):
    for entry in entries(torch_class, torch.float64, training=True):
        module, x = entry.module(), entry.x
        if x.numel() and module.track_running_stats:
            assert not torch.equal(module.train()(x), module.eval()(x))


@every_class
@every_mode
def test_to_meta_and_back(torch_class, training):
    """The state goes with the module, and an empty one takes a saved state."""
    for entry in entries(torch_class, torch.float32, training):
        module = entry.module()
        module(entry.x)
        saved, y = state(module), copy.deepcopy(module)(entry.x)
        module.to("meta")
        assert all(t.is_meta for t in [*module.parameters(), *module.buffers()])
        assert module(entry.x.to("meta")).shape == y.shape
        module.to_empty(device="cpu")
        module.reset_parameters()
        module.load_state_dict(saved)
        assert torch.equal(module(entry.x), y)


@every_class
@every_mode
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_to_another_device_and_back(torch_class, training):
    for entry in entries(torch_class, torch.float32, training):
        module = entry.module()
        other = copy.deepcopy(module).cuda()
        found = other(entry.x.cuda())
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), module(entry.x))
        torch.testing.assert_close(other.cpu().state_dict(), module.state_dict())


@every_class
@pytest.mark.parametrize("swap", [False, True])
def test_to_another_dtype(torch_class, swap):
    """In place for every name that holds the module's tensors, by data or by swapping."""
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        for entry in entries(torch_class, torch.float32, training=True):
            module = entry.module()
            held = list(module.parameters())
            module.to(torch.float64)
            assert [id(p) for p in module.parameters()] == [id(p) for p in held]
            assert all(p.dtype == torch.float64 for p in held)
            assert module(entry.x.double()).dtype == torch.float64
            module.half()
            floating = [t for t in module.buffers() if t.is_floating_point()]
            assert {t.dtype for t in floating} <= {torch.float32}
            other = entry.module(dtype=torch.float64)
            module.load_state_dict(other.state_dict())
            assert all(p.dtype == torch.float16 for p in held)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


@every_class
@every_mode
@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_ahead_of_time_autograd(torch_class, training, dynamic):
    """Traced with its backward pass; torch expects its own layer to fail in training here.

    The cumulative average asks for the value of the counter.
    """
    from torch._subclasses.fake_tensor import DataDependentOutputException
    from torch.testing._internal.optests import aot_autograd_check

    def check(entry, *, ours):
        module = entry.module(ours=ours)
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

        def function(state, x):
            return torch.func.functional_call(module, state, (x,))

        aot_autograd_check(function, (state, entry.x), {}, dynamic=dynamic, check_gradients=True)

    for entry in entries(torch_class, torch.float32, training, requires_grad=True):
        if dynamic and entry.x.numel() == 0:
            continue
        check(entry, ours=True)
        if training and entry.module().momentum is None:
            errors = (DataDependentOutputException, RuntimeError)
            with pytest.raises(errors, match=r"_local_scalar_dense|data-dependent expression"):
                check(entry, ours=False)


def test_the_table_is_not_empty_of_what_matters():
    """The rows cover what the laws above say: an empty batch, each option, both momenta."""
    rows = [e for c in OURS for e in entries(c, torch.float32, training=True)]
    modules = [entry.module() for entry in rows]
    assert sum(entry.x.numel() == 0 for entry in rows) == 3
    assert {m.affine for m in modules} == {m.track_running_stats for m in modules} == {True, False}
    assert None in {m.momentum for m in modules}
    assert any(m.affine and m.bias is None for m in modules)
    assert np.unique([entry.x.ndim for entry in rows]).tolist() == [2, 3, 4, 5]
