"""Two real processes with uneven data find the same statistics, those of all data."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from batchnorm.errors import RunError
from batchnorm.surgery import recalibrate
from batchnorm.surgery._population._ranks import all_gather
from support.processes import two_ranks
from support.processes.two_ranks import batches, network

SCRIPT = Path(two_ranks.__file__)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What the two have found."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", SCRIPT, str(rank), folder],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=150)[0] for process in started]
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0], said
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.numpy().tobytes() == other[name].numpy().tobytes(), name


def assert_close(found, expected):
    """Equal but for the order of summation, which depends on the number of threads."""
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-5)


def alone(**options):
    """Return what one process finds on the data of both."""
    model = network()
    recalibrate(model, batches(0) + batches(1), **options)
    return model.state_dict()


def test_both_end_with_the_same_bits(ranks):
    for name, state in ranks[0]["states"].items():
        assert_same_bits(state, ranks[1]["states"][name])


@pytest.mark.parametrize("layer_by_layer", [False, True])
@pytest.mark.parametrize("method", ["exact", "algorithm-2"])
def test_they_find_what_one_process_finds_on_all_data(ranks, method, layer_by_layer):
    found = ranks[0]["states"][f"{method}, layer by layer {layer_by_layer}"]
    assert_close(found, alone(method=method, layer_by_layer=layer_by_layer))
    assert found["0.num_batches_tracked"] == 4
    data = torch.cat(batches(0) + batches(1)).double()
    if method == "exact":
        torch.testing.assert_close(
            found["0.running_var"].double(), data.var(0), rtol=1e-6, atol=0.0
        )


@pytest.mark.parametrize(
    "kind",
    [
        "torch.nn.modules.batchnorm.SyncBatchNorm",
        "batchnorm.nn._batchnorm.BatchNorm1d",
        "DistributedDataParallel",
    ],
)
def test_any_layer_and_wrapper(ranks, kind):
    assert_close(ranks[0]["states"][kind], alone())


def test_a_process_may_be_without_data(ranks):
    model = network()
    recalibrate(model, batches(0), layer_by_layer=True)
    assert_close(ranks[1]["states"]["no data in one"], model.state_dict())


def test_adaptation_counts_the_rows_of_both(ranks):
    data = torch.cat(batches(0) + batches(1)).double()
    share = 50 / (50 + len(data))
    mean = (1 - share) * data.mean(0)
    torch.testing.assert_close(
        ranks[1]["states"]["adapt"]["0.running_mean"].double(), mean, rtol=1e-6, atol=0.0
    )


def test_a_process_may_work_alone(ranks):
    for rank in range(2):
        model = network()
        recalibrate(model, batches(rank))
        assert_close(ranks[rank]["alone"], model.state_dict())


def test_an_error_in_one_is_raised_in_both_and_changes_nothing(ranks):
    own, told = ranks[1]["errors"], ranks[0]["errors"]
    assert own["data"] == "KeyError: 'the data end'"
    assert told["data"].startswith("RunError: all processes need to get through")
    assert "rank 1 raised KeyError: 'the data end'" in told["data"]
    assert own["layer by layer"].startswith("NonFiniteError")
    assert "rank 1 raised NonFiniteError" in told["layer by layer"]
    for rank in ranks:
        assert rank["errors"]["nothing"].startswith("DataError: batches must give at least one")
        assert_same_bits(rank["broken"], network().state_dict())


def test_alone_an_error_is_itself():
    def fail():
        raise RunError("as it is")

    with pytest.raises(RunError, match=r"^as it is$"):
        all_gather(fail, distributed=True)
