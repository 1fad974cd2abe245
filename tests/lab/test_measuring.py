import json
from dataclasses import replace

import pytest
import torch

from batchnorm import lab
from batchnorm.errors import OptionError, RunError
from support.lab.studies import forgetful, measured

STUDY = measured()
TRIALS = 2 * 3 * 2


def run(out, study=STUDY, **options):
    return lab.run(study, lab.Options(out, scale="quick", **{"jobs": 1, **options}), lambda _: None)


def loaded(out):
    return lab.load(out, lambda _: STUDY)


def test_each_trial_is_one_record_and_no_weights(tmp_path, records):
    assert run(tmp_path / "run").done == TRIALS
    assert len(records(tmp_path / "run")) == TRIALS
    results = loaded(tmp_path / "run")
    first = results.of("one", {"y": 0.5})[1]
    generator = torch.Generator().manual_seed(1)
    assert first["double"] == 6.0
    assert first.listed("drawn").tolist() == torch.rand(2, generator=generator).tolist()
    assert str(first["endless"]) == "nan"  # JSON has no word for infinity: it is recorded as null
    assert results.of("two", {"y": 0.5})[0]["double"] == 14.0  # an arm's own setting


@pytest.mark.slow
def test_two_workers_record_what_one_process_does(tmp_path, records):
    run(tmp_path / "one")
    run(tmp_path / "two", jobs=2)
    assert records(tmp_path / "one") == records(tmp_path / "two")


def test_torn_and_damaged_records_are_done_again_to_the_same_bytes(tmp_path, records):
    out = tmp_path / "run"
    run(out)
    whole = records(out)
    torn, damaged, gone = sorted((out / "trials").iterdir())[:3]
    torn.write_bytes(torn.read_bytes()[:-5])
    damaged.write_bytes(damaged.read_bytes().replace(b"6", b"8", 1))
    gone.unlink()
    results = loaded(out)
    assert [d.file for d in results.damage] == [f"trials/{damaged.name}"]
    assert len(results.unfinished) == 2
    outcome = run(out)
    assert outcome.done == 3
    assert outcome.redone == results.damage
    assert records(out) == whole


def test_a_record_without_what_the_study_names_is_refused(tmp_path):
    with pytest.raises(RunError, match="needed a record of double, drawn, endless, examples"):
        run(tmp_path / "run", measured(forgetful))


def test_the_first_task_is_the_default_and_others_can_be_chosen(tmp_path):
    run(tmp_path / "run", task="digits")
    assert loaded(tmp_path / "run").trials[0]["examples"] == 1347
    run(tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    assert config["task"] == "drawn"
    assert config["description"] == (
        "Random numbers: no data set is read; each instance is drawn from its seed"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 5}, "--steps needs a study whose trials take a number of steps, measured"),
        ({"task": "mnist"}, "needs a task out of drawn, digits, got 'mnist'"),
        ({"scale": "paper"}, "on drawn needs a scale out of quick, got 'paper'"),
    ],
)
def test_what_a_study_has_not_is_refused(tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        lab.run(STUDY, replace(lab.Options(tmp_path / "r", scale="quick"), **options), print)
    assert not (tmp_path / "r").exists()
