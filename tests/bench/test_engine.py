"""A whole benchmark on small shapes: the record, its document, and what is left out."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from batchnorm import bench
from batchnorm._pages import _machine
from batchnorm.bench import _large, _resnet, _run, _step
from batchnorm.bench._cases import DIRECTIONS, members
from batchnorm.bench._providers import PROVIDERS, _blocks
from batchnorm.errors import BatchNormError, DataError, OptionError, RunError

PLAIN = bench.Case("sites", "plain", (2, 4, 3, 3))
DENSE = bench.Case("tiny", "dense", (6, 5))
SMALL = bench.Network(blocks=(1, 1), width=8, classes=10, batch=4, side=32)
FAST = {"rounds": 2, "seconds": 0.0, "peers": ("torch", "onednn")}


@pytest.fixture(scope="module")
def record(small_bench):
    return small_bench


def refused(record):
    """The places that oneDNN refuses: a matrix, and bfloat16 on a processor without it."""
    return {place for skip in record.skips if skip.provider == "onednn" for place in skip.where}


def places_of(found):
    """How a refusal names a cell: by its mode when it is built, by its direction when it runs."""
    mode = "inference" if found.direction == "inference" else "training"
    cell = f"{found.group} {found.case} {found.dtype} {found.layout}"
    return {f"{cell} {mode}", f"{cell} {found.direction}"}


def test_every_cell_is_measured_in_every_round(record):
    cells = {(m.case, m.dtype, m.layout, m.direction) for m in record.measurements}
    assert len(cells) == len(record.measurements)
    assert len(cells) == 2 * 2 * 2 * 4 + 2 * 4  # two images in both layouts, and the matrix
    for found in record.measurements:
        assert found.direction in DIRECTIONS
        assert {len(times) for times in found.seconds.values()} == {2}
        without = not places_of(found).isdisjoint(refused(record))
        assert set(found.seconds) == {"ours", "torch", "copy"} | (set() if without else {"onednn"})
        assert not without or len(found.shape) == 2 or found.dtype == "bfloat16"
        assert found.tensor_bytes == torch.Size(found.shape).numel() * (
            4 if found.dtype == "float32" else 2
        )


def test_memory_is_measured_once_a_cell(record):
    assert len(record.memory) == 2 * 2 * 2 + 2
    for found in record.memory:
        assert found.peak["ours"] >= 2 * found.tensor_bytes
        assert found.kept["ours"] >= found.tensor_bytes
    added = [m for m in record.memory if m.case == "added"]
    assert all(m.kept["ours"] < m.kept["torch"] for m in added)


def test_a_refusal_is_told_once_with_all_its_places(record):
    skips = [skip for skip in record.skips if skip.provider == "onednn"]
    assert len({skip.reason for skip in skips}) == len(skips)
    assert all("RuntimeError" in skip.reason for skip in skips)
    matrix = [place for place in refused(record) if place.startswith("tiny dense")]
    assert len(matrix) >= len(DIRECTIONS)


def test_a_document_comes_back_the_same(record):
    text = bench.to_json(record)
    assert bench.from_json(text) == record
    content = json.loads(text)
    assert content["version"] == 1
    assert content["settings"]["cases"] == ["sites plain", "add-relu added", "tiny dense"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "steps": 3}'])
def test_another_document_is_refused(text):
    with pytest.raises(DataError, match="is needed"):
        bench.from_json(text)


def test_the_machine_is_told_without_names(record, monkeypatch):
    import getpass
    import socket
    from pathlib import Path

    facts = record.machine
    assert {"processor", "cores", "threads", "caches", "torch", "numba", "batchnorm"} <= set(facts)
    text = bench.to_json(record)
    assert str(Path.home()) not in text
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    monkeypatch.setattr(_machine, "_CPUINFO", Path("/none"))
    monkeypatch.setattr(_machine, "_CACHES", Path("/none"))
    assert _machine.caches() == "unknown"
    assert _machine.processor()


def test_only_what_was_asked_for_is_measured():
    settings = bench.Settings(
        (PLAIN, DENSE),
        directions=("inference",),
        layouts=("channels_last",),
        dtypes=("bfloat16",),
        **FAST,
    )
    found = bench.run(settings)
    assert [(m.case, m.dtype, m.layout, m.direction) for m in found.measurements] == [
        ("plain", "bfloat16", "channels_last", "inference")
    ]
    assert found.memory == ()


def test_the_operator_level_has_no_compiler_and_no_memory():
    settings = bench.Settings((PLAIN,), level="operator", rounds=1, seconds=0.0)
    found = bench.run(replace(settings, layouts=("contiguous",), dtypes=("float32",)))
    assert {m.direction for m in found.measurements} == set(DIRECTIONS)
    assert all(set(m.seconds) == {"ours", "torch", "onednn", "copy"} for m in found.measurements)
    assert [(s.provider, s.reason) for s in found.skips] == [
        ("compile", "there is no operator level of it")
    ]
    assert found.memory == ()


def test_a_failed_compilation_is_a_reason_and_the_others_go_on(monkeypatch):
    def fail(*_):
        raise RuntimeError("InductorError at /home/someone/x.cpp")

    broken = replace(PROVIDERS["compile"], levels={"module": fail})
    monkeypatch.setitem(PROVIDERS, "compile", broken)
    monkeypatch.setattr(broken.__class__, "absence", lambda *_: None)
    settings = bench.Settings((DENSE,), dtypes=("float32",), rounds=1, seconds=0.0)
    found = bench.run(replace(settings, peers=("torch", "compile")))
    assert [s.reason for s in found.skips] == ["RuntimeError: InductorError at x.cpp"]
    assert all("torch" in m.seconds for m in found.measurements)


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def fail(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(_blocks.ours.BatchNorm1d, "forward", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        bench.run(bench.Settings((DENSE,), **FAST))


def test_threads_are_given_back():
    before = torch.get_num_threads()
    settings = bench.Settings((DENSE,), dtypes=("float32",), threads=1, **FAST)
    assert bench.run(settings).machine["threads"] == 1
    assert torch.get_num_threads() == before


def test_progress_counts_every_cell():
    told = []
    settings = bench.Settings((PLAIN,), **FAST)
    bench.run(replace(settings, directions=("inference",)), told.append)
    assert [(_step.done, _step.total) for _step in told] == [(n, 4) for n in range(5)]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_step_trains_all_variants_alike(layout):
    (found,) = _step.measure(SMALL, layout, rounds=2, seconds=0.0, compiled=False)
    assert set(found.seconds) == set(found.losses) == set(_resnet.VARIANTS)
    for losses in found.losses.values():
        assert losses == pytest.approx(found.losses["torch"], rel=found.tolerance)
    assert found.losses["torch"][-1] < found.losses["torch"][0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch.compile says of itself
def test_a_compiled_step_starts_from_the_same_weights():
    if PROVIDERS["compile"].absence("module"):
        pytest.skip(PROVIDERS["compile"].absence("module"))
    (found,) = _step.measure(SMALL, "contiguous", rounds=1, seconds=0.0, compiled=True)
    expected = pytest.approx(found.losses["torch"], rel=found.tolerance)
    assert found.losses["compile"] == expected


def test_a_step_without_a_compiler_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    skip, found = _step.measure(SMALL, "contiguous", rounds=1, seconds=0.0, compiled=True)
    assert "C++ compiler" in skip.reason
    assert "compile" not in found.seconds


def test_variants_that_train_apart_are_refused(monkeypatch):
    def wrong(self, x, residual=None):
        return torch.zeros_like(x)

    monkeypatch.setattr(_resnet.ours.BatchNorm2d, "forward", wrong)
    with pytest.raises(RunError, match="need the same losses"):
        list(_step.measure(SMALL, "contiguous", rounds=1, seconds=0.0, compiled=False))


def test_all_variants_have_the_state_and_the_layers_of_resnet_50():
    states = [_resnet.ResNet(bench.Network(), v).state_dict() for v in _resnet.VARIANTS]
    assert {tuple(state) for state in states} == {tuple(states[0])}
    parameters = sum(p.numel() for p in _resnet.ResNet(bench.Network(), "torch").parameters())
    assert parameters == 25_557_032  # as torchvision's resnet50


def test_large_tensors_are_timed_in_a_process_that_keeps_its_memory():
    if _large.missing():
        pytest.skip(_large.missing())
    case = replace(PLAIN, group="large")
    settings = bench.Settings((case,), directions=("forward",), layouts=("contiguous",), **FAST)
    found = bench.run(settings)
    assert [m.level for m in found.measurements] == ["operator"]
    assert set(found.measurements[0].seconds) == {"ours", "torch", "copy"}


FAULTS = """
import resource, torch
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    before = faults()
    torch.empty(20_000_000).fill_(1)
print(faults() - before)
"""


def test_the_memory_of_large_outputs_is_touched_once():
    if _large.missing():
        pytest.skip(_large.missing())

    def faults(environment):
        command = [sys.executable, "-c", FAULTS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults(_large.environment()) < 20
    assert faults(dict(os.environ)) > 30, "the test above can fail"


def test_large_tensors_are_left_out_elsewhere(monkeypatch):
    monkeypatch.setattr(_large.platform, "system", lambda: "Darwin")
    case = replace(PLAIN, group="large")
    found = bench.run(bench.Settings((case,), **FAST))
    assert found.measurements == ()
    assert [(s.provider, s.reason) for s in found.skips] == [
        ("large", "keeping the memory of outputs needs glibc on Linux")
    ]


def test_a_process_that_fails_is_one_line(monkeypatch):
    monkeypatch.setattr(_large.sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="ended with code 1"):
        _large.measure(PLAIN, "float32", "contiguous", bench.Settings())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": ["all"]}, "--cases needs one of sites, tiny"),
        ({"directions": ["sideways"]}, "--direction needs one of forward"),
        ({"layouts": ["nchw"]}, "--layout needs one of contiguous"),
        ({"dtypes": ["float8"]}, "--dtype needs one of float32"),
        ({"providers": ["jax"]}, "--provider needs one of ours, torch"),
        ({"level": "kernel"}, "--level needs one of module, operator"),
        ({"level": "operator", "groups": ["relu"]}, "--level operator needs cases out of"),
        ({"threads": 0}, "--threads needs a number of at least 1, got 0"),
        ({"rounds": -1}, "--rounds needs a number of at least 1, got -1"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(OptionError, match=words) as caught:
        bench.choose(**options)
    assert isinstance(caught.value, BatchNormError)


def test_defaults_are_everything_and_quick_is_less():
    full, quick = bench.choose(), bench.choose(quick=True)
    assert len(full.cases) == 3 * 9 + 2 + 2
    assert full.peers == ("torch", "compile", "onednn")
    assert full.network is not None
    assert quick.dtypes == ("float32",)
    assert set(quick.left_out) == {"compile"}
    assert bench.choose(quick=True, providers=["compile"]).peers == ("compile",)
    assert len(_run.cells(quick)) < len(_run.cells(full)) / 5
    operator = bench.choose(level="operator")
    assert {case.group for case in operator.cases} == {"sites", "tiny", "large"}
    assert operator.network is None


def test_the_large_case_is_over_64_mb():
    for case in members("large"):
        assert 4 * torch.Size(case.shape).numel() > 64e6
        assert case.dtypes == ("float32",)
    assert asdict(members("sites")[0])["shape"] == (32, 64, 112, 112)
