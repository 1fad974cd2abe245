"""A user's own model and data, with and without its batch normalization."""

import copy
import sys

import pytest
import torch
from torch import nn

from batchnorm import lab
from batchnorm.errors import DataError, OptionError, RunError
from batchnorm.lab import tasks
from batchnorm.lab.networks import without_normalization
from batchnorm.lab.networks._without import Affine

SMALL = {"scale": "quick", "seeds": 2, "steps": 30, "changes": {"rate": (0.1,), "batch": (20.0,)}}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user's in the present folder, which workers find, too."""
    (tmp_path / "mine.py").write_text(
        """
import torch
from torch import nn

X = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.randn(5, 3, generator=torch.Generator().manual_seed(1))).argmax(1)
SHARED = nn.BatchNorm1d(8)

def normalized():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

def plain():
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))

def bare():
    return nn.Linear(5, 3)

def wrong():
    return nn.Sequential(nn.Linear(7, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

MODEL = normalized()

def batches():
    return zip(X.split(30), Y.split(30))

def values():
    return [(X, X[:, :2] * 2.0)]

def shuffled():
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(X, Y), batch_size=50, shuffle=True
    )

def different():
    import os
    return [(X + os.getpid(), Y)]

def few(): return [(X[:5], Y[:5])]
def single(): return [X]
def ragged(): return [(X, Y), (X[:, :3], Y)]
def negative(): return [(X, Y - 1)]
def broken(): raise ValueError("no disk")
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield lambda model, data="batches": lab.UserModel(f"mine:{model}", f"mine:{data}")
    sys.modules.pop("mine", None)


def arms(own_, study="landscape", seed=0):
    task = own_.task()
    adapted = own_.adapt(lab.get(study))
    return [
        arm.network(task, {}, torch.Generator().manual_seed(seed)).eval() for arm in adapted.arms
    ]


def test_every_fifth_example_is_for_testing(own):
    task = own("plain").task()
    inputs = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(task.test_x, inputs[4::5])
    assert len(task.train_x) == 160
    assert (task.outputs, task.chance, task.name) == (3, 1 / 3, "own")
    assert "200 examples" in task.describe()


def test_values_are_predicted_with_the_squared_error(own):
    task = own("plain", "values").task()
    assert (task.outputs, task.chance) == (2, None)


def test_no_more_than_so_many_examples_are_kept(own, monkeypatch):
    monkeypatch.setattr("batchnorm.lab.networks._user_model.MOST", 70)
    task = own("plain").task()
    assert len(task.train_x) + len(task.test_x) == 70


def test_a_model_with_batch_normalization_loses_it_in_one_arm(own):
    plain, normalized = arms(own("normalized"))
    assert [type(m) for m in plain] == [nn.Linear, Affine, nn.ReLU, nn.Linear]
    assert isinstance(normalized[1], nn.BatchNorm1d)
    for (_, ours), (_, theirs) in zip(
        plain.named_parameters(), normalized.named_parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_a_model_without_it_gets_it_in_one_arm(own):
    plain, normalized = arms(own("plain"))
    assert [type(m) for m in plain] == [nn.Linear, nn.ReLU, nn.Linear]
    assert any(isinstance(m, nn.BatchNorm1d) for m in normalized.modules())
    assert torch.equal(plain[0].weight, normalized[0].linear.weight)


def test_a_seed_decides_the_weights_and_no_generator_moves(own):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (arms(own("plain"), seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_taken_as_it_is_and_stays_so(own):
    plain, normalized = arms(own("MODEL"))
    import mine  # type: ignore[import-not-found]

    assert plain[0] is not mine.MODEL[0]
    assert isinstance(mine.MODEL[1], nn.BatchNorm1d)
    assert torch.equal(normalized[0].weight, mine.MODEL[0].weight)


def test_what_is_left_of_a_layer_is_its_weight_and_bias():
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    model = nn.ModuleDict({"one": norm, "other": norm, "bare": nn.BatchNorm1d(2, affine=False)})
    kept = copy.deepcopy(norm)
    assert without_normalization(model) == 2
    assert model["one"] is model["other"]
    x = torch.randn(2, 3, 4, 4)
    expected = x * kept.weight.view(3, 1, 1) + kept.bias.view(3, 1, 1)
    assert torch.equal(model["one"](x), expected)
    assert torch.equal(model["bare"](x[:, :2, 0, 0]), x[:, :2, 0, 0])


@pytest.mark.parametrize(
    "study", ["landscape", pytest.param("covariate-shift", marks=pytest.mark.slow)]
)
def test_a_study_of_an_own_model_is_run_and_told(own, tmp_path, records, study):
    for name, jobs in (("one", 1), ("two", 2)):
        options = lab.Options(tmp_path / name, own=own("normalized"), jobs=jobs, **SMALL)
        lab.run(lab.get(study), options, lambda _: None)
    assert records(tmp_path / "one") == records(tmp_path / "two")
    results = lab.load(tmp_path / "one")
    findings = results.study.findings(results)
    assert "mine:normalized" in str(findings.settings)
    assert findings.verdicts[0].effects[0].estimate.determined
    again = lab.Options(tmp_path / "one", own=own("normalized"), jobs=1, **SMALL)
    assert lab.run(lab.get(study), again, lambda _: None).done == 0


def test_a_folder_of_one_model_is_not_resumed_with_another(own, tmp_path):
    options = lab.Options(tmp_path / "run", own=own("normalized"), jobs=1, **SMALL)
    lab.run(lab.get("landscape"), options, lambda _: None)
    other = lab.Options(tmp_path / "run", own=own("plain"), jobs=1, **SMALL)
    with pytest.raises(RunError, match=r"holds a run with own = .*mine:normalized"):
        lab.run(lab.get("landscape"), other, lambda _: None)


def test_a_loader_that_shuffles_by_torchs_generator_is_the_same_everywhere(own):
    first, second = (own("plain", "shuffled").task().digest() for _ in range(2))
    assert first == second


def test_data_that_differ_from_process_to_process_are_refused(own, tmp_path):
    options = lab.Options(tmp_path / "run", own=own("normalized", "different"), jobs=2, **SMALL)
    with pytest.raises(DataError, match="mine:different needs to give the same data in every"):
        lab.run(lab.get("landscape"), options, lambda _: None)


@pytest.mark.parametrize(
    ("model", "data", "error", "words"),
    [
        ("plain", "few", DataError, "at least 20 examples, got 5 from mine:few"),
        ("plain", "single", DataError, "pairs of inputs and targets, .* got a Tensor"),
        ("plain", "ragged", DataError, "examples of one shape"),
        ("plain", "negative", DataError, "classes from 0, got -1"),
        ("plain", "broken", RunError, r"mine:broken raised ValueError \(no disk\)"),
        ("plain", "absent", OptionError, "--data needs a name in mine"),
        ("absent", "batches", OptionError, "--model needs a name in mine"),
        ("bare", "batches", OptionError, "mine:bare has neither: put it in by hand"),
        ("wrong", "batches", RunError, "mine:wrong raised RuntimeError"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_written(
    own, tmp_path, model, data, error, words
):
    options = lab.Options(tmp_path / "run", own=own(model, data), jobs=1, **SMALL)
    with pytest.raises(error, match=words):
        lab.run(lab.get("landscape"), options, lambda _: None)
    assert not (tmp_path / "run").exists()


def test_a_study_of_its_own_networks_takes_no_model(own, tmp_path):
    options = lab.Options(tmp_path / "run", own=own("plain"), jobs=1)
    with pytest.raises(OptionError, match="noisy compares networks of its own: run landscape"):
        lab.run(lab.get("noisy"), options, lambda _: None)


def test_an_own_model_and_a_task_exclude_each_other(own, tmp_path):
    options = lab.Options(tmp_path / "run", own=own("plain"), task="digits", jobs=1)
    with pytest.raises(OptionError, match="take the place of --task and --data-dir"):
        lab.run(lab.get("landscape"), options, lambda _: None)


def test_the_task_own_needs_names():
    with pytest.raises(OptionError, match="the task own needs --model and --data"):
        tasks.load("own")
