import json

import pytest

from batchnorm.errors import OptionError
from batchnorm.lab.design import Plan, Trial, scale

PLAN = Plan(
    seeds=2,
    grid={"scale": (0.1, 1), "rate": (0.3, 1.0, 10)},
    fixed={"batch": 60},
    steps=20,
    targets=(0.8, 0.9),
)


def test_a_plan_survives_json():
    assert Plan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN


def test_the_last_setting_changes_fastest():
    points = list(PLAN.points())
    assert len(points) == 6
    assert points[:2] == [{"scale": 0.1, "rate": 0.3}, {"scale": 0.1, "rate": 1.0}]
    assert list(Plan(seeds=1).points()) == [{}]


def test_a_trial_is_named_by_its_point_and_knows_its_settings():
    trial = Trial("bn", {"scale": 0.1, "rate": 10.0}, 3, {"batch": 60, "rate": 5.0})
    assert trial.id == "bn_scale0.1_rate10_seed3"
    assert (trial["rate"], trial["batch"]) == (10.0, 60)
    assert trial.settings == {"scale": 0.1, "rate": 10.0, "batch": 60}


@pytest.mark.parametrize(("batch", "steps"), [(2, 50), (30, 3), (1000, 1)])
def test_examples_become_steps_by_the_mini_batch(batch, steps):
    assert Plan(seeds=1, examples=100).steps_of(Trial("a", {"batch": batch}, 0)) == steps


def test_a_scale_is_asked_for_once():
    assert [scale(None), scale(None, quick=True), scale("paper"), scale("quick", quick=True)] == [
        "default", "quick", "paper", "quick",
    ]  # fmt: skip
    with pytest.raises(OptionError, match="--scale needs one of quick, default, paper, got 'big'"):
        scale("big")
    with pytest.raises(OptionError, match="--quick and --scale paper ask for two scales"):
        scale("paper", quick=True)


def test_settings_take_other_values():
    plan = Plan(2, {"rate": (0.1, 1.0)}, {"batch": 60.0}, steps=5)
    changed = plan.changed({"rate": (0.3,), "batch": (30.0,)})
    assert (changed.grid, changed.fixed) == ({"rate": (0.3,)}, {"batch": 30.0})
    assert plan.grid == {"rate": (0.1, 1.0)}, "a plan is shared and stays"
    assert plan.changed({}) == plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decay": (1.0,)}, "--set needs a setting out of rate, batch, got 'decay'"),
        ({"batch": (1.0, 2.0)}, "one value of batch, which is not swept, got 2"),
        ({"rate": (1.0, 1.0)}, r"values of rate that differ, got \(1.0, 1.0\)"),
    ],
)
def test_settings_that_are_none_are_refused(changes, words):
    plan = Plan(2, {"rate": (0.1, 1.0)}, {"batch": 60.0})
    with pytest.raises(OptionError, match=words):
        plan.changed(changes)
