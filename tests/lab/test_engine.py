import json
import multiprocessing
import shutil
from itertools import pairwise

import pytest

from batchnorm import lab
from batchnorm.errors import OptionError, RunError
from batchnorm.lab.records._lines import decode, encode
from support.lab import studies as lab_studies
from support.lab.runs import STEPS, TRIALS

STUDY = lab.get("convergence")


def silent(_):
    pass


def test_two_workers_record_what_one_process_does_and_tell_how_far_they_are(
    tmp_path, small_run, small_options, records
):
    told = []
    outcome = lab.run(STUDY, small_options(tmp_path / "two", jobs=2), told.append)
    assert outcome.done == TRIALS
    assert records(tmp_path / "two") == records(small_run)
    assert not multiprocessing.active_children()
    assert (told[0].done, told[0].trials_done) == (0, 0)
    assert told[-1].done == told[-1].total == TRIALS * STEPS
    assert told[-1].trials_done == told[-1].trials == TRIALS
    assert all(a.done <= b.done for a, b in pairwise(told))


def test_a_finished_run_is_left_alone(small_run, small_options, records):
    before = records(small_run)
    assert lab.run(STUDY, small_options(small_run), silent).done == 0
    assert records(small_run) == before


def test_what_was_being_written_when_a_run_was_killed_is_removed(
    tmp_path, small_run, small_options, records
):
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    (out / "trials" / ".some.safetensors.6qljbdj1").write_bytes(b"half")
    lab.run(STUDY, small_options(out), silent)
    assert records(out) == records(small_run)


def test_a_different_configuration_is_named(small_run, small_options):
    with pytest.raises(RunError, match=r"steps = 20, this command has steps = 30"):
        lab.run(STUDY, lab.Options(small_run, scale="quick", seeds=1, steps=30, jobs=1), silent)


def test_a_folder_of_something_else_is_left_alone(tmp_path, small_options):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(RunError, match="is not a run folder"):
        lab.run(STUDY, small_options(tmp_path), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["seeds", "steps", "jobs"])
def test_a_count_below_one_is_refused(tmp_path, name):
    with pytest.raises(OptionError, match=f"--{name} needs a number of at least 1, got 0"):
        lab.run(STUDY, lab.Options(tmp_path / "new", **{name: 0}), silent)
    assert not (tmp_path / "new").exists()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OptionError, match="--device needs a device"):
        lab.run(STUDY, lab.Options(tmp_path / "new", device="nonsense"), silent)
    assert not (tmp_path / "new").exists()


def test_damage_is_told_by_file_and_line_and_done_again(
    tmp_path, small_run, small_options, records
):
    out = tmp_path / "run"
    lab.run(STUDY, small_options(out), silent)
    victims = sorted((out / "trials").glob("*.jsonl"))[:2]
    lines = victims[0].read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"1", b"2", 1)
    victims[0].write_bytes(b"\n".join(lines))
    victims[1].with_suffix(".safetensors").unlink()
    found = lab.load(out)
    assert [(d.file, d.line) for d in found.damage] == [
        (f"trials/{victims[0].name}", 2),
        (f"trials/{victims[1].stem}.safetensors", None),
    ]
    assert len(found.trials) == TRIALS - 1  # the record of the second is whole
    outcome = lab.run(STUDY, small_options(out), silent)
    assert outcome.done == 2
    assert outcome.redone == found.damage
    assert records(out) == records(small_run)


def test_the_records_hold_no_clock(small_run):
    config = json.loads((small_run / "config.json").read_text())
    assert config["steps"] == 20
    assert "jobs" not in config
    timings = (small_run / "timings.jsonl").read_text().splitlines()
    assert len(timings) == TRIALS


def test_an_old_folder_is_refused_with_what_to_do(tmp_path, small_options):
    (tmp_path / "config.json").write_text('{"study": "convergence", "quick": true}')
    for use in (
        lambda: lab.run(STUDY, small_options(tmp_path), silent),
        lambda: lab.load(tmp_path),
    ):
        with pytest.raises(
            RunError, match=r"in format 1, this version of batchnorm reads format 2"
        ):
            use()


@pytest.mark.slow
def test_noise_is_the_same_for_two_workers_and_one(tmp_path, records):
    for jobs in (1, 2):
        options = lab.Options(tmp_path / f"{jobs}", scale="quick", jobs=jobs)
        lab.run(lab_studies.NOISY, options, silent)
    assert records(tmp_path / "1") == records(tmp_path / "2")


def test_everything_that_decides_the_records_is_in_the_configuration(small_run):
    config = json.loads((small_run / "config.json").read_text())
    assert config["format"] == 2
    assert config["scale"] == "quick"
    assert config["grid"] == {"scale": [0.1, 0.3, 1.0], "rate": [0.1, 0.3, 1.0, 3.0, 10.0]}
    assert config["fixed"] == {"batch": 60}


def test_a_value_of_another_kind_is_done_again(small_run, small_options, records, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    victim = min((out / "trials").glob("*.jsonl"))
    first, *rest = victim.read_text().splitlines(keepends=True)
    victim.write_text(encode(decode(first.rstrip()) | {"test_loss": ["x"]}) + "".join(rest))
    outcome = lab.run(STUDY, small_options(out), silent)
    assert [str(found) for found in outcome.redone] == [
        f"trials/{victim.name}, line 1: test_loss is a list of a text, elsewhere a number"
    ]
    assert records(out) == records(small_run)
