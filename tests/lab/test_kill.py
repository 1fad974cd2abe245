"""The real command, killed without warning in the middle."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from batchnorm.lab import ledger
from support.lab.ledgers import keep
from support.lab.runs import STEPS, TRIALS
from support.processes.interruptible import COMMAND, command_of

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see processes")
STUDY = (*COMMAND, "study", "run", "convergence", "--quick")
SMALL = ("--seeds", "1", "--steps", str(STEPS), "--jobs", "2")


TWO = ("convergence", "scale-invariance")
ALL = (*command_of(*TWO), "study", "run", "all", "--quick", "--seeds", "1", "--steps", "30")


def start(out, command=(*STUDY, *SMALL)):
    return subprocess.Popen(
        [*command, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def ended(out):
    return len(list((out / "trials").glob("*.safetensors")))


def test_a_killed_run_goes_on_to_the_same_bytes_and_leaves_no_worker(tmp_path, small_run, records):
    out = tmp_path / "killed"
    process = start(out)
    wait_for(lambda: ended(out) >= 10)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(running(worker) for worker in workers), 10)
    assert 10 <= ended(out) < TRIALS, "it was to be killed in the middle"
    again = start(out)
    assert again.wait(120) == 0, again.stderr.read()
    again.communicate()
    assert records(out) == records(small_run)
    assert ended(out) == TRIALS


@pytest.mark.slow
def test_a_killed_run_of_all_studies_goes_on_to_the_same_bytes(
    tmp_path, records, ledger_options, monkeypatch
):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(out, (*ALL, "--jobs", "2"))
    wait_for(lambda: ended(out / "convergence") >= 5)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(running(worker) for worker in workers), 10)
    assert 5 <= ended(out / "convergence") < TRIALS, "it was to be killed in the middle"
    assert not (out / "scale-invariance").exists()
    again = start(out, (*ALL, "--jobs", "2"))
    assert again.wait(120) == 0, again.stderr.read()
    again.communicate()
    keep(monkeypatch, TWO)
    assert len(list(ledger.run(ledger_options(whole, steps=30), lambda *_: None))) == 2
    for study in TWO:
        assert records(out / study) == records(whole / study)
    assert (out / "index.html").is_file()


def test_an_interrupted_run_says_so_in_one_line(tmp_path):
    out = tmp_path / "run"
    process = start(out)
    wait_for(lambda: ended(out) >= 3)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: the workers get it too
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode().strip().splitlines()[-1].startswith("batchnorm: interrupted; give the")
    assert "Traceback" not in errors.decode()
    wait_for(lambda: not any(running(worker) for worker in workers), 10)
