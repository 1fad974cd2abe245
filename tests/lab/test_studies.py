"""The laws that every study keeps, and the verdict of each on records whose answer is known."""

import json
import pickle
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

import made_up
from batchnorm import lab
from batchnorm.errors import RunError
from batchnorm.lab import tasks
from batchnorm.lab.claims import CLAIMS
from batchnorm.lab.findings import Table
from batchnorm.lab.measurements.outside import POINTS
from batchnorm.lab.report.build import render
from batchnorm.lab.report.forest import forest
from batchnorm.lab.report.thumbnails import thumbnail
from drawings import parsed

STUDIES = lab.STUDIES.values()
TRAINED = [study for study in STUDIES if isinstance(study.work, lab.Training)]
MEASURED = [study for study in STUDIES if isinstance(study.work, lab.Measuring)]
OUTCOMES = {"reproduced", "not reproduced", "mixed", "not determined"}


def named(studies):
    return pytest.mark.parametrize("study", studies, ids=lambda study: study.name)


def quick(study):
    return study.plan(study.tasks[0], "quick")


@named(STUDIES)
def test_a_study_is_whole(study):
    assert lab.get(study.name) is study
    assert set(study.claims) <= set(CLAIMS)
    assert study.title.endswith("?")
    assert len({arm.name for arm in study.arms}) == len(study.arms)
    assert all(re.fullmatch("[a-z0-9-]+", arm.name) for arm in study.arms)
    assert quick(study).seeds >= 5
    for (task, _), plan in study.plans.items():
        assert task in {*tasks.TASKS, tasks.OWN}
        assert tuple(plan.grid) == tuple(study.axes)
        ids = [trial.id for trial in study.trials(plan)]
        assert len(set(ids)) == len(ids)
        assert lab.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert pickle.loads(pickle.dumps(study)).name == study.name  # noqa: S301  (our own)


def some_results(study, seed):
    """A made-up run in which anything can be: trials that reach their targets or none."""
    draw = random.Random(seed)  # noqa: S311
    fields = {
        name: [0.5, 0.7] if name in {"distances", "cosines"} else 0.5 for name in study.work.fields
    }
    return made_up.trained(
        study,
        quick(study),
        lambda _: (draw.choice([0, 50, 200, 10_000]), draw.random()),
        fields={k: v for k, v in fields.items() if k not in {"step", "test_accuracy"}},
    )


def check_drawings(study, findings):
    arms = [arm.name for arm in study.arms]
    for verdict in findings.verdicts:
        assert not isinstance(findings.figures[verdict.figure], Table)
        for effect in verdict.effects:
            known = effect.estimate is not None and effect.estimate.determined
            assert bool(forest(effect)) == known
            assert not known or parsed(forest(effect))
    for figure in findings.figures:
        assert isinstance(figure, Table) or len([*parsed(thumbnail(figure, arms))]) > 2


def check(study, results):
    findings = study.findings(results)
    assert {verdict.claim for verdict in findings.verdicts} == set(study.claims)
    assert all(verdict.outcome in OUTCOMES for verdict in findings.verdicts)
    assert all(verdict.rule and verdict.effects for verdict in findings.verdicts)
    check_drawings(study, findings)
    assert findings.headline
    assert "nan" not in " ".join((findings.headline, *findings.summary, *findings.notes))
    page = render(results)
    assert study.title in page
    return findings


@named(TRAINED)
@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_out_is_told(study, seed):
    check(study, some_results(study, seed))


@named(TRAINED)
def test_a_run_that_is_not_finished_is_told(study):
    whole = some_results(study, 3)
    last = quick(study).seeds - 1
    lost = made_up.without(whole, lambda t: t.seed == last and t.arm == study.arms[0].name)
    check(study, lost)


@named(MEASURED)
def test_a_real_run_of_two_seeds_is_told(study, tmp_path):
    options = lab.Options(tmp_path / "run", scale="quick", seeds=2, jobs=1)
    lab.run(study, options, lambda _: None)
    whole = lab.load(tmp_path / "run")
    findings = check(study, whole)
    assert findings.verdicts[0].outcome == "reproduced"
    check_begun(whole)


@named(TRAINED)
def test_a_run_that_has_just_begun_is_told_or_says_what_it_lacks(study):
    check_begun(some_results(study, 4))


def check_begun(whole):
    ids = [result.trial.id for result in whole.trials]
    for count in (1, 3, 12):
        begun = made_up.without(whole, lambda t: t.id not in ids[:count])  # noqa: B023  (used now)
        said = ""
        try:
            render(begun)
        except RunError as error:
            said = str(error)
        assert not said or "has no whole trial" in said


def outcome(study, results):
    (verdict,) = lab.get(study).findings(results).verdicts
    return verdict.outcome


def trained(study, end, *, at=50, **changes):
    found = lab.get(study)
    plan = replace(quick(found), **changes)
    return made_up.trained(found, plan, lambda trial: (at, end(trial)))


@pytest.mark.parametrize(
    ("plain", "normalized", "expected"),
    [
        (2, 100, "reproduced"),
        (2, 10, "mixed"),
        (2, 2, "not reproduced"),
        (100, 100, "not reproduced"),
        (0, 30, "reproduced"),
    ],
)
def test_learning_rate_asks_which_multiples_train(plain, normalized, expected):
    highest = {"plain": plain, "bn": normalized}

    def end(trial):
        return 0.95 if trial["rate"] <= 1.001 * highest[trial.arm] * trial["base"] else 0.1

    results = trained("learning-rate", end)
    assert outcome("learning-rate", results) == expected
    if plain:
        words = lab.get("learning-rate").findings(results).headline
        assert f"{normalized / plain:.3g}x" in words


@pytest.mark.parametrize(
    ("plain", "normalized", "expected"),
    [
        ({0.1}, {0.001, 0.01, 0.1, 1, 10}, "reproduced"),
        ({0.1}, {0.1}, "not reproduced"),
        ({0.1, 1}, {0.1}, "not reproduced"),
        (set(), set(), "not reproduced"),
    ],
)
def test_initialization_asks_how_many_scales_train(plain, normalized, expected):
    def end(trial):
        return 0.95 if trial["scale"] in (normalized if "bn" in trial.arm else plain) else 0.3

    assert outcome("initialization", trained("initialization", end)) == expected


def test_initialization_is_mixed_when_one_nonlinearity_gains():
    results = trained("initialization", lambda trial: 0.95 if trial.arm == "relu-bn" else 0.3)
    assert outcome("initialization", results) == "mixed"


@pytest.mark.parametrize(
    ("trains", "expected"),
    [
        (lambda t: "bn" in t.arm, "reproduced"),
        (lambda t: "bn" in t.arm or t["scale"] == 1.0, "mixed"),
        (lambda t: t.arm == "mlp-bn", "mixed"),
        (lambda _: True, "not reproduced"),
        (lambda _: False, "not reproduced"),
    ],
)
def test_saturating_asks_whether_the_plain_network_trains_at_all(trains, expected):
    results = trained("saturating", lambda trial: 0.8 if trains(trial) else 0.1)
    assert outcome("saturating", results) == expected


@pytest.mark.parametrize(
    ("noisy", "steps", "expected"),
    [
        (0.97, 20, "reproduced"),
        (0.965, 20, "reproduced"),  # half a point less than the quiet network
        (0.93, 20, "mixed"),
        (0.97, 90, "mixed"),
        (0.93, 90, "not reproduced"),
    ],
)
def test_noisy_asks_for_speed_and_accuracy(noisy, steps, expected):
    study = lab.get("noisy")
    ends = {"plain": (60, 0.96), "bn": (20, 0.97), "noisy": (steps, noisy)}
    results = made_up.trained(
        study, replace(quick(study), targets=(0.8, 0.9)), lambda t: ends[t.arm]
    )
    assert outcome("noisy", results) == expected


@pytest.mark.parametrize(
    ("linf", "expected"),
    [((20, 0.97), "reproduced"), ((20, 0.92), "mixed"), ((90, 0.97), "mixed")],
)
def test_norms_asks_it_of_every_norm(linf, expected):
    study = lab.get("norms")
    ends = {arm.name: (20, 0.97) for arm in study.arms} | {"plain": (60, 0.96), "linf": linf}
    results = made_up.trained(study, replace(quick(study), targets=(0.9,)), lambda t: ends[t.arm])
    assert outcome("norms", results) == expected


@pytest.mark.parametrize(
    ("bn", "group", "expected"),
    [(0.5, 0.97, "reproduced"), (0.5, 0.5, "mixed"), (0.97, 0.97, "not reproduced")],
)
def test_batch_size_asks_about_the_smallest_batch(bn, group, expected):
    def end(trial):
        small = {"bn": bn, "group": group}.get(trial.arm, 0.9)
        return small if trial["batch"] == 2 else 0.97

    assert outcome("batch-size", trained("batch-size", end, at=0)) == expected


@pytest.mark.parametrize(
    ("normalized", "dropped", "expected"),
    [
        (0.97, 0.96, "reproduced"),
        (0.97, 0.98, "mixed"),
        (0.95, 0.94, "mixed"),
        (0.95, 0.96, "not reproduced"),
    ],
)
def test_regularization_asks_about_dropout(normalized, dropped, expected):
    def end(trial):
        if trial.arm == "plain":
            return 0.96
        return dropped if trial["dropout"] == 0.4 else normalized

    assert outcome("regularization", trained("regularization", end)) == expected


@pytest.mark.parametrize(
    ("deviation", "expected"),
    [(1e-15, "reproduced"), (1e-3, "not reproduced"), (None, "not reproduced")],
)
def test_scale_invariance_is_a_matter_of_rounding(deviation, expected):
    study = lab.get("scale-invariance")
    record = dict.fromkeys(study.work.keys, deviation)
    results = made_up.measured(study, quick(study), lambda _: record)
    assert outcome("scale-invariance", results) == expected


def test_one_identity_that_fails_makes_it_mixed():
    study = lab.get("scale-invariance")
    record = dict.fromkeys(study.work.keys, 1e-15) | {"weight_gradient": 0.5}
    results = made_up.measured(study, quick(study), lambda _: record)
    assert outcome("scale-invariance", results) == "mixed"


@pytest.mark.parametrize(
    ("bias", "loss", "inside", "expected"),
    [
        ("grows", 0.0, 0.0, "reproduced"),
        ("stops", 0.0, 0.0, "mixed"),
        ("grows", 0.1, 0.0, "mixed"),
        ("stops", 0.1, 0.1, "not reproduced"),
    ],
)
def test_outside_gradient_asks_for_growth_without_effect(bias, loss, inside, expected):
    study, plan = lab.get("outside-gradient"), quick(lab.get("outside-gradient"))
    paths = {
        "grows": [0.1 * n for n in range(POINTS + 1)],
        "stops": [0.1 * min(n, 2) for n in range(POINTS + 1)],
    }

    def record(trial):
        outside = trial.arm == "outside"
        losses = [2.0 - (loss * n if outside else 0.0) for n in range(POINTS + 1)]
        return {"bias": paths[bias] if outside else [inside] * (POINTS + 1), "loss": losses}

    assert outcome("outside-gradient", made_up.measured(study, plan, record)) == expected


@pytest.mark.parametrize(
    ("terms", "error", "spread", "expected"),
    [
        (100.0, 10.0, 1e6, "reproduced"),
        (None, None, 1e6, "reproduced"),  # what overflowed is larger than any number
        (0.01, 10.0, 1e6, "mixed"),
        (0.01, 0.01, 1.0, "not reproduced"),
    ],
)
def test_deep_chain_asks_what_normalization_tames(terms, error, spread, expected):
    study, plan = lab.get("deep-chain"), quick(lab.get("deep-chain"))

    def record(trial):
        plain, orders = trial.arm == "plain", int(trial["depth"])
        return {
            "error": error if plain else 0.5,
            "safe_rate": spread if plain and trial["gain"] == 0.8 else 1.0,
            "terms": [1.0, *[terms] * (orders - 1)] if plain else None,
        }

    assert outcome("deep-chain", made_up.measured(study, plan, record)) == expected


def along(study, plain, normalized, other=None):
    """A run of ``landscape`` or ``covariate-shift`` in which each arm measures the same always."""
    found, plan = lab.get(study), quick(lab.get(study))

    def number(trial):
        if trial["rate"] != 0.1 and other is not None:
            return other
        return plain if trial.arm == "plain" else normalized

    def evaluations(trial):
        numbers = {
            name: [number(trial)] * 2 if name.endswith("es") else number(trial)
            for name in found.work.fields[4:]
        }
        return tuple(
            {"step": step, "test_loss": 1.0, "test_accuracy": 0.9, **numbers}
            for step in found.work.schedule(plan, trial)
        )

    return made_up.run(found, plan, evaluations)


@pytest.mark.parametrize(
    ("plain", "normalized", "expected"),
    [(2.0, 1.0, "reproduced"), (1.0, 2.0, "not reproduced"), (1.0, 1.0, "not reproduced")],
)
def test_landscape_asks_who_is_smoother(plain, normalized, expected):
    assert outcome("landscape", along("landscape", plain, normalized)) == expected


def test_a_loss_that_overflowed_is_the_rougher_one():
    assert outcome("landscape", along("landscape", None, 1.0)) == "reproduced"
    assert outcome("landscape", along("landscape", 1.0, None)) == "not reproduced"


@pytest.mark.parametrize(
    ("plain", "normalized", "expected"),
    [
        (0.5, 0.5, "reproduced"),  # nothing is reduced
        (0.5, 0.3, "mixed"),  # the distance is smaller, the cosine is no larger
        (0.3, 0.5, "mixed"),
        (0.5, 0.46, "reproduced"),  # within the tenth that counts as the same
    ],
)
def test_covariate_shift_asks_whether_it_is_reduced(plain, normalized, expected):
    assert outcome("covariate-shift", along("covariate-shift", plain, normalized)) == expected


@pytest.mark.parametrize("study", ["landscape", "covariate-shift"])
def test_the_rate_that_the_paper_states_decides(study):
    results = along(study, 1.0, 1.0, other=7.0)
    rules = lab.get(study).findings(results).verdicts[0].rule
    assert "Rate 0.1" in rules
    assert "Rate 0.03" not in rules


@pytest.mark.parametrize("study", ["landscape", "covariate-shift"])
def test_a_network_that_hardly_trains_is_named(study):
    found = lab.get(study)
    results = made_up.trained(
        found,
        quick(found),
        lambda trial: (50, 0.15 if trial.arm == "plain" else 0.9),
        fields={n: [0.5] if n.endswith("es") else 0.5 for n in found.work.fields[4:]}
        | {"test_loss": 1.0},
    )
    notes = found.findings(results).notes
    assert sum("it hardly trains" in note for note in notes) == len(results.plan.grid["rate"])
    assert all("without BN" in note for note in notes if "hardly trains" in note)


def test_the_documentation_names_every_study_with_its_claims():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "run-a-study.md").read_text()
    for study in STUDIES:
        assert f"| `{study.name}` | {', '.join(study.claims)} |" in page
