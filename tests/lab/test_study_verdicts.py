"""What each study must find in records whose answer is known."""

from dataclasses import replace

import pytest

from batchnorm import lab
from batchnorm.lab.measurements._outside import POINTS
from support.lab import made_up
from support.lab.made_up import quick


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
        (2, 2, "contradicted"),
        (100, 100, "cannot be told"),  # how far beyond the grid, nobody knows
        (20, 20, "mixed"),  # it trains, and so does the plain network
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
        ({0.1}, {0.1}, "contradicted"),
        ({0.1, 1}, {0.1}, "contradicted"),
        (set(), set(), "contradicted"),
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
        (lambda _: True, "contradicted"),
        (lambda _: False, "contradicted"),
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
        (0.93, 90, "contradicted"),
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
    [(0.5, 0.97, "reproduced"), (0.5, 0.5, "mixed"), (0.97, 0.97, "contradicted")],
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
        (0.95, 0.96, "contradicted"),
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
    [(1e-15, "reproduced"), (1e-3, "contradicted"), (None, "contradicted")],
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
        ("stops", 0.1, 0.1, "contradicted"),
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
        (0.01, 0.01, 1.0, "contradicted"),
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
    [(2.0, 1.0, "reproduced"), (1.0, 2.0, "contradicted"), (1.0, 1.0, "contradicted")],
)
def test_landscape_asks_who_is_smoother(plain, normalized, expected):
    assert outcome("landscape", along("landscape", plain, normalized)) == expected


def test_a_loss_that_overflowed_is_the_rougher_one():
    assert outcome("landscape", along("landscape", None, 1.0)) == "reproduced"
    assert outcome("landscape", along("landscape", 1.0, None)) == "contradicted"


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
