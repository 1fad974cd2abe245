"""What commands write: whole, with the right mode, where it was meant, or one line and no harm."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from batchnorm.cli import run
from batchnorm.lab.running import _training

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and limits of POSIX")

NETWORK = """
import torch
from torch import nn


def network():
    return nn.Sequential(nn.Conv2d(3, 64, 5), nn.BatchNorm2d(64), nn.ReLU())


def plain():
    return nn.Sequential(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.Conv2d(64, 4, 1), nn.ReLU())


def batches():
    return [torch.randn(4, 3, 8, 8) for _ in range(2)]
"""
INPUT = ("--input", "2,3,8,8")
TINY = ("bench", "--cases", "tiny", "--quick", "--rounds", "1", "--direction", "inference")
DATA = ("--data", "output_network:batches")
COMMANDS = {
    "convert": ("convert", "output_network:network", "-o"),
    "fold": ("fold", "output_network:network", *INPUT, "-o"),
    "program": ("fold", "output_network:network", *INPUT, "-o"),
    "onnx": ("fold", "output_network:network", *INPUT, "-o", "other.pt", "--onnx"),
    "insert": ("insert", "output_network:plain", *INPUT, "-o"),
    "recalibrate": ("recalibrate", "output_network:network", *DATA, "-o"),
    "bench json": (*TINY, "--provider", "torch", "--json"),
    "bench html": (*TINY, "--provider", "torch", "--html"),
}
ALL = [pytest.param(name, marks=[pytest.mark.slow] * (name == "onnx")) for name in COMMANDS]
SUFFIXES = {"program": ".pt2", "onnx": ".onnx", "bench json": ".json", "bench html": ".html",
            "convert": ".safetensors"}  # fmt: skip
STUDY = ("study", "run", "convergence", "--quick", "--seeds", "1", "--steps", "5", "--jobs", "1")


@pytest.fixture
def here(placed):
    return placed("output_network", NETWORK)


def refused(capsys, *arguments):
    assert run([str(argument) for argument in arguments]) == 2
    found = capsys.readouterr()
    assert "Traceback" not in found.out + found.err
    assert found.err.count("\n") == 1, found.err
    return found.err


def interrupt(*_):
    raise KeyboardInterrupt


def out(name):
    return f"out{SUFFIXES.get(name, '.pt')}"


def left(folder):
    return {p.name for p in folder.iterdir()} - {"__pycache__", "output_network.py", "other.pt"}


@pytest.fixture
def no_room():
    """Let no file grow over 2000 bytes: what a full disk does, without one."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=2_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    limit.end = lambda: limit(before[0])
    yield limit
    limit.end()


@posix
@pytest.mark.parametrize("name", ALL)
def test_a_new_file_has_the_umasks_mode_and_a_link_stays_a_link(here, name):
    before = os.umask(0o027)
    try:
        (here / "inside").mkdir()
        link, target = here / out(name), here / "inside" / "target"
        link.symlink_to("inside/target")
        assert run([*COMMANDS[name], link.name]) == 0
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_size > 500
    assert left(here) == {"inside", link.name}
    assert left(here / "inside") == {"target"}


@pytest.mark.parametrize("name", ALL)
def test_no_room_is_one_line_and_leaves_what_was_there(here, capsys, monkeypatch, name):
    path = here / out(name)
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    calls = iter([os.fsync, full] if name == "onnx" else [full])  # weights beside it have room
    monkeypatch.setattr(os, "fsync", lambda found: next(calls)(found))  # noqa: PLW0108 -- each time
    words = refused(capsys, *COMMANDS[name], path.name)
    assert f"{path.name} cannot be written (No space left on device): free some space" in words
    assert path.read_bytes() == b"old"
    assert left(here) == {path.name}


@posix
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "it is a folder"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("none/file"), "there is no such folder"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_any_work(here, capsys, name, make, words):
    path = here / out(name)
    make(path)
    assert words in refused(capsys, *COMMANDS[name], path.name)
    assert not (here / "other.pt").exists()


@posix
@pytest.mark.parametrize("name", ["convert", "bench json"])
def test_a_protected_folder_is_said_before_any_work(here, capsys, monkeypatch, name):
    monkeypatch.setattr(os, "access", lambda *_: False)  # the administrator may write everywhere
    assert "its folder is write-protected" in refused(capsys, *COMMANDS[name], out(name))


@pytest.mark.parametrize("name", ["convert", "recalibrate", "program"])
def test_an_interruption_leaves_what_was_there(here, capsys, monkeypatch, name):
    path = here / out(name)
    path.write_bytes(b"old")

    monkeypatch.setattr(os, "fsync", interrupt)
    assert run([*COMMANDS[name], path.name]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert path.read_bytes() == b"old"
    assert left(here) == {path.name}


# ----------------------------------------------------------------------------------------- studies


@posix
def test_a_study_without_room_is_one_line(tmp_path, capsys, no_room):
    out = tmp_path / "run"
    no_room()
    words = refused(capsys, *STUDY, "--out", out)
    assert "cannot be written (File too large)" in words
    assert str(out / "trials") in words
    assert not list(out.rglob(".*"))
    assert not list(out.rglob("*.safetensors"))


@posix
@pytest.mark.slow
def test_a_study_without_room_goes_on_to_the_same_bytes_later(
    tmp_path, capsys, no_room, records, small_run
):
    out, arguments = tmp_path / "run", list(STUDY)
    arguments[arguments.index("--steps") + 1] = "20"
    no_room()
    words = refused(capsys, *arguments, "--out", out)
    assert "cannot be written (File too large)" in words
    assert str(out / "trials") in words
    assert not list(out.rglob(".*"))
    no_room.end()
    assert run([*arguments, "--out", str(out)]) == 0
    assert records(out) == records(small_run)


@posix
@pytest.mark.slow
def test_workers_without_room_are_one_line(tmp_path, capsys, no_room):
    no_room()
    arguments = [*STUDY[:-1], "2"]
    assert "cannot be written (File too large)" in refused(
        capsys, *arguments, "--out", tmp_path / "r"
    )


@posix
@pytest.mark.parametrize("place", ["config.json", "environment.json"])
def test_a_run_that_could_not_begin_begins_when_there_is_room(tmp_path, capsys, monkeypatch, place):
    out, real = tmp_path / "run", os.fsync

    def full(descriptor):
        if place in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert f"{place} cannot be written" in refused(capsys, *STUDY, "--out", out)
    monkeypatch.setattr(os, "fsync", real)
    monkeypatch.setattr(_training.TrialRun, "run", interrupt)
    assert run([*STUDY, "--out", str(out)]) == 130


@posix
def test_a_report_without_room_leaves_the_old_one(tmp_path, capsys, no_room):
    out = tmp_path / "run"
    assert run(["study", "run", "scale-invariance", *STUDY[3:6], "--out", str(out)]) == 0
    capsys.readouterr()
    (out / "report.html").write_text("old")
    no_room()
    assert "report.html cannot be written (File too large)" in refused(capsys, "report", out)
    assert (out / "report.html").read_text() == "old"


@posix
def test_no_room_for_what_is_printed_is_one_line():
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "batchnorm", "study", "list"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr.strip().count("\n") == 0
    assert "cannot be printed (No space left on device)" in found.stderr
