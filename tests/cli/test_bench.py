"""``batchnorm bench`` end to end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from batchnorm import bench
from batchnorm.cli import run
from support.processes.interruptible import bench_that_tells

SMALL = ("bench", "--cases", "tiny", "--quick", "--rounds", "1", "--direction", "inference")


def test_a_benchmark_is_printed_and_written(capsys, tmp_path):
    document, page = tmp_path / "b.json", tmp_path / "b.html"
    assert run([*SMALL, "--json", str(document), "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    for words in (
        "tiny, inference, float32, contiguous, module level",
        "60x100",
        "geom. mean",
        "minimum",
        "Left out: compile",
        "Left out: onednn",
        f"Written: {document}",
        f"Written: {page}",
    ):
        assert words in printed
    record = bench.from_json(document.read_text())
    assert {m.case for m in record.measurements} == {"60x100", "2x8x4x4"}
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(tmp_path.iterdir()) == [page, document]


def test_the_operator_level_and_one_layout(capsys):
    options = ("--level", "operator", "--layout", "channels_last", "--provider", "torch")
    assert run([*SMALL, *options]) == 0
    printed = capsys.readouterr().out
    assert "tiny, inference, float32, channels_last, operator level" in printed
    assert "Left out" not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cases", "all"), "--cases needs one of sites, tiny, relu, add-relu, large, step"),
        (("--direction", "up"), "--direction needs one of forward"),
        (("--layout", "nhwc"), "--layout needs one of"),
        (("--dtype", "int8"), "--dtype needs one of"),
        (("--provider", "jax"), "--provider needs one of"),
        (("--level", "gpu"), "--level needs one of"),
        (("--threads", "0"), "at least 1, got 0"),
        (("--rounds", "many"), "--rounds"),
        (("--json", "/none/b.json"), "--json needs a file in a folder"),
        (("--html", "/"), "--html needs a file in a folder"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert not list(tmp_path.iterdir())


def test_the_page_without_jinja_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run([*SMALL, "--html", str(tmp_path / "b.html")]) == 2
    assert "pip install 'batchnorm[lab]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    started, target = tmp_path / "started", tmp_path / "b.json"
    command = [*bench_that_tells(started), "bench", "--cases", "tiny", "--rounds", "100000"]
    process = subprocess.Popen(
        [*command, "--provider", "torch", "--json", str(target)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == [started]
