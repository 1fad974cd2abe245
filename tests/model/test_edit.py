"""Every change of a model can be undone, bit for bit, and is when anything raises."""

import pytest
import torch
from torch import nn

from batchnorm._model._edit import Edit, edit
from batchnorm.errors import SurgeryError
from support.models.surgery import UNet, settle, snapshot


def everything(model, changes):
    """Make one change of every kind, some twice."""
    for _ in range(2):
        changes.copy_(model.up.weight, torch.full_like(model.up.weight, torch.nan))
        changes.copy_(model.up_norm.running_var, torch.zeros(8))
        changes.set_parameter(model.classify, "bias", None)
        changes.set_parameter(model.up_norm, "weight", nn.Parameter(torch.zeros(8)))
        changes.set_buffer(model.up_norm, "num_batches_tracked", torch.tensor(7))
        changes.set_attribute(model.up_norm, "eps", 7.0)
        changes.set_attribute(model.up_norm, "extra", 7.0)
    changes.replace(model.down[1], nn.Identity())
    changes.replace(model.up_norm, nn.Identity())


def changed_until(model, change, error):
    """Make the change, then raise."""
    with edit(model) as changes:
        change(model, changes)
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_everything_is_undone_by_any_exception(error):
    model = settle(UNet())
    before, during = snapshot(model), []

    def change(model, changes):
        everything(model, changes)
        during.append(snapshot(model))

    with pytest.raises(error):
        changed_until(model, change, error)
    assert during != [before]
    assert snapshot(model) == before


def test_without_an_exception_it_stays():
    model = settle(UNet())
    with edit(model) as changes:
        everything(model, changes)
    assert type(model.up_norm) is type(model.down[1]) is nn.Identity
    assert model.classify.bias is None
    assert model.up.weight.isnan().all()


def test_undone_from_the_last_to_the_first_and_past_an_undoing_that_raises():
    seen = []

    def change(_, changes):
        changes.on_undo(lambda: seen.append("first"))
        changes.on_undo(lambda: 1 // 0)
        changes.on_undo(lambda: seen.append("last"))

    with pytest.raises(ZeroDivisionError):
        changed_until(nn.Linear(2, 2), change, RuntimeError)
    assert seen == ["last", "first"]


def test_a_shared_module_is_replaced_under_all_its_names():
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Sequential(shared), nn.Sequential())
    model[2].add_module("a", shared)
    model[2].add_module("b", shared)
    new = nn.Identity()
    assert Edit(model).replace(shared, new) == ["0", "1.0", "2.a", "2.b"]
    assert all(module is new for module in (model[0], model[1][0], model[2].a, model[2].b))


def test_order_of_the_parts_is_kept():
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ReLU())
    changes = Edit(model)
    changes.replace(model[1], nn.Identity())
    assert [type(m) for m in model] == [nn.ReLU, nn.Identity, nn.ReLU]
    changes.undo()
    assert [type(m) for m in model] == [nn.ReLU, nn.Tanh, nn.ReLU]


def test_a_tensor_stays_the_same_object_with_its_gradient_and_dtype():
    layer = nn.Linear(2, 2).half()
    weight, stride = layer.weight, layer.weight.stride()
    Edit(layer).copy_(weight, torch.ones(2, 2, dtype=torch.float64))
    assert layer.weight is weight
    assert (weight.dtype, weight.requires_grad, weight.stride()) == (torch.float16, True, stride)


def test_the_model_itself_and_a_stranger_are_refused():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(SurgeryError, match=r"got the model itself \(Sequential\), which cannot"):
        Edit(model).replace(model, nn.ReLU())
    with pytest.raises(SurgeryError, match="got a Tanh outside it: take it from"):
        Edit(model).replace(nn.Tanh(), nn.ReLU())
