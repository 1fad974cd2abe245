import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from batchnorm import lab
from batchnorm.errors import RunError
from batchnorm.lab import tasks
from batchnorm.lab.design import Job, _schedule
from batchnorm.lab.networks import deep_linear, mlp
from batchnorm.lab.probes import Moment, Nothing, UnitInput
from batchnorm.lab.records import TrialFiles
from batchnorm.lab.records._lines import read
from batchnorm.lab.running._training import FIELDS
from batchnorm.nn import BatchNorm1d
from support.lab import studies as lab_studies

STUDY, TASK = lab.get("convergence"), tasks.load("digits")
PLAN = lab.Plan(seeds=1, steps=60)
ALL = FIELDS + UnitInput.fields


def trial_of(arm, scale, rate, seed, **more):
    return lab.Trial(arm, {"scale": scale, "rate": rate}, seed, {"batch": 60, **more})


TRIAL = trial_of("sigmoid-bn", 0.3, 1.0, 0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder, trial=TRIAL, tell=lambda _: None, every=0.0, study=STUDY, task=TASK):
    schedule = study.work.schedule(PLAN, trial)
    job = Job(study.arm(trial.arm), schedule, trial, task, TrialFiles(folder, trial.id), every)
    return study.work.run(job, tell)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(tmp_path):
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole")
    return files(tmp_path / "whole")


@pytest.mark.parametrize("stop", [0, 20, 55])
def test_an_interrupted_trial_goes_on_from_its_checkpoint(tmp_path, stop):
    seen = []

    def interrupt(step):
        if step == stop:
            raise KeyboardInterrupt

    part = tmp_path / "part"
    part.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(part, tell=interrupt)
    train(part, tell=seen.append)
    assert files(part) == whole(tmp_path)
    assert seen[0] == stop  # from the last checkpoint, not from the start


def test_without_a_checkpoint_a_trial_starts_again(tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    with pytest.raises(ZeroDivisionError):
        train(part, tell=lambda step: 1 // (20 - step), every=1e9)
    with (part / f"{TRIAL.id}.jsonl").open("a") as file:
        file.write('{"step":25,"tra')
    train(part)
    assert files(part) == whole(tmp_path)


def test_a_damaged_checkpoint_is_told_and_done_again(tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    with pytest.raises(ZeroDivisionError):
        train(part, tell=lambda step: 1 // (20 - step))
    (part / f"{TRIAL.id}.checkpoint").write_bytes(b"rubbish")
    assert "checkpoint" in str(train(part))
    assert files(part) == whole(tmp_path)


def test_a_diverged_trial_is_recorded_and_ended(tmp_path):
    trial = trial_of("relu", 1.0, 1e6, 0)
    train(tmp_path, trial)
    history = read(tmp_path / f"{trial.id}.jsonl", "t", _schedule.evaluation_steps(60), ALL)
    assert history.end["end"] == "diverged"
    assert 0 < history.end["step"] <= 60
    assert len(history.evaluations) < len(_schedule.evaluation_steps(60))


def test_one_step_is_plain_gradient_descent(tmp_path):
    trial = trial_of("sigmoid", 0.3, 0.5, 7)
    generator = torch.Generator().manual_seed(7)
    model = STUDY.arm("sigmoid").network(TASK, {"scale": 0.3}, generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(5):
        chosen = _schedule.order(7, 0, len(TASK.train_x))[60 * step : 60 * step + 60]
        loss = torch.nn.functional.cross_entropy(model(TASK.train_x[chosen]), TASK.train_y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    train(tmp_path, trial)
    record = read(tmp_path / f"{trial.id}.jsonl", "t", _schedule.evaluation_steps(60), ALL)
    with torch.no_grad():
        logits = model(TASK.test_x)
    expected = torch.nn.functional.cross_entropy(logits, TASK.test_y).item()
    assert record.evaluations[1]["test_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_order_is_a_function_of_seed_and_epoch():
    first = _schedule.order(1, 2, 100)
    assert np.array_equal(first, _schedule.order(1, 2, 100))
    assert sorted(first) == list(range(100))
    for other in (
        _schedule.order(2, 2, 100),
        _schedule.order(1, 3, 100),
        _schedule.order(2, 1, 100),
    ):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("steps", [1, 4, 5, 99, 3000, 50_000])
def test_the_schedule_is_as_fine_as_it_says(steps):
    found = _schedule.evaluation_steps(steps)
    assert (found[0], found[-1]) == (0, steps)
    for before, after in pairwise(found):
        assert 0 < after - before <= max(5, before / 20)


def test_the_arms_share_their_weights_and_normalization_replaces_the_bias():
    plain, normalized = (
        mlp(
            TASK,
            {"scale": 0.3},
            torch.Generator().manual_seed(0),
            activation=torch.nn.ReLU,
            norm=norm,
        )
        for norm in (None, "batch")
    )
    ours, theirs = (
        [m for m in model if isinstance(m, torch.nn.Linear)] for model in (plain, normalized)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.weight, other.weight)
    assert [layer.bias is None for layer in theirs] == [True, True, True, False]
    assert sum(isinstance(m, BatchNorm1d) for m in normalized) == 3
    assert isinstance(normalized[1], BatchNorm1d)
    assert float(ours[1].weight.detach().std()) == pytest.approx(0.3, rel=0.05)


MOMENT = Moment(0, torch.nn.Identity(), TASK, TASK.train_x, TASK.train_y, {})


def test_the_probe_reports_known_percentiles_and_drift():
    probe = UnitInput()
    model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Sigmoid())
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([[1.0], [2.0]])
        model[0].bias[:] = 0
    x = torch.arange(101.0)[:, None]
    with probe.watching(model):
        model(x)
    assert probe.measure(MOMENT) == {"p15": 15.0, "p50": 50.0, "p85": 85.0, "drift": None}
    with torch.no_grad():
        model[0].bias += 35.0
    with probe.watching(model):
        model(x)
    # Unit 0 moved by half of its width of 70, unit 1 by a quarter of 140.
    assert probe.measure(MOMENT) == {"p15": 50.0, "p50": 85.0, "p85": 120.0, "drift": 0.375}
    assert not model[1]._forward_pre_hooks


def test_dead_units_have_no_drift():
    probe = UnitInput()
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
    for _ in range(2):
        with probe.watching(model):
            model(torch.zeros(5, 3))
        measured = probe.measure(MOMENT)
    assert measured["drift"] is None
    assert not math.isnan(measured["p50"])


def test_an_exploding_network_is_measured_without_a_warning():
    probe = UnitInput()
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
    for factor in (1.0, math.inf):
        with probe.watching(model):
            model(torch.tensor([[-1.0], [2.0], [3.0]]) * factor)
        measured = probe.measure(MOMENT)
    assert measured["p85"] is None


NOISE = lab_studies.NOISY.trials(lab_studies.NOISY.plan("digits", "quick"))[0]


def test_noise_and_momentum_go_on_from_a_checkpoint(tmp_path):
    """Dropout, noise, velocities and running statistics: nothing of them may be lost."""

    def interrupt(step):
        if step == 30:
            raise KeyboardInterrupt

    for name in ("part", "whole"):
        (tmp_path / name).mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "part", NOISE, interrupt, study=lab_studies.NOISY)
    seen = []
    train(tmp_path / "part", NOISE, seen.append, study=lab_studies.NOISY)
    train(tmp_path / "whole", NOISE, study=lab_studies.NOISY)
    assert seen[0] == 30
    assert files(tmp_path / "part") == files(tmp_path / "whole")


def test_the_callers_random_numbers_stay_as_they_were(tmp_path):
    before = torch.get_rng_state()
    train(tmp_path, NOISE, study=lab_studies.NOISY)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_setting_keeps_training_to_the_first_examples(tmp_path):
    few = replace(TASK, train_x=TASK.train_x[:200], train_y=TASK.train_y[:200])
    for name, task in (("all", TASK), ("few", few)):
        (tmp_path / name).mkdir()
        train(tmp_path / name, NOISE, study=lab_studies.NOISY, task=task)
    assert files(tmp_path / "all") == files(tmp_path / "few")


def test_values_are_predicted_and_have_no_accuracy(tmp_path):
    study = replace(
        lab_studies.NOISY, arms=(lab.Arm("chain", "chain", partial(deep_linear, norm="batch")),)
    )
    trial = lab.Trial("chain", {"rate": 0.01}, 0, {"batch": 50, "depth": 3})
    train(tmp_path, trial, study=study, task=tasks.load("linear-regression"))
    found = read(tmp_path / f"{trial.id}.jsonl", "t", _schedule.evaluation_steps(60), FIELDS)
    losses = [record["test_loss"] for record in found.evaluations]
    assert losses[-1] < 0.7 * losses[0]
    assert {record["test_accuracy"] for record in found.evaluations} == {None}


def test_a_test_set_is_evaluated_in_parts_to_the_same_result(tmp_path, monkeypatch):
    for name, size in (("parts", 100), ("whole", 1_000)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("batchnorm.lab.running._training._EVALUATED_AT_ONCE", size)
        train(tmp_path / name)
    records = [
        read(
            tmp_path / name / f"{TRIAL.id}.jsonl", "t", _schedule.evaluation_steps(60), ALL
        ).evaluations[-1]
        for name in ("parts", "whole")
    ]
    assert records[0] == pytest.approx(records[1], rel=1e-5)


def test_a_probe_sees_the_mini_batch_that_comes_next(tmp_path):
    seen = []

    class Spy(Nothing):
        def measure(self, moment):
            seen.append(
                (moment.step, moment.inputs, moment.settings["rate"], moment.model.training)
            )
            return {}

    study = replace(STUDY, work=lab.Training(Spy))
    train(tmp_path, study=study)
    chosen = _schedule.order(0, 0, len(TASK.train_x))[60 * 10 : 60 * 11]
    step, inputs, rate, training = seen[2]
    assert (step, rate, training) == (10, 1.0, False)
    assert torch.equal(inputs, TASK.train_x[chosen])


def test_an_arm_without_a_network_is_refused(tmp_path):
    study = replace(STUDY, arms=(lab.Arm("sigmoid-bn", "none"),))
    with pytest.raises(RunError, match="an arm with a network, sigmoid-bn has none"):
        train(tmp_path, study=study)


def test_the_percentiles_of_a_convolution_are_over_all_its_positions():
    probe, model = UnitInput(), torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
    image = torch.arange(101.0).repeat(2, 1).reshape(1, 2, 101, 1)
    with probe.watching(model):
        model(image)
    assert probe.measure(MOMENT)["p85"] == 85.0
