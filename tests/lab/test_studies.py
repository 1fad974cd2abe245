"""The laws that every study keeps."""

import json
import pickle
import random
import re
from pathlib import Path

import pytest

from batchnorm import lab
from batchnorm.errors import RunError
from batchnorm.lab import tasks
from batchnorm.lab.design import CLAIMS
from batchnorm.lab.judging._figures import Table
from batchnorm.lab.report._forest import forest
from batchnorm.lab.report._study_page import render
from batchnorm.lab.report._thumbnails import thumbnail
from support.lab import made_up
from support.lab.drawings import parsed
from support.lab.made_up import quick

STUDIES = lab.STUDIES.values()
TRAINED = [study for study in STUDIES if isinstance(study.work, lab.Training)]
MEASURED = [study for study in STUDIES if isinstance(study.work, lab.Measuring)]
OUTCOMES = {"reproduced", "contradicted", "mixed", "cannot be told"}


def named(studies):
    return pytest.mark.parametrize("study", studies, ids=lambda study: study.name)


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
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_comes_out_is_told(study, seed):
    check(study, some_results(study, seed))


@named(TRAINED)
def test_a_run_that_is_not_finished_is_told(study):
    whole = some_results(study, 3)
    last = quick(study).seeds - 1
    lost = made_up.without(whole, lambda t: t.seed == last and t.arm == study.arms[0].name)
    check(study, lost)


@pytest.mark.parametrize(
    "study",
    [MEASURED[0], *(pytest.param(study, marks=pytest.mark.slow) for study in MEASURED[1:])],
    ids=lambda study: study.name,
)
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


def test_the_documentation_names_every_study_with_its_claims():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "run-a-study.md").read_text()
    for study in STUDIES:
        assert f"| `{study.name}` | {', '.join(study.claims)} |" in page
