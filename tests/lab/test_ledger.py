"""All studies in one folder: what runs, what is refused, and what is read back."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from batchnorm import lab
from batchnorm.errors import DataError, OptionError, RunError
from batchnorm.lab import ledger
from batchnorm.lab.ledger import Ledger, Part
from support.lab import made_up
from support.lab.ledgers import FEW

ASKED = {"scale": "quick", "task": None, "seeds": 1, "steps": 5, "device": "cpu"}


def quiet(*_):
    pass


def part(name, accuracy=0.99):
    study = lab.get(name)
    plan = study.plan(study.tasks[0], "quick")
    fields = {k: 0.5 for k in study.work.fields if k not in {"step", "test_accuracy"}}
    results = made_up.trained(study, plan, lambda _: (50, accuracy), fields)
    return Part(study, results, study.findings(results))


def made(tmp_path, *parts):
    return Ledger(tmp_path, "batchnorm study run all", ASKED, parts)


def trials(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.glob("*/trials/*"))
        if path.is_file()
    }


def test_all_is_no_name_of_a_study():
    assert ledger.ALL not in lab.STUDIES


def test_every_claim_that_a_study_judges_comes_by_its_number(tmp_path):
    found = made(tmp_path, part("noisy"), part("convergence"), part("saturating"))
    names = [(one.verdict.claim, one.study.name) for one in found.judgements]
    assert names == [
        ("C1", "convergence"),
        ("C3", "saturating"),
        ("C4", "convergence"),
        ("C10", "noisy"),
    ]
    assert sum(found.count(outcome) for outcome in ledger.OUTCOMES) == 4
    outcomes = [one.verdict.outcome for one in found.judgements]
    assert all(found.count(outcome) == outcomes.count(outcome) for outcome in ledger.OUTCOMES)


def test_what_is_missing_is_told(tmp_path):
    half = part("noisy")
    lost = made_up.without(half.results, lambda t: t.seed == 4)
    found = made(tmp_path, replace(half, results=lost), Part(lab.get("norms"), reason="Not yet."))
    assert [p.study.name for p in found.missing] == ["norms"]
    assert [p.study.name for p in found.partial] == ["noisy"]
    assert found.partial[0].gaps == f"{len(lost.unfinished)} trials have not ended."
    assert {one.study.name for one in found.judgements} == {"noisy"}


def by_name(tmp_path, **more):
    options = lab.Options(**{"out": tmp_path, "scale": "quick", **more})
    return {s.name: o for s, o in ledger.plan(options, lab.STUDIES.values())}


def test_each_study_runs_on_the_task_asked_for_or_on_its_first(tmp_path):
    assert {name: one.task for name, one in by_name(tmp_path).items()} == {
        name: study.tasks[0] for name, study in lab.STUDIES.items()
    }
    found = by_name(tmp_path, task="mnist", data_dir=tmp_path, seeds=2)
    for name, one in found.items():
        has_plan = ("mnist", "quick") in lab.get(name).plans
        assert one.task == ("mnist" if has_plan else lab.get(name).tasks[0])
        assert one.data_dir == (tmp_path if has_plan else None)
        assert one.out == tmp_path / name
        assert one.seeds == 2
    assert found["deep-chain"].task == "drawn"


def test_steps_are_for_the_studies_that_take_some(tmp_path):
    found = by_name(tmp_path, steps=7)
    assert found["convergence"].steps == 7
    assert found["batch-size"].steps is found["deep-chain"].steps is None


def test_a_study_without_a_plan_of_the_scale_is_left_out_and_told(tmp_path):
    whole = {name for name, s in lab.STUDIES.items() if any(kind == "paper" for _, kind in s.plans)}
    assert "noisy" not in whole
    assert by_name(tmp_path, scale="paper").keys() == whole
    folder = tmp_path / "paper"
    found = ledger.claim(folder, "c", {**ASKED, "scale": "paper"})
    reasons = {p.study.name: p.reason for p in found.missing}
    assert reasons["convergence"] == "It has not started."
    assert reasons["noisy"] == "It has no plan of the scale paper."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "cifar"}, "need a task out of digits, .* got 'cifar'"),
        ({"task": "digits", "scale": "paper"}, "at the scale paper need a task out of"),
        ({"seeds": 0}, "--seeds needs a number of at least 1"),
        ({"steps": 0}, "--steps needs a number of at least 1"),
        ({"jobs": 0}, "--jobs needs a number of at least 1"),
        ({"device": "abacus"}, "--device needs a device"),
        ({"data_dir": "/none"}, "--data-dir needs a --task"),
        ({"changes": {"rate": (1.0,)}}, "all studies take no --set, --model or --data"),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_made(tmp_path, options, words):
    out = tmp_path / "all"
    with pytest.raises(OptionError, match=words):
        next(ledger.run(lab.Options(**{"out": out, "scale": "quick", **options}), quiet))
    assert not out.exists()


def test_missing_data_are_told_before_anything_is_made(tmp_path):
    out = tmp_path / "all"
    options = lab.Options(out, scale="quick", task="mnist", data_dir=tmp_path)
    with pytest.raises(DataError):
        next(ledger.run(options, quiet))
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path, ledger_options):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(RunError, match="exists and is not a folder of all studies"):
        next(ledger.run(ledger_options(tmp_path), quiet))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match=r"needed a ledger.json in it, found none"):
        ledger.load(tmp_path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"format": 9}', '{"format": 1, "asked": {}, "command": 3}']
)
def test_a_damaged_description_is_told(tmp_path, content):
    (tmp_path / "ledger.json").write_text(content)
    with pytest.raises(RunError, match=r"ledger\.json is"):
        ledger.load(tmp_path)


@pytest.mark.usefixtures("few")
def test_other_settings_are_named(small_ledger, ledger_options):
    before = trials(small_ledger)
    with pytest.raises(RunError, match="all studies with seeds = 1, this command has seeds = 2"):
        next(ledger.run(ledger_options(small_ledger, seeds=2), quiet))
    assert trials(small_ledger) == before


@pytest.mark.usefixtures("few")
@pytest.mark.slow
def test_two_workers_record_what_one_process_does(tmp_path, small_ledger, ledger_options):
    ended = list(ledger.run(ledger_options(tmp_path / "two", jobs=2), quiet))
    assert [one.part.study.name for one in ended] == list(FEW)
    assert trials(tmp_path / "two") == trials(small_ledger)


@pytest.mark.usefixtures("few")
def test_an_interrupted_ledger_goes_on_to_the_same_bytes(tmp_path, small_ledger, ledger_options):
    out = tmp_path / "all"
    running = ledger.run(ledger_options(out), quiet)
    first = next(running)
    assert [p.study.name for p in first.ledger.missing] == list(FEW[1:])
    running.close()
    records = trials(out)
    victim = out / min(records)
    victim.unlink()
    told = []
    ended = list(ledger.run(ledger_options(out), lambda *step: told.append(step)))
    assert trials(out) == trials(small_ledger)
    assert not ended[-1].ledger.missing
    assert all(a[0] <= b[0] for a, b in pairwise(told))
    assert told[-1][0] == told[-1][1] == sum(len(one.part.results.trials) for one in ended)
    assert [*dict.fromkeys(title for *_, title in told)] == [lab.get(name).title for name in FEW]


@pytest.mark.usefixtures("few")
def test_a_finished_ledger_is_left_alone(small_ledger, ledger_options):
    before = trials(small_ledger)
    ended = list(ledger.run(ledger_options(small_ledger), quiet))
    assert trials(small_ledger) == before
    assert len(ended) == len(FEW)


@pytest.mark.usefixtures("few")
def test_a_ledger_read_back_is_what_the_run_saw(small_ledger, ledger_options):
    *_, last = ledger.run(ledger_options(small_ledger), quiet)
    found = ledger.load(small_ledger)
    told = [(j.verdict, j.study.name) for j in found.judgements]
    assert told == [(j.verdict, j.study.name) for j in last.ledger.judgements]
    assert "--seeds 1 --steps 5" in found.command
    assert json.loads((small_ledger / "ledger.json").read_text())["asked"] == ASKED


@pytest.mark.usefixtures("few")
def test_a_run_knows_its_neighbours(small_ledger, small_run):
    assert ledger.neighbours(small_run) is None
    found = ledger.neighbours(small_ledger / "scale-invariance")
    names = list(lab.STUDIES)
    at = names.index("scale-invariance")
    assert (found.previous.name, found.next.name) == (names[at - 1], names[at + 1])
    assert ledger.neighbours(small_ledger / names[0]).previous is None
    assert ledger.neighbours(small_ledger / names[-1]).next is None
