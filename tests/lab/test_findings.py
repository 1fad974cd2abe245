"""The verdict rules and choices, on made-up trials whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from batchnorm import lab
from batchnorm.lab.design import _schedule
from batchnorm.lab.judging import comparison, summaries, wording
from batchnorm.lab.judging._results import Results, TrialResult
from batchnorm.lab.studies._convergence_verdicts import (
    fewer_steps,
    stable_distribution,
    trained_shares,
)

STUDY = lab.get("convergence")
PLAN = lab.Plan(
    seeds=5,
    grid={"scale": (0.1,), "rate": (1.0, 3.0)},
    fixed={"batch": 60},
    steps=100,
    targets=(0.5, 0.6, 0.7),
)


def made(reach, drift=None, plan=PLAN, late=None):
    """Trials at 0.9 accuracy from ``reach[arm]`` steps on, and at 0.99 from ``late[arm]``."""
    trials = []
    for trial in STUDY.trials(plan):
        at = reach.get((trial.arm, trial["rate"]), reach.get(trial.arm, math.inf))
        after = (late or {}).get(trial.arm, math.inf)
        evaluations = tuple(
            {
                "step": step,
                "test_accuracy": 0.99 if step >= after else 0.9 if step >= at else 0.1,
                "drift": None if step == 0 else (drift or {}).get(trial.arm, 1.0),
                **dict.fromkeys(("p15", "p50", "p85"), 0.0),
            }
            for step in _schedule.evaluation_steps(plan.steps)
        )
        trials.append(TrialResult(trial, evaluations, None, 0.1))
    config = {"task": "digits", "scale": "quick", "device": "cpu", "description": "made up"}
    return Results(STUDY, plan, config, {}, tuple(trials), (), (), 1.0)


EVEN = {"sigmoid": 40, "sigmoid-bn": 40, "relu": 40, "relu-bn": 40}


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [(20, "reproduced"), (40, "contradicted"), (80, "contradicted")],
)
def test_fewer_steps_follows_the_ratio(steps, outcome):
    verdict = fewer_steps(made(EVEN | {"sigmoid-bn": steps}))
    assert verdict.outcome == outcome
    assert f"{40 / steps:.3g}x" in verdict.effect[1]


@pytest.mark.parametrize(
    ("late", "outcome"),
    [
        ({"sigmoid": 60, "sigmoid-bn": 60}, "mixed"),
        ({"sigmoid": 60, "sigmoid-bn": 50}, "reproduced"),
        ({}, "reproduced"),  # a target that neither reached says nothing
    ],
)
def test_fewer_steps_weighs_every_target_that_was_reached(late, outcome):
    plan = replace(PLAN, targets=(0.5, 0.6, 0.95))
    verdict = fewer_steps(made(EVEN | {"sigmoid-bn": 20}, plan=plan, late=late))
    assert verdict.outcome == outcome
    assert ("not determined" in verdict.effect[3]) == (not late)


@pytest.mark.parametrize(("steps", "fewer", "more"), [(20, 2, 0), (40, 0, 0), (80, 0, 2)])
def test_fewer_steps_counts_the_equal_settings(steps, fewer, more):
    wording = fewer_steps(made(EVEN | {"sigmoid-bn": steps})).remarks[0]
    assert f"clearly fewer steps in {fewer} of 2 settings" in wording
    assert f"clearly more in {more}." in wording


def test_fewer_steps_cannot_be_told_when_nothing_was_reached():
    assert fewer_steps(made({})).outcome == "cannot be told"


@pytest.mark.parametrize(
    ("reach", "plain"),
    [
        (EVEN, "100%"),
        (EVEN | {"sigmoid": math.inf}, "0%"),
        (EVEN | {("sigmoid", 3.0): math.inf}, "50%"),
    ],
)
def test_the_settings_in_which_sigmoids_train_are_told_and_judge_nothing(reach, plain):
    results = made(reach)
    words = trained_shares(results)
    assert f"100% with batch normalization, {plain} without" in words
    found = STUDY.findings(results)
    assert words in found.summary
    assert [verdict.claim for verdict in found.verdicts] == ["C1", "C4"]


@pytest.mark.parametrize(
    ("last", "trains"),
    [
        ((0.1, 0.1, 0.1, 0.1, 0.95), False),  # a lucky end
        ((0.95, 0.95, 0.95, 0.95, 0.3), True),  # an unlucky one
        ((0.8, 0.8, 0.8, 0.8, 0.8), True),
        ((0.79, 0.8, 0.8, 0.8, 0.8), False),
    ],
)
def test_a_trial_trains_by_the_mean_of_its_last_evaluations(last, trains):
    before = (0.99,) * 4  # what was once reached and lost does not count
    entries = tuple({"test_accuracy": accuracy} for accuracy in (*before, *last))
    trial = made(EVEN).trials[0]
    assert summaries.reaches(0.8)(replace(trial, evaluations=entries)) == trains
    assert not summaries.reaches(0.8)(replace(trial, evaluations=entries, diverged_at=7))
    few = entries[:3]
    assert summaries.reaches(0.98)(replace(trial, evaluations=few))


def test_every_claim_is_judged_once():
    claims = [claim for study in lab.STUDIES.values() for claim in study.claims]
    assert len(claims) == len(set(claims))


@pytest.mark.parametrize(
    ("drift", "outcome"), [(0.5, "reproduced"), (1.0, "contradicted"), (2.0, "contradicted")]
)
def test_stability_follows_the_drift(drift, outcome):
    verdict = stable_distribution(made(EVEN, {"sigmoid-bn": drift}))
    assert verdict.outcome == outcome
    assert f"{1 / drift:.3g}x" in verdict.effect[1]


def test_the_best_setting_is_the_fastest_and_then_the_most_accurate():
    results = made(EVEN | {("sigmoid", 3.0): 30})
    rank = comparison.fewest_steps(0.6)
    assert comparison.best(results, "sigmoid", rank).at["rate"] == 3.0
    never = made({})
    better = tuple(
        replace(t, evaluations=(*t.evaluations[:-1], {**t.evaluations[-1], "test_accuracy": 0.3}))
        if t.trial["rate"] == 3.0
        else t
        for t in never.trials
    )
    assert comparison.best(replace(never, trials=better), "sigmoid", rank).at["rate"] == 3.0
    assert comparison.edges(results, comparison.best(results, "sigmoid", rank)) == (
        "largest learning rate",
    )


def test_a_setting_is_picked_on_the_other_seeds_and_read_on_the_one_left_out():
    ends = {1.0: (0.9, 0.8, 0.2, 0.3, 0.5), 3.0: (0.1, 0.7, 0.9, 0.6, 0.4)}
    results = made(EVEN)
    trials = tuple(
        replace(t, evaluations=({**t.evaluations[-1], "test_accuracy": ends[rate][t.trial.seed]},))
        for t in results.trials
        for rate in [t.trial["rate"]]
    )
    results = replace(results, trials=trials)

    def median_without(rate, seed):
        return np.median([end for other, end in enumerate(ends[rate]) if other != seed])

    found = comparison.picked_elsewhere(results, "sigmoid", comparison.most_accurate)
    expected = [
        ends[max(ends, key=lambda rate: median_without(rate, seed))][seed] for seed in range(5)
    ]
    assert [trial.final_accuracy for trial in found.trials] == expected
    whole = comparison.best(results, "sigmoid", comparison.most_accurate)
    assert found.at == whole.at
    assert np.mean(expected) < np.mean([trial.final_accuracy for trial in whole.trials])


def test_picking_flatters_no_arm_that_has_more_settings():
    """All settings are alike: an arm that may pick is no better than one that may not."""
    rng, gains = np.random.default_rng(0), {"best": [], "picked_elsewhere": []}
    base = made({}, plan=replace(PLAN, grid={"scale": (0.1,), "rate": (1.0, 2.0, 3.0, 4.0)}))
    for _ in range(60):
        trials = tuple(
            replace(t, evaluations=({"step": 9, "test_accuracy": rng.normal(0.5, 0.1)},))
            for t in base.trials
        )
        results = replace(base, trials=trials)
        for name, gain in gains.items():
            pick = getattr(comparison, name)
            free = pick(results, "sigmoid", comparison.most_accurate)
            bound = pick(results, "sigmoid-bn", comparison.most_accurate, {"rate": 1.0})
            gain.append(comparison.accuracy_difference(free, bound).value)
    assert np.mean(gains["best"]) > 0.02
    assert abs(np.mean(gains["picked_elsewhere"])) < 0.02


def test_one_seed_has_no_others_to_pick_on():
    results = made(EVEN, plan=replace(PLAN, seeds=1))
    rank = comparison.most_accurate
    found = comparison.picked_elsewhere(results, "sigmoid", rank)
    assert found == comparison.best(results, "sigmoid", rank)


def test_the_headline_says_which_way_and_how_much():
    fewer = STUDY.findings(made(EVEN | {"sigmoid-bn": 20})).headline
    assert "reached 60% accuracy in fewer steps: 20 instead of 40" in fewer
    assert "2x" in fewer
    assert (
        "in more steps: 80 instead of 40"
        in STUDY.findings(made(EVEN | {"sigmoid-bn": 80})).headline
    )
    assert "no clear difference" in STUDY.findings(made(EVEN)).headline


def test_a_run_in_which_nothing_was_reached_still_has_findings():
    findings = STUDY.findings(made({}))
    assert "Neither sigmoid network reached 60% accuracy" in findings.headline
    assert {v.claim: v.outcome for v in findings.verdicts}["C1"] == "cannot be told"


def test_a_missing_seed_leaves_the_pairs_of_the_others():
    results = made(EVEN | {"sigmoid-bn": 20})
    kept = tuple(t for t in results.trials if (t.trial.arm, t.trial.seed) != ("sigmoid", 0))
    verdict = fewer_steps(replace(results, trials=kept))
    assert verdict.outcome == "reproduced"


def test_what_was_not_picked_has_no_edge_and_a_note_stands_once():
    results = made(EVEN)
    best = [comparison.best(results, "sigmoid", comparison.most_accurate)] * 3
    assert comparison.edges(results, best[0], given=("rate", "scale")) == ()
    notes = wording.notes(results, best)
    assert sum("lies on the edge" in note for note in notes) == 1
    assert not any("edge" in note for note in wording.notes(results, best, given=("rate", "scale")))
