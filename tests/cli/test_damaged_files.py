"""Damaged and hostile files: one line that names what is wrong, and nothing in them is run."""

import json
import os
import random
import shutil
import zlib
from pathlib import Path

import pytest

from batchnorm.cli import run
from batchnorm.lab import ledger
from batchnorm.lab.records import _lines
from batchnorm.lab.running import _engine
from support.damage import data_sets, mutations
from support.damage import weights as odd_weights
from support.lab.ledgers import keep

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes pipes")
FEW, MANY = 7, 150
SEEDS = [
    *range(FEW),
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FEW, MANY)),
]


@pytest.fixture
def told(capsys):
    """Run a command; it ends well, or with one line and exit code 2."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        found = capsys.readouterr()
        assert code in {0, 2}
        assert "Traceback" not in found.out + found.err
        assert "\x1b" not in found.out + found.err
        if code == 2:
            assert found.err.count("\n") == 1, found.err
            assert found.err.startswith("batchnorm: ")
            assert len(found.err) < 2_100
        return code, found.out + found.err

    return call


# ------------------------------------------------------------------------------------- run folders


TWO = ("scale-invariance", "outside-gradient")


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory, ledger_options):
    """The folder of two studies that measure without training."""
    out = tmp_path_factory.mktemp("two") / "all"
    with pytest.MonkeyPatch.context() as patch:
        keep(patch, TWO)
        assert len(list(ledger.run(ledger_options(out), lambda *_: None))) == len(TWO)
    return out


def _victim(folder, draw):
    return draw.choice(
        sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".jsonl"})
    )


def damage(path, draw):
    """Damage one file in one of the ways that somebody, or a disk, can."""
    how = draw.randrange(4)
    if how == 0:
        mutations.as_another_kind(path, draw)
    elif how == 1:
        path.write_bytes(mutations.as_bytes(path.read_bytes(), draw))
    elif path.suffix == ".json":
        path.write_text(mutations.as_json(json.loads(path.read_text()), draw))
    else:
        lines = path.read_text().splitlines()
        place = draw.randrange(len(lines))
        change = mutations.as_json if path.name == "timings.jsonl" else mutations.as_record
        line = json.loads(lines[place]) if path.name == "timings.jsonl" else lines[place]
        lines[place] = change(line, draw)
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("few")
def test_a_damaged_run_folder_is_reported_or_refused(told, request, tmp_path, seed):
    draw = random.Random(seed)  # noqa: S311 -- the same examples in every run
    whole = request.getfixturevalue("two_studies" if seed < FEW or seed % 2 else "small_run")
    folder = tmp_path / "run"
    shutil.copytree(
        draw.choice([whole, *(whole / study for study in TWO if seed % 4 == 1)]), folder
    )
    damage(_victim(folder, draw), draw)
    told("report", folder)


# ----------------------------------------------------------------------------------------- weights


NETWORK = "def network():\n    from support.damage.weights import network\n    return network()\n"
CONVERT = ("convert", "damaged_network:network", "-o", "out.pt", "--weights")


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "damaged_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ODD = sorted(odd_weights.odd_files(Path()))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_weights_file_is_one_line(told, here, name):
    (here / name).write_bytes(odd_weights.odd_files(here)[name])
    code, words = told(*CONVERT, name)
    assert code == 2
    assert name in words
    assert not (here / odd_weights.CANARY).exists()
    assert not (here / "out.pt").exists()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_weights_file_is_one_line(told, here, seed):
    draw = random.Random(seed)  # noqa: S311 -- the same examples in every run
    names = [name for name in ODD if len(odd_weights.odd_files(here)[name]) > 100]
    name = draw.choice([*names, "whole.pt", "whole.safetensors"])
    from safetensors.torch import save

    state = odd_weights.network().state_dict()
    whole = {"whole.pt": odd_weights.saved(state), "whole.safetensors": save(state)}
    path = here / name
    path.write_bytes({**odd_weights.odd_files(here), **whole}[name])
    if draw.randrange(8) == 0:
        mutations.as_another_kind(path, draw)
    else:
        path.write_bytes(mutations.as_bytes(path.read_bytes(), draw))
    told(*CONVERT, name)
    assert not (here / odd_weights.CANARY).exists()


# -------------------------------------------------------------------------------------------- data


@pytest.fixture
def untrained(monkeypatch):
    """Let a study end before its trials: only the reading of its data is tried."""
    monkeypatch.setattr(_engine, "_do", lambda *_: None)


def _study(task, folder, out):
    return ("study", "run", "convergence" if task == "mnist" else "landscape", "--task", task,
            "--data-dir", folder, "--out", out, "--jobs", "1")  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("untrained")
def test_a_damaged_data_file_is_one_line(told, tmp_path, seed):
    draw = random.Random(seed)  # noqa: S311 -- the same examples in every run
    task, write = draw.choice([(t, w) for t, ws in data_sets.FORMATS.items() for w in ws])
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder)
    path = draw.choice(sorted(folder.iterdir()))
    if draw.randrange(5) == 0:
        mutations.as_another_kind(path, draw)
    else:
        path.write_bytes(mutations.as_bytes(path.read_bytes(), draw))
    code, words = told(*_study(task, folder, tmp_path / "out"))
    assert code == 2
    assert str(tmp_path) in words or "CIFAR-10" in words or "MNIST" in words


# ------------------------------------------------------------------- run folders, kind after kind


RUN = "scale-invariance"


def rewrite(name, **changes):
    """Return what gives keys of a JSON file other values, or drops them."""

    def damage(folder):
        document = json.loads((folder / name).read_text())
        for key, value in changes.items():
            document.pop(key) if value is DROPPED else document.update({key: value})
        (folder / name).write_text(json.dumps(document))

    return damage


DROPPED = object()
CONFIGURATION = [
    "format", "study", "task", "description", "data", "chance", "scale", "device", "made_with",
    "seeds", "grid", "fixed", "steps", "examples", "targets", "every",
]  # fmt: skip
FITTING = {"study", "task", "description", "data", "scale", "device"}  # a text, whichever
MISTYPED = [
    *(
        pytest.param("config.json", {key: value}, marks=[pytest.mark.slow] * (value in (1.5, "x")))
        for key in CONFIGURATION
        for value in (DROPPED, [], 1.5, "x")
        if not (key in FITTING and value == "x")
        and (key, value) not in (("targets", []), ("chance", DROPPED))
    ),
    ("config.json", {"study": "none"}),
    ("config.json", {"own": {"model": "m:f"}}),
    ("config.json", {"own": {"model": "m:f", "data": "m:f"}}),
    ("config.json", {"task": "own", "own": {"model": "os:abort", "data": "os:abort"}}),
    ("config.json", {"seeds": 10**11}),
    ("config.json", {"seeds": True}),
    ("config.json", {"grid": {"../x": [1.0]}}),
    ("config.json", {"grid": {"factor": [1.0]}}),
    ("config.json", {"fixed": {"x": 10**400}}),
    ("ledger.json", {"asked": {"scale": []}}),
    ("ledger.json", {"asked": None}),
    ("ledger.json", {"command": 3}),
    ("ledger.json", {"format": None}),
]


@pytest.mark.parametrize(("name", "changes"), MISTYPED)
@pytest.mark.usefixtures("few")
def test_a_mistyped_configuration_is_named(told, two_studies, tmp_path, name, changes):
    folder = tmp_path / "all"
    shutil.copytree(two_studies, folder)
    place = folder / RUN if name == "config.json" else folder
    rewrite(name, **changes)(place)
    code, words = told("report", place)
    assert code == 2
    assert str(place) in words
    assert "format" in words if "format" in changes else "is damaged" in words
    if changes in (
        {"seeds": DROPPED},
        {"grid": []},
    ):  # the page of all studies is written, and says it
        code, words = told("report", folder)
        assert code == 0
        assert f"{RUN}: {folder / RUN}" in words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "it is no plain file"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "it is no plain file"),
        (lambda path: path.write_bytes(b"\0" * 99 + b"\n"), "line 1"),
        (lambda path: path.write_bytes(b"\xff\xfe\n"), "line 1"),
        (lambda path: path.write_text("[" * 100_000 + "\n"), "line 1"),
        (lambda path: path.write_text(signed('{"step":0,"error":NaN}')), "NaN is no number"),
        (lambda path: path.write_text(signed('{"step":0,"step":0}')), "stands there twice"),
        (lambda path: path.write_text(signed("[" * 100_000 + "1" + "]" * 100_000)), "line 1"),
        (lambda path: path.write_text(signed('{"step":true}')), "got step True"),
        (lambda path: path.write_text(signed('{"end":[],"step":0}')), "no trial ends with []"),
        (lambda path: path.write_text(signed('{"end":"diverged","step":1}')), "without an eval"),
    ],
)
def test_a_damaged_record_is_named_and_the_others_are_reported(
    told, two_studies, tmp_path, make, words
):
    folder = tmp_path / "run"
    shutil.copytree(two_studies / RUN, folder)
    record = min((folder / "trials").glob("*.jsonl"))
    record.unlink()
    make(record)
    code, printed = told("report", folder)
    assert code == 0
    assert f"Damaged: trials/{record.name}" in printed
    assert words in printed


def signed(body):
    """Return a line of a record with the checksum of its body."""
    return f'{body[:-1]},"crc32":"{zlib.crc32(body.encode()):08x}"}}\n'


def test_a_value_of_another_kind_than_the_others_have_is_named(told, two_studies, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(two_studies / RUN, folder)
    record = min((folder / "trials").glob("*.jsonl"))
    first, *rest = record.read_text().splitlines(keepends=True)
    entry = _lines.decode(first.rstrip())
    field = next(name for name, value in entry.items() if isinstance(value, float))
    record.write_text(_lines.encode({**entry, field: ["x"]}) + "".join(rest))
    code, printed = told("report", folder)
    assert code == 0
    assert f"line 1: {field} is a list of a text, elsewhere a number" in printed


def test_a_report_imports_no_model_of_a_user(told, two_studies, tmp_path, monkeypatch):
    """What a configuration names is not run."""
    folder = tmp_path / "run"
    shutil.copytree(two_studies / RUN, folder)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    own = {"model": "evil:model", "data": "evil:data"}
    rewrite("config.json", study="landscape", task="own", own=own)(folder)
    code, _ = told("report", folder)
    assert code == 2
    assert not (tmp_path / "canary").exists()
