import shutil
import subprocess
import sys

import pytest

import batchnorm
from batchnorm import lab
from batchnorm.cli import run
from support.lab.ledgers import keep

SMALL = ("--quick", "--seeds", "1", "--steps", "5", "--jobs", "1")


def refused(capsys, *arguments):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("batchnorm: ")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), "No such command 'nothing'"),
        (("--nothing",), "No such option"),
        (("study", "run"), "Missing argument"),
        (("study", "run", "nothing"), "needed a study out of convergence"),
        (("study", "run", "convergence", "--task", "cifar"), "a task out of digits"),
        (("study", "run", "convergence", "--seeds", "many"), "--seeds"),
        (("study", "run", "convergence", "--seeds", "0"), "at least 1, got 0"),
        (("study", "run", "convergence", "--steps", "-3"), "at least 1, got -3"),
        (("study", "run", "convergence", "--jobs", "0"), "at least 1, got 0"),
        (("study", "run", "convergence", "--set", "rate"), "as in rate=0.1,1, got 'rate'"),
        (("study", "run", "convergence", "--set", "rate=inf"), "as in rate=0.1,1, got 'rate=inf'"),
        (("study", "run", "convergence", "--set", "x=1"), "a setting out of scale, rate, batch"),
        (("study", "run", "landscape", "--model", "m:f"), "add --data package.module:loader"),
        (("study", "run", "landscape", "--data", "m:f"), "add --model package.module:factory"),
        (("study", "run", "landscape", "--model", "m:f", "--data", "m:f"), "m raised ModuleNot"),
        (("study", "run", "convergence", "--device", "abacus"), "--device needs a device"),
        (
            ("study", "run", "convergence", "--task", "mnist", "--data-dir", "/none"),
            "found neither",
        ),
        (("study", "run", "all", "--task", "cifar"), "need a task out of"),
        (("study", "run", "all", "--task", "own"), "linear-regression, got 'own'"),
        (("study", "run", "landscape", "--task", "own"), "task own needs --model and --data"),
        (("study", "run", "noisy", "--task", "own"), "digits, mnist, fashion-mnist, got 'own'"),
        (("study", "run", "all", "--jobs", "0"), "at least 1, got 0"),
        (("study", "run", "all", "--data-dir", "/none"), "--data-dir needs a --task"),
        (("report", "/none"), "is not a run folder"),
        (("report",), "Missing argument"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir()), "nothing half-written may be left"


@pytest.mark.parametrize("content", ["{", "[]", '{"study": "convergence"}', '{"study": "x"}'])
def test_a_damaged_configuration_is_one_line(capsys, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    refused(capsys, "report", str(tmp_path))


def test_a_report_without_plotly_says_what_to_install(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "plotly", None)
    message = refused(capsys, "study", "run", "convergence", *SMALL, "--out", str(tmp_path / "r"))
    assert "pip install 'batchnorm[lab]'" in message
    assert not (tmp_path / "r").exists()


def test_version_list_and_help(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"batchnorm {batchnorm.__version__}\n"
    assert run(["study", "list"]) == 0
    assert "convergence" in capsys.readouterr().out
    for arguments in ([], ["study"], ["study", "run"], ["report"]):
        assert run([*arguments, "--help"]) == 0
        assert "Usage: batchnorm" in capsys.readouterr().out


def test_a_study_is_run_told_and_reported_again(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["study", "run", "convergence", *SMALL]) == 0
    out = tmp_path / "runs" / "convergence-digits-quick"
    printed = capsys.readouterr().out
    for words in ("C1", "C4", "Report: runs/convergence-digits-quick/report.html"):
        assert words in printed
    assert (out / "report.html").stat().st_size > 1_000_000
    (out / "report.html").unlink()
    assert run(["study", "run", "convergence", *SMALL]) == 0
    assert "finished already" in capsys.readouterr().out
    assert (out / "report.html").exists()
    assert run(["report", str(out)]) == 0
    assert "Report: " in capsys.readouterr().out
    other = refused(capsys, "study", "run", "convergence", *SMALL, "--steps", "6")
    assert "steps = 5, this command has steps = 6" in other


@pytest.mark.usefixtures("few")
def test_all_studies_are_run_told_and_reported_again(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep(monkeypatch, {*lab.STUDIES} - {"convergence"})
    assert run(["study", "run", "all", "--quick", "--seeds", "1", "--jobs", "1"]) == 0
    out = tmp_path / "runs" / "all-quick"
    printed = capsys.readouterr().out
    for words in ("C7", "C16", "reproduced", "Page: runs/all-quick/index.html"):
        assert words in printed
    for page in (out / "index.html", out / "scale-invariance" / "report.html"):
        page.unlink()
    shutil.rmtree(out / "outside-gradient")
    assert run(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "C7" in printed
    assert "outside-gradient: It has not started." in printed
    assert (out / "scale-invariance" / "report.html").exists()
    (out / "scale-invariance" / "report.html").unlink()
    (out / "ledger.json").unlink()
    message = refused(capsys, "study", "run", "all", "--quick", "--seeds", "1")
    assert "exists and is not a folder of all studies" in message


def test_a_report_of_a_damaged_run_says_what_is_damaged(capsys, small_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(small_run, out)
    victim = min((out / "trials").glob("*.jsonl"))
    victim.write_text("rubbish\n" + victim.read_text())
    assert run(["report", str(out)]) == 0
    assert f"Damaged: trials/{victim.name}, line 1" in capsys.readouterr().out


def test_ctrl_c_is_one_line_and_130(capsys, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("batchnorm.lab.running._training.TrialRun.run", interrupt)
    assert run(["study", "run", "convergence", *SMALL, "--out", str(tmp_path / "r")]) == 130
    assert "interrupted; give the same command again" in capsys.readouterr().err


def test_the_module_is_the_command():
    found = subprocess.run(
        [sys.executable, "-m", "batchnorm", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout.split()[0]) == (0, "batchnorm")
