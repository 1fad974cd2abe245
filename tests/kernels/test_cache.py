"""The cache of compiled kernels on disk: damaged, full, or not to be written."""

import os
import subprocess
import sys

import pytest

from batchnorm.kernels._cpu import _compile

USE = "import torch, batchnorm; print(batchnorm.nn.BatchNorm1d(8)(torch.zeros(64, 8)).sum().item())"


def use(folder, before=""):
    return subprocess.run(
        [sys.executable, "-c", before + USE],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    assert use(folder).stdout.strip() == "0.0"
    return folder


DAMAGE = {
    "an empty index": ("*.nbi", lambda _: b""),
    "half an index": ("*.nbi", lambda content: content[: len(content) // 2]),
    "rubbish": ("*.nbi", lambda _: b"rubbish\n"),
    "half a kernel": ("*.nbc", lambda content: content[: len(content) // 2]),
}


@pytest.mark.parametrize(
    "kind",
    ["half a kernel", *(pytest.param(k, marks=pytest.mark.slow) for k in list(DAMAGE)[:3])],
)
def test_a_damaged_file_is_said_once_and_made_anew(filled, kind):
    pattern, damage = DAMAGE[kind]
    for path in filled.rglob(pattern):
        path.write_bytes(damage(path.read_bytes()))
    done = use(filled)
    assert done.stdout.strip() == "0.0", done.stderr
    assert done.stderr.count("damaged file in its cache of compiled kernels") == 1
    assert "Traceback" not in done.stderr
    again = use(filled)
    assert (again.stdout.strip(), again.stderr) == ("0.0", "")


class Full:
    def __init__(self, function):
        self.function = function

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_is_no_reason_to_stop(monkeypatch, caplog):
    def compiled(signature, *, cache=False):
        if cache:
            raise OSError(28, "No space left on device")
        return lambda function: function

    monkeypatch.setattr(_compile, "cfunc", compiled)
    monkeypatch.setattr(_compile, "_said", set())
    monkeypatch.setattr(_compile, "FunctionCache", Full)
    for _ in range(2):
        assert _compile._compile(len, "rows forward") is len
    warned = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(warned) == 1
    assert "No space left on device" in warned[0].getMessage()


def test_an_error_of_the_compiler_is_raised(monkeypatch):
    def broken(*_, **__):
        raise _compile.NumbaError("cannot determine type")

    monkeypatch.setattr(_compile, "cfunc", broken)
    with pytest.raises(_compile.NumbaError, match="cannot determine"):
        _compile._compile(len, "rows forward")
