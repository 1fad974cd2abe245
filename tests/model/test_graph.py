"""The graph of a forward pass, whatever the forward is made of."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import batchnorm.nn as ours
from batchnorm._model._trace import trace
from batchnorm.errors import SurgeryError
from support.models.surgery import ByValue, Residual, snapshot

X = torch.zeros(2, 3, 4, 4)


class Net(nn.Module):
    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.does = forward

    def forward(self, *args, **kwargs):
        return self.does(self, *args, **kwargs)


def steps(model, inputs=X):
    """Return every step as "op module <- indices of its inputs"."""
    return [
        f"{call.op} {call.module} <- {' '.join(map(str, call.inputs))}".replace("  ", " ")
        for call in trace(model.eval(), inputs).calls
    ]


def test_modules_and_functions_in_place_and_not():
    assert steps(Residual(3)) == [
        "input <- ",
        "conv2d conv1 <- 0",
        "batch_norm bn1 <- 1",
        "relu <- 2",
        "conv2d conv2 <- 3",
        "batch_norm bn2 <- 4",
        "add <- 5 0",
        "relu <- 6",
        "output <- 7",
    ]


def test_users_follow_from_inputs():
    graph = trace(Residual(3).eval(), X)
    for call in graph.calls:
        assert all(call.index in graph.calls[user].inputs for user in call.users)
        assert all(call.index in graph.calls[source].users for source in call.inputs)
    (bn1,) = graph.calls_of("bn1")
    assert graph.only_input(bn1).module == "conv1"
    assert graph.only_user(bn1).op == "relu"
    assert graph.only_user(graph.calls[0]) is None, "conv1 and the addition take the input"
    assert graph.only_input(graph.calls[6]) is None
    assert bn1.shape == (2, 3, 4, 4)


def test_a_layer_of_ours_is_one_step_with_all_it_takes():
    model = Net(
        lambda m, x: m.norm(m.conv(x), x),
        conv=nn.Conv2d(3, 3, 1),
        norm=ours.BatchNorm2d(3, activation="relu"),
    )
    assert steps(model)[2:] == ["module norm <- 1 0", "output <- 2"]
    assert trace(model, X).calls[2].shape == (2, 3, 4, 4)


def test_modules_of_several_operations_are_one_step():
    model = Net(
        lambda m, x: m.fc(m.conv(x).mean((2, 3))),
        conv=nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        fc=parametrizations.weight_norm(nn.Linear(3, 2)),
    )
    assert steps(model)[1:4] == ["module conv <- 0", "mean <- 1", "module fc <- 2"]


def test_a_module_called_twice_has_two_steps_under_its_first_name():
    conv = nn.Conv2d(3, 3, 1)
    model = Net(lambda m, x: m.b[0](m.a(m.a(x))), a=conv, b=nn.Sequential(conv))
    graph = trace(model.eval(), X)
    assert [call.inputs for call in graph.calls_of("a")] == [(0,), (1,), (2,)]
    assert graph.calls_of("b.0") == ()


def test_a_block_called_twice():
    model = Net(lambda m, x: m.block(m.block(x)), block=Residual(3))
    graph = trace(model.eval(), X)
    assert len(graph.calls_of("block.conv1")) == 2
    assert graph.exposed == frozenset()


def test_what_reads_the_parameters_of_a_module_exposes_it():
    conv, tied = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    model = Net(
        lambda m, x: F.linear(m.tied(m.plain(m.conv(x))).sum((2, 3)), m.conv.weight[:, :, 0, 0]),
        conv=conv,
        plain=nn.Conv2d(3, 3, 1),
        tied=tied,
        same=nn.Conv2d(3, 3, 1),
    )
    assert trace(model.eval(), X).exposed == {"conv"}
    tied.weight = model.plain.weight
    assert trace(model.eval(), X).exposed == {"conv", "plain", "tied"}


def test_a_forward_called_past_its_module_is_a_function_that_exposes_it():
    model = Net(lambda m, x: m.conv.forward(x), conv=nn.Conv2d(3, 3, 1))
    graph = trace(model.eval(), X)
    assert [call.op for call in graph.calls] == ["input", "conv2d", "output"]
    assert graph.calls_of("conv") == ()
    assert graph.exposed == {"conv"}


def test_views_results_of_several_tensors_and_constants():
    model = Net(
        lambda m, x: torch.add(*m.flat(x).chunk(2, 1)) * torch.tensor(2.0), flat=nn.Flatten()
    )
    words = steps(model)
    assert words[:6] == [
        "input <- ",
        "flatten flat <- 0",
        "chunk <- 1",
        "getitem <- 2",
        "getitem <- 2",
        "add <- 3 4",
    ]
    assert words[-1].startswith("output <- ")


def test_a_result_of_which_only_the_shape_is_taken_is_not_used():
    model = Net(
        lambda m, x: m.norm((y := m.conv(x)).flatten(0, 1)[None]).reshape_as(y),
        conv=nn.Conv2d(3, 3, 1),
        norm=nn.BatchNorm2d(6),
    )
    graph = trace(model.eval(), X)
    assert graph.only_user(graph.calls_of("conv")[0]).op == "flatten"
    assert graph.calls[-2].op == "reshape_as"
    assert graph.only_input(graph.calls[-2]).module == "norm"


@pytest.mark.parametrize(
    "inputs", [X, (X,), {"x": X}, {"x": X, "scale": None, "mode": "up"}], ids=range(4)
)
def test_arguments_of_every_kind(inputs):
    def forward(m, x, scale=None, mode="up"):
        return {"y": m.act(x) if mode == "up" else x, "scale": scale, "list": [x.sum()]}

    assert steps(Net(forward, act=nn.ReLU()), inputs)[-3:-1] == ["relu act <- 0", "sum <- 0"]


def test_no_grad_inside_a_forward_hides_nothing():
    def forward(m, x):
        with torch.no_grad():
            return m.norm(m.conv(x))

    model = Net(forward, conv=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3))
    assert steps(model)[1:3] == ["conv2d conv <- 0", "batch_norm norm <- 1"]


def test_branches_on_shapes_and_types_are_followed_as_they_are():
    """`torch.fx` would take the other branch: what it traces is no tensor."""

    def forward(m, x):
        if isinstance(x, torch.Tensor) and x.shape[1] == 3:
            return m.norm(x)
        return x

    assert "batch_norm norm <- 0" in steps(Net(forward, norm=nn.BatchNorm2d(3)))


def test_the_mode_is_that_of_the_model():
    model = Net(lambda m, x: x.relu() if m.training else x.tanh())
    assert [call.op for call in trace(model.train(), X).calls][1] == "relu"
    assert [call.op for call in trace(model.eval(), X).calls][1] == "tanh"


def test_the_model_is_not_touched():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            self.kept = self.norm(x)
            return self.kept

    model = Keeping()
    before, random = snapshot(model), torch.get_rng_state()
    trace(model, X)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_what_depends_on_values_is_refused_in_one_line(capfd):
    with pytest.raises(SurgeryError, match="without values is needed, got GuardOn") as e:
        trace(ByValue().eval(), X)
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")


def test_the_model_itself_may_be_a_step():
    assert steps(nn.Linear(4, 2))[1:] == ["linear <- 0", "output <- 1"]
    assert steps(Net(lambda _, x: (x + 1).relu()))[1:] == ["module <- 0", "output <- 1"]


def test_what_writes_through_a_view_changes_what_it_is_a_view_of():
    def forward(m, x):
        y = m.conv(x)
        y[:, 0] = 1.0
        y.flatten(1).mul_(2)
        return m.norm(y)

    model = Net(forward, conv=nn.Conv2d(3, 3, 1), norm=nn.BatchNorm2d(3))
    assert steps(model)[1:] == [
        "conv2d conv <- 0",
        "setitem <- 1",
        "flatten <- 2",
        "mul <- 3",
        "batch_norm norm <- 4",
        "output <- 5",
    ]


def test_an_operation_behind_no_function_of_torch_is_a_step():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.mul(2)

    model = Net(lambda m, x: m.norm(Doubled.apply(m.conv(x))), conv=nn.Conv2d(3, 3, 1))
    model.norm = nn.BatchNorm2d(3)
    assert steps(model)[1:4] == ["conv2d conv <- 0", "mul <- 1", "batch_norm norm <- 2"]


def test_a_function_that_returns_its_input_is_a_step_of_its_own():
    model = Net(lambda m, x: m.drop(x) + x, drop=nn.Dropout())
    assert steps(model)[1:3] == ["dropout drop <- 0", "add <- 1 0"]


def test_a_layer_in_training_depends_on_its_input_alone():
    model = Net(lambda m, x: m.norm(m.norm(x)).relu(), norm=ours.BatchNorm2d(3)).train()
    first, second = trace(model, X).calls_of("norm")
    assert (first.inputs, second.inputs) == ((0,), (first.index,))
