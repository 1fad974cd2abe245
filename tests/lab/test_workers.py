import pytest

from batchnorm.errors import RunError
from batchnorm.lab import workers
from worker_jobs import dying, failing, squares


def test_every_job_is_done_once():
    events = list(workers.run(squares, range(5), 2))
    done = [event for event in events if isinstance(event, workers.Done)]
    assert sorted((d.job, d.result) for d in done) == [(n, n * n) for n in range(5)]
    assert sorted(e for e in events if isinstance(e, tuple)) == [("half", n) for n in range(5)]


def test_an_error_of_a_job_is_raised_here():
    with pytest.raises(OverflowError, match="job 0"):
        list(workers.run(failing, [0], 1))


def test_a_killed_worker_is_told_with_what_to_do():
    with pytest.raises(RunError, match=r"ended with code 9 .*same command again"):
        list(workers.run(dying, ["x"], 1))
