"""The contract: what every module of `batchnorm.nn` must keep.

A law takes a subject (or a plain layer's class) and a case, and asserts. What the module should
give comes from the reference, which knows nothing of PyTorch.
"""

import copy
import io
from functools import partial

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from batchnorm import reference
from batchnorm.errors import BatchNormError
from batchnorm.nn import accumulate_statistics
from support.layers.cases import TOLERANCE, Case
from support.layers.expected import Expected, array, expected, statistics
from support.layers.subjects import Subject, subject_of


def build(layer_type, case: Case, seed: int = 2):
    """Return a module with parameters that are not the identity."""
    layer = layer_type(case.channels, **case.options())
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) + 0.5)
    return layer


def assert_close(found, wanted, dtype, what="", looser=1.0):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}"
    error = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    worst = error.max(initial=0.0)
    assert worst <= looser * TOLERANCE[dtype], f"{what}: error {worst:.3g}"


def assert_same(found, wanted, what=""):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert value.dtype == wanted[name].dtype, f"{what} {name}"
        assert torch.equal(value, wanted[name]), f"{what} {name}"


def snapshot(module):
    """Return everything that a module keeps."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in tensors}


def sublayers(module, attribute):
    """Return the layers inside a module, or the module itself, that have an attribute."""
    return [layer for layer in module.modules() if hasattr(layer, attribute)]


# ------------------------------------------------------------------------ what it computes


def output(layer_type, case):
    layer, x = build(layer_type, case), case.x()
    wanted = _expected(subject_of(layer_type), layer, case, x)
    y = layer(x, **case.companions())
    assert y.dtype == x.dtype
    assert_close(array(y), wanted.y, case.dtype, "output")


def gradients(layer_type, case):
    layer, x = build(layer_type, case), case.x().requires_grad_()
    wanted = _expected(subject_of(layer_type), layer, case, x)
    y = _differentiate(subject_of(layer_type), layer, x, wanted, case)
    assert_close(array(y), wanted.y, case.dtype, "output")


def evaluation(layer_type, case):
    """Output and gradients under population statistics."""
    subject = subject_of(layer_type)
    layer, x = build(layer_type, case).eval(), case.x().requires_grad_()
    if case.tracked:
        _shift_running(subject, layer, case)
    wanted = _expected(subject, layer, case, x, training=False)
    y = _differentiate(subject, layer, x, wanted, case)
    assert_close(array(y), wanted.y, case.dtype, "output")


def _expected(subject: Subject, layer, case, x, training=True) -> Expected:
    parts = subject.parts(len(x), training)
    running = None
    if case.tracked and not training:
        found = [subject.running(layer, part) for part in range(len(parts))]
        running = [(array(each.mean), array(each.var).reshape(-1)) for each in found]
    companions = case.companions()
    return expected(
        array(x),
        array(case.dy()),
        [part.numpy() for part in parts],
        subject.affine(layer, len(x)),
        case.eps,
        running,
        activation=case.activation,
        residual=array(companions.get("residual")),
        mask=companions.get("mask"),
    )


def _shift_running(subject, layer, case):
    """Give all running statistics values that are not those of the batch."""
    parts = range(len(subject.parts(case.shape[0], False)))
    each_part = [subject.running(layer, part) for part in parts]
    moved = {id(each.mean): each for each in each_part}
    with torch.no_grad():
        for number, each in enumerate(moved.values()):
            each.mean.add_(0.3 + number)
            each.var.mul_(1.7 + number)


def _differentiate(subject, layer, x, wanted, case):
    """Check all gradients, and return the output."""
    companions = case.companions()
    residual = companions.get("residual")
    if residual is not None:
        residual.requires_grad_()
    y = layer(x, **companions)
    y.backward(case.dy())
    assert x.grad.dtype == x.dtype
    assert_close(array(x.grad), wanted.dx, case.dtype, "dx", looser=4)
    if residual is not None:
        assert_close(array(residual.grad), wanted.dresidual, case.dtype, "dresidual", looser=4)
    # The parameters are summed over all values, in their own precision.
    for name, found, sums in _parameter_gradients(subject, layer, len(x), wanted):
        if sums is None:
            assert found.grad is None, f"d{name}"
            continue
        assert found.grad.dtype == found.dtype
        assert_close(array(found.grad), array(sums), found.dtype, f"d{name}", looser=4)
    return y


def _parameter_gradients(subject, layer, n, wanted):
    """Yield name, parameter and the gradient it should have."""
    twin = copy.deepcopy(layer).double()
    for parameter in twin.parameters():
        parameter.grad = None
    found = zip(subject.affine(twin, n), (wanted.dweight, wanted.dbias), strict=True)
    pairs = [(values, torch.from_numpy(d)) for values, d in found if values is not None]
    if not pairs:
        return
    values, sums = zip(*pairs, strict=True)
    parameters = list(twin.parameters())
    sums = [each.to(total.device) for each, total in zip(sums, values, strict=True)]
    totals = torch.autograd.grad(values, parameters, sums, allow_unused=True)
    for (name, parameter), total in zip(layer.named_parameters(), totals, strict=True):
        yield name, parameter, total


def buffers(layer_type, case):
    """The running statistics after three batches."""
    subject, layer = subject_of(layer_type), build(layer_type, case)
    if not case.tracked:
        layer(case.x(), **case.companions())
        assert list(layer.buffers()) == []
        return
    batches = [case.x(seed=step) for step in range(3)]
    for x in batches:
        layer(x, **case.companions())
    moved = [[moments] for x in batches for moments in _moments(subject, case, x)]
    _check_running(subject, layer, case, moved)


def _moments(subject, case, x):
    """Yield the number of each part, and its statistics."""
    mask = case.companions().get("mask")
    for number, part in enumerate(subject.parts(len(x), True)):
        yield number, statistics(array(x[part]), None if mask is None else mask[part])


def _check_running(subject, layer, case, steps):
    """Check the running statistics after updates, each with parts that were merged."""
    start = np.zeros(case.channels), np.ones(case.channels), 0
    states = {}
    for step in steps:
        running = subject.running(layer, step[0][0])
        mean, var, count = states.get(id(running.mean), (*start, running))[:3]
        batch = _merged([moments for _, moments in step])
        momentum = 1 / (count + 1) if case.momentum is None else case.momentum
        mean, var = reference.update_running((mean, var), batch, momentum)
        states[id(running.mean)] = mean, var, count + (batch.count > 0), running
    for mean, var, count, running in states.values():
        assert running.mean.dtype == case.parameter_dtype
        assert_close(array(running.mean), mean, running.mean.dtype, "mean")
        assert_close(array(running.var).reshape(-1), var, running.mean.dtype, "var")
        assert running.counter.item() == count


def _merged(parts):
    """Return the statistics of all parts together, by the definition."""
    count = sum(part.count for part in parts)
    mean = sum(part.count * part.mean for part in parts) / max(count, 1)
    m2 = sum(part.count * (part.var + (part.mean - mean) ** 2) for part in parts)
    return reference.Statistics(count, mean, m2 / max(count, 1))


def second_derivative(layer_type, case):
    for training in (True, False):
        layer = build(layer_type, case).train(training)
        x = case.x().requires_grad_()
        inputs = (x, *layer.parameters())
        keys = [name for name, _ in layer.named_parameters()]

        def function(x, *parameters, layer=layer, keys=keys):
            values = dict(zip(keys, parameters, strict=True))
            return torch.func.functional_call(layer, values, (x,), case.companions())

        if training:
            for each in sublayers(layer, "track_running_stats"):
                each.track_running_stats = False  # gradcheck calls many times
        # Each value by itself where there are few, their random sums where there are many.
        many = x.numel() > 12
        assert torch.autograd.gradcheck(function, inputs, fast_mode=many)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=many)


# ------------------------------------------------------------------------ what it leaves alone


def layout(layer_type, case):
    """The output has the strides torch gives it, the gradient those of the input."""
    layer, x = build(layer_type, case), case.x()
    companions = case.companions()
    assert layer(x, **companions).stride() == torch.empty_like(x).stride()
    x.requires_grad_()
    layer(x, **companions).sum().backward()
    assert x.grad.stride() == torch.empty_like(x).stride()


def input_untouched(layer_type, case):
    layer = build(layer_type, case)
    given = {"input": case.x(), **case.companions()}
    before = {name: tensor.clone() for name, tensor in given.items()}
    for training in (True, False):
        layer.train(training)(given["input"], **{k: given[k] for k in case.companions()})
        assert_same(given, before)


def errors_change_nothing(layer_type, case):
    """Wrong dimensions, channels, dtype and one value per channel are refused before all else."""
    layer, x = build(layer_type, case), case.x()
    layer(x)
    before = snapshot(layer)
    wrong = [
        x.unsqueeze(-1) if x.ndim > 3 else x[..., None, None, None],
        torch.cat([x, x], 1),
        torch.ones_like(x, dtype=torch.int64),
        x.float(),  # beside parameters of float64
        x[:1]
        .reshape(1, case.channels, -1)[..., :1]
        .reshape(1, case.channels, *(1,) * (x.ndim - 2)),
    ]
    for given in wrong:
        try:
            layer(given)
        except BatchNormError:
            assert_same(snapshot(layer), before)
        else:
            raise AssertionError(f"{tuple(given.shape)} of {given.dtype} was taken")


def empty_batch(layer_type, case):
    """Empty output, gradients of zero, statistics untouched."""
    layer = build(layer_type, case)
    for training in (True, False):
        before = snapshot(layer)
        x = case.x()[:0].requires_grad_()
        companions = {name: values[:0] for name, values in case.companions().items()}
        y = layer.train(training)(x, **companions)
        assert y.shape == x.shape
        y.sum().backward()
        assert x.grad.shape == x.shape
        for parameter in layer.parameters():
            assert parameter.grad is None or parameter.grad.count_nonzero() == 0
        assert_same(snapshot(layer), before)


# ------------------------------------------------------------------------------------- modes


def frozen(layer_type, case):
    """A frozen module in training is the module in evaluation, and stays as it is."""
    layer, x = build(layer_type, case), case.x()
    layer(case.x(seed=5), **case.companions())
    before = snapshot(layer)
    wanted = layer.eval()(x, **case.companions())
    for each in sublayers(layer, "freeze"):
        each.freeze()
    assert torch.equal(layer.train()(x, **case.companions()), wanted)
    assert_same(snapshot(layer), before)
    for each in sublayers(layer, "freeze"):
        each.unfreeze()
    assert not torch.equal(layer(x, **case.companions()), wanted)


def adapting(layer_type, case):
    """An adapting module in evaluation takes the batch, and keeps its statistics."""
    layer, x = build(layer_type, case), case.x()
    layer(case.x(seed=5), **case.companions())
    before = snapshot(layer)
    for each in sublayers(layer, "adapt"):
        each.adapt()
    y = layer.eval()(x, **case.companions())
    untracked = Case(**{**vars(case), "tracked": False})
    wanted = _expected(subject_of(layer_type), layer, untracked, x, training=False)
    assert_close(array(y), wanted.y, case.dtype, "output")
    assert_same(snapshot(layer), before)


def micro_batches(layer_type, case):
    """Inside `accumulate_statistics` the running statistics take in all batches as one."""
    subject, layer = subject_of(layer_type), build(layer_type, case)
    batches = [case.x(seed=5), case.x(seed=6) * 3 + 1]
    before = snapshot(layer)
    with accumulate_statistics(layer):
        for x in batches:
            layer(x, **case.companions())
        assert_same(snapshot(layer), before)
    by_holder = {}
    for x in batches:
        for number, moments in _moments(subject, case, x):
            holder = id(subject.running(layer, number).mean)
            by_holder.setdefault(holder, []).append((number, moments))
    _check_running(subject, layer, case, list(by_holder.values()))


def recomputed(layer_type, case):
    """Run again in the backward pass, a forward gives the same gradients and moves nothing."""
    found = []
    for again in (False, True):
        layer, x = build(layer_type, case), case.x().requires_grad_()
        run = partial(layer, **case.companions())
        if again:  # reentrant, because the other kind stops as soon as it has what it needs
            run = partial(checkpoint, run, use_reentrant=True)
        run(x).square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
        found.append(snapshot(layer) | {f"d{k}": g for k, g in gradients.items() if g is not None})
        found[-1]["dx"] = x.grad
    assert_same(*found)


# ------------------------------------------------------------------------------------- state


def state_round_trip(layer_type, case, torch_type=None):
    """`state_dict` loads strictly, from and to torch's layer where there is one."""
    layer = build(layer_type, case)
    layer(case.x())
    again = layer_type(case.channels, **case.options())
    if torch_type is None:
        again.load_state_dict(layer.state_dict(), strict=True)
    else:
        theirs = torch_type(case.channels, **case.options())
        assert list(layer.state_dict()) == list(theirs.state_dict())
        theirs.load_state_dict(layer.state_dict(), strict=True)
        again.load_state_dict(theirs.state_dict(), strict=True)
    assert_same(again.state_dict(), layer.state_dict())


def copies(layer_type, case):
    """A deep copy and a saved and loaded layer do what the original does."""
    layer, x = build(layer_type, case), case.x()
    layer(x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), copy.deepcopy(layer)(x))
        assert other.state_dict().keys() == layer.state_dict().keys()
        assert repr(other) == repr(layer)


def sixteen_bits(layer_type, case):
    """Converted to 16 bits, the running statistics stay in 32, and small steps are not lost."""
    layer = build(layer_type, case)
    fresh = snapshot(layer)
    layer.bfloat16()
    for name, buffer in layer.named_buffers():
        wanted = torch.int64 if fresh[name].dtype == torch.int64 else torch.float32
        assert buffer.dtype in (wanted, torch.float64), name
    assert all(parameter.dtype == torch.bfloat16 for parameter in layer.parameters())
    y = layer(case.x().bfloat16())
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()


def meta_device(layer_type, case):
    """Made without memory, it can be given some and set to its start."""
    fresh = layer_type(case.channels, **case.options())
    layer = layer_type(case.channels, **{**case.options(), "device": "meta"})
    assert all(tensor.is_meta for tensor in (*layer.parameters(), *layer.buffers()))
    layer.to_empty(device=case.device)
    for each in sublayers(layer, "reset_parameters"):
        each.reset_parameters()
    own = {name for name in snapshot(fresh) if not name.startswith("given")}
    found, wanted = snapshot(layer), snapshot(fresh)
    assert_same({name: found[name] for name in own}, {name: wanted[name] for name in own})


COMPUTED = [output, gradients, evaluation, buffers]
LEFT_ALONE = [layout, input_untouched]
MODES = [frozen, adapting, micro_batches, recomputed, empty_batch]
STATE = [copies, sixteen_bits, meta_device, errors_change_nothing]

# What the plain layers' own tests run over all of their cases.
LAWS = COMPUTED + LEFT_ALONE
