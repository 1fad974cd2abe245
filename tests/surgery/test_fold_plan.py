"""The plan of a fold follows from facts alone: here they are written by hand, without a model."""

import pytest
import torch

from batchnorm._model._affine import Affine
from batchnorm._model._graph import Graph, Step
from batchnorm._model._linear import Weights
from batchnorm._model._replay import replay_of
from batchnorm.surgery._fold._facts import Facts, Map, Norm
from batchnorm.surgery._fold._plan import Fold, plan


def sequence(*names, op="module", functions=None):
    """Return the graph of steps that follow each other, between the model's input and output."""
    words = ["input", *names, "output"]
    calls = []
    for index, name in enumerate(words):
        is_end = index in (0, len(words) - 1)
        inputs = (index - 1,) if index else ()
        users = (index + 1,) if index < len(words) - 1 else ()
        function, x = (functions or {}).get(name), torch.zeros(2, 2)
        replay = function and replay_of(function, (x,), {}, {id(x): index - 1})
        module = "" if is_end or function or name == "relu" else name
        word = op if module else function.__name__ if function else name
        calls.append(Step(index, word, (word,), module, inputs, users, (2, 2), replay))
    return Graph(tuple(calls), frozenset())


def doubles(**options):
    affine = Affine(torch.full((2,), 2.0).double(), torch.full((2,), 1.0).double())
    return Norm(**{"affine": affine, **options})


def identity(**options):
    weights = Weights(torch.eye(2, dtype=torch.float64)[None, :, :, None], torch.zeros(2).double())
    return Map(**{"weights": weights, **options})


def facts(graph, norms, maps, **others):
    return Facts(graph, norms, maps, dict.fromkeys([*norms, *maps], (2, 2)), **others)


def test_a_layer_goes_into_the_linear_map_before_it():
    found = plan(facts(sequence("fc", "bn"), {"bn": doubles()}, {"fc": identity()}), ["bn"])
    assert found.folds == (Fold("bn", ("fc",), follows=True),)
    assert found.left == {}
    assert torch.equal(found.weights["fc"].weight[0, :, :, 0], 2 * torch.eye(2).double())
    assert torch.equal(found.weights["fc"].bias, torch.ones(2).double())


def test_a_layer_goes_into_the_linear_map_behind_it():
    found = plan(facts(sequence("bn", "fc"), {"bn": doubles()}, {"fc": identity()}), ["bn"])
    assert found.folds == (Fold("bn", ("fc",), follows=False),)
    assert torch.equal(found.weights["fc"].bias, torch.ones(2).double())


def test_a_layer_that_is_gone_brings_the_next_one_to_the_linear_map():
    graph = sequence("bn2", "bn1", "fc")
    norms = {"bn2": doubles(), "bn1": doubles()}
    found = plan(facts(graph, norms, {"fc": identity()}), ["bn2", "bn1"])
    assert [fold.norm for fold in found.folds] == ["bn1", "bn2"]
    assert torch.equal(found.weights["fc"].weight[0, :, :, 0], 4 * torch.eye(2).double())


NOT_FOLDED = [
    (doubles(obstacle="it has hooks"), identity(), {}, "it has hooks"),
    (doubles(), identity(obstacle="has hooks"), {}, "its input comes from fc, which has hooks"),
    (doubles(), identity(), {"onlookers": {"fc": "loss"}}, "but is watched by a hook of loss"),
    (doubles(), identity(features=0), {}, "are in another dimension than the layer's channels"),
    (
        Norm(affine=Affine(torch.full((2,), 1e39, dtype=torch.float64), torch.zeros(2).double())),
        identity(),
        {},
        "whose weights would not be finite in torch.float32",
    ),
]


@pytest.mark.parametrize(("norm", "linear", "others", "reason"), NOT_FOLDED)
def test_what_stays_is_told_why(norm, linear, others, reason):
    found = plan(facts(sequence("fc", "bn"), {"bn": norm}, {"fc": linear}, **others), ["bn"])
    assert found.folds == ()
    assert found.weights == {}
    assert reason in found.left["bn"]


@pytest.mark.parametrize(
    ("norm", "linear", "reason"),
    [
        (doubles(vanishes=False), identity(), "but through its own activation"),
        (doubles(), identity(mixes_borders=True), "pads with zeros that the layer does not shift"),
    ],
)
def test_what_cannot_go_forward(norm, linear, reason):
    found = plan(facts(sequence("bn", "fc"), {"bn": norm}, {"fc": linear}), ["bn"])
    assert reason in found.left["bn"]


def test_a_function_between_the_two_is_named():
    graph = sequence("fc", "relu", "bn")
    found = plan(facts(graph, {"bn": doubles()}, {"fc": identity()}), ["bn"])
    assert found.left["bn"] == "its input comes from relu, its output goes to the model's output"


@pytest.mark.parametrize("hooked", [None, "", "head"])
def test_neutral_steps_are_passed_unless_a_hook_may_see_them(hooked):
    graph = sequence(
        "fc", "swap", "swap back", "bn", functions=dict.fromkeys(("swap", "swap back"), torch.t)
    )
    found = plan(facts(graph, {"bn": doubles()}, {"fc": identity()}, hooked=hooked), ["bn"])
    assert len(found.folds) == (hooked is None)
    if hooked is not None:
        assert f"may be watched by a hook of {hooked or 'the model'}" in found.left["bn"]
