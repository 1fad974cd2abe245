"""Weights as trainers and wrappers leave them: the same numbers come back, or one true reason."""

import argparse
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from batchnorm.cli import _weights, run
from batchnorm.errors import DataError

NETWORK = """
from torch import nn


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 2, 1)))


def wrapped():
    return nn.DataParallel(network())
"""


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 2, 1)))


def compiled(model):
    return torch.compile(model, backend="eager")


def inside(model):
    model[2] = compiled(model[2])
    return model


class Trainer(nn.Module):
    """Holds a model under a name, as Lightning's modules do."""

    def __init__(self, model, name="model"):
        super().__init__()
        setattr(self, name, model)


WRAPPERS = {
    "plain": lambda m: m,
    "parallel": nn.DataParallel,
    "compiled": compiled,
    "averaged": AveragedModel,
    "compiled parallel": lambda m: compiled(nn.DataParallel(m)),
    "parallel compiled": lambda m: nn.DataParallel(compiled(m)),
    "averaged parallel": lambda m: AveragedModel(nn.DataParallel(m)),
    "parallel averaged": lambda m: nn.DataParallel(AveragedModel(m)),
    "compiled averaged": lambda m: compiled(AveragedModel(m)),
    "trainer": Trainer,
    "trainer with net": lambda m: Trainer(m, "net"),
    "trainer compiled": lambda m: Trainer(compiled(m)),
    "parallel trainer": lambda m: nn.DataParallel(Trainer(m, "backbone")),
    "part compiled": inside,
}
PLACES = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": torch.tensor(1.0)},
    "state_dict_ema": lambda state: {"state_dict_ema": state},
    "model_ema": lambda state: {
        "model_ema": state,
        "args": argparse.Namespace(lr=0.1, p=Path("a")),
    },
    "model.state_dict": lambda state: {"model": {"state_dict": state}, "best": np.float64(0.5)},
}


@pytest.fixture
def here(placed):
    return placed("wrapped_network", NETWORK)


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_weights_of_a_wrapped_model_are_those_of_the_model(here, name, suffix):
    wanted = {key: value.clone() for key, value in network().state_dict().items()}
    state = WRAPPERS[name](network()).state_dict()
    path = here / f"w{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(dict(state), path)
    model = network()
    nn.init.zeros_(model[0].weight)
    words = _weights.load(model, path)
    same(model.state_dict(), wanted)
    assert (words == "") == (name == "plain")
    assert words.count("\n") == 0


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["plain", "compiled averaged", "trainer"])
def test_weights_in_a_trainers_dictionary_are_found_and_named(here, place, name):
    wanted = {key: value.clone() for key, value in network().state_dict().items()}
    path = here / "w.ckpt"
    torch.save(PLACES[place](WRAPPERS[name](network()).state_dict()), path)
    model = network()
    nn.init.zeros_(model[0].weight)
    assert f"{place} of {path}" in _weights.load(model, path)
    same(model.state_dict(), wanted)


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"])
def test_numbers_of_either_numpy_are_let_through(here, core):
    torch.save({"model": network().state_dict(), "best": np.float64(0.5)}, here / "w.pt")
    with zipfile.ZipFile(here / "w.pt") as old, zipfile.ZipFile(here / "v.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"numpy._core.multi", core + b".multi"))
    assert _weights.load(network(), here / "v.pt").startswith("Weights: model of")


def test_trained_weights_come_before_averaged_ones(here):
    one, other = network().state_dict(), network().state_dict()
    other["0.weight"] = other["0.weight"] + 1
    torch.save({"state_dict_ema": other, "model_ema": other, "state_dict": one}, here / "w.pt")
    model = network()
    words = _weights.load(model, here / "w.pt")
    assert words.startswith("Weights: state_dict (not state_dict_ema, model_ema) of ")
    same(model.state_dict(), one)


def test_a_wrapped_model_takes_the_weights_of_one_that_is_not(here):
    torch.save(network().state_dict(), here / "w.pt")
    for wrap in (nn.DataParallel, compiled):
        model = network()
        nn.init.zeros_(model[0].weight)
        _weights.load(wrap(model), here / "w.pt")
        same(model.state_dict(), network().state_dict())


def test_the_versions_of_layers_go_along(here):
    state = nn.DataParallel(network()).state_dict()
    del state["module.1.num_batches_tracked"]  # a counter is younger than version 2
    state._metadata["module.1"]["version"] = 1
    torch.save(state, here / "old.pt")
    _weights.load(network(), here / "old.pt")
    state._metadata["module.1"]["version"] = 2
    torch.save(state, here / "new.pt")
    with pytest.raises(DataError, match=r"cannot be loaded into this model.*num_batches_tracked"):
        _weights.load(network(), here / "new.pt")


def test_a_lazy_model_takes_its_shapes_from_the_file(here):
    torch.save(nn.DataParallel(nn.Sequential(nn.Linear(3, 2))).state_dict(), here / "w.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lazy modules being new
        model = nn.Sequential(nn.LazyLinear(2))
    _weights.load(model, here / "w.pt")
    assert model[0].weight.shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: {f"x.{k}": v for k, v in s.items()} | {"y.z": s["0.bias"]},
            "none of whose names",
        ),
        (lambda s: dict(list(s.items())[:2]), "it lacks|only a part"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("1.")}, "batch normalization"),
        (lambda s: s | {"fc.weight": s["0.bias"], "fc.bias": s["0.bias"]}, "it holds more"),
        (lambda s: s | {"0.bias": torch.zeros(9)}, "whose sizes are others"),
        (lambda s: {**dict(list(s.items())[:3]), "fc.bias": s["0.bias"]}, "only some"),
    ],
)
def test_what_does_not_fit_has_three_names_of_each_kind_and_the_reason(here, change, words):
    torch.save(change(dict(network().state_dict())), here / "w.pt")
    with pytest.raises(DataError, match=words) as caught:
        _weights.load(network(), here / "w.pt")
    for kind in ("missing", "unexpected", "of another shape"):
        _, _, listed = str(caught.value).partition(f" {kind}: ")
        assert listed.partition(";")[0].count(",") <= 4


def test_the_counts_are_of_all_and_the_names_of_three(here):
    torch.save({f"layer{n}.weight": torch.zeros(1) for n in range(50)}, here / "w.pt")
    with pytest.raises(
        DataError, match=r"8 missing: 0\.weight, 0\.bias, 1\.weight, \.\.\.; 50 unexp"
    ):
        _weights.load(network(), here / "w.pt")


def test_two_names_that_would_become_one_stay_apart(here):
    state = network().state_dict()
    both = OrderedDict(state) | {"_orig_mod.0.bias": state["0.bias"] + 1}
    torch.save(both, here / "w.pt")
    with pytest.raises(DataError, match=r"1 unexpected: _orig_mod\.0\.bias"):
        _weights.load(network(), here / "w.pt")


def test_a_command_says_what_it_took_and_writes_the_models_own_names(here, capsys):
    torch.save({"model": AveragedModel(network()).state_dict()}, here / "w.pt")
    arguments = ["wrapped_network:network", "--weights", "w.pt", "-o", "out.safetensors"]
    assert run(["convert", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Weights: model of w.pt, without n_averaged and module.\n")
    same(load_file("out.safetensors"), dict(network().state_dict()))


@pytest.mark.parametrize("command", ["convert", "fold", "insert", "recalibrate"])
def test_a_pickled_model_is_one_plain_line_in_every_command(here, capsys, command):
    torch.save(network(), here / "whole.pt")
    more = ["--data", "x:y"] if command == "recalibrate" else ["--input", "1,3,8,8"]
    arguments = ["wrapped_network:network", "--weights", "whole.pt", "-o", "out.pt", *more]
    assert run([command, *arguments]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert "\x1b" not in found.err
    assert "weights_only" not in found.err
    assert "save model.state_dict()" in found.err


def test_weights_of_a_complex_model_load(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=torch.complex64), torch.nn.Linear(2, 2))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    other = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=torch.complex64), torch.nn.Linear(2, 2))
    assert _weights.load(other, tmp_path / "w.pt") == ""
    assert torch.equal(other[0].weight, model[0].weight)
    with pytest.raises(DataError, match=r"0\.weight, got torch.complex64: save the real part"):
        _weights.load(
            torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), tmp_path / "w.pt"
        )
