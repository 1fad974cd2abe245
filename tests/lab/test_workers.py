import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchnorm.errors import RunError
from batchnorm.lab.running import _workers
from support.processes.workers import dying, failing, naming, squares


def test_an_error_of_a_job_is_raised_here():
    with pytest.raises(OverflowError, match="job 0"):
        list(_workers.run(failing, [0], 1))


def test_a_killed_worker_is_told_with_what_to_do():
    with pytest.raises(RunError, match=r"ended with code 9 .*same command again"):
        list(_workers.run(dying, ["x"], 1))


def test_a_pool_serves_one_run_after_another_with_the_same_processes():
    with _workers.Pool() as pool:
        seen = [{e for e in pool.run(naming, range(4), 2) if isinstance(e, int)} for _ in range(2)]
        events = list(pool.run(squares, range(5), 3))
        assert multiprocessing.active_children()
    assert seen[0] | seen[1] == seen[0]
    done = [event for event in events if isinstance(event, _workers.Done)]
    assert sorted((d.job, d.result) for d in done) == [(n, n * n) for n in range(5)], "each once"
    assert sorted(e for e in events if isinstance(e, tuple)) == [("half", n) for n in range(5)]
    assert not multiprocessing.active_children()


def test_a_pool_whose_idle_worker_was_killed_says_what_to_do():
    with _workers.Pool() as pool:
        list(pool.run(squares, [1], 1))
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        with pytest.raises(RunError, match=r"code -9 between two jobs: .*same command again"):
            list(pool.run(squares, [1], 1))
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see processes")
def test_a_worker_in_the_middle_of_a_long_job_ends_with_its_parent():
    code = (
        "from batchnorm.lab.running import _workers\n"
        "from support.processes.workers import sleeping\n"
        "for event in _workers.run(sleeping, [0], 1): print(event, flush=True)"
    )
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    worker = Path("/proc") / parent.stdout.readline().decode().strip()
    assert worker.is_dir()
    parent.kill()
    parent.wait()  # and not communicate: the worker has the same stdout
    parent.stdout.close()
    end = time.monotonic() + 10
    while worker.is_dir() and "Z" not in (worker / "stat").read_text().rsplit(") ", 1)[1][:1]:
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.05)
