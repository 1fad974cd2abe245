"""`import batchnorm` stays cheap, and the public names are those of the documentation."""

import subprocess
import sys

import pytest

import batchnorm

OPTIONAL = (
    "numba llvmlite triton typer rich sklearn plotly jinja2 safetensors batchnorm.bench "
    "batchnorm.lab batchnorm.cli sympy keras tensorflow jax flax onnx onnxruntime"
)


def loaded_after(statement):
    """Name the modules that a statement loads beside those of torch."""
    code = f"import sys, torch; torchs = set(sys.modules); {statement}; "
    code += "print(*set(sys.modules) - torchs)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_optional_package():
    found = loaded_after("import batchnorm, batchnorm.integrations")
    assert not set(OPTIONAL.split()) & found


def test_the_test_above_can_fail():
    assert "numba" in loaded_after("import batchnorm, numba")


def test_import_compiles_and_computes_nothing():
    code = (
        "import torch; torch.Tensor.add = torch.empty = None\n"
        "import batchnorm; print(batchnorm.kernels._select._load.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


NAMES = (
    "nn functional reference measure surgery integrations Moments backend convert revert insert "
    "fold recalibrate adapt freeze unfreeze no_decay_groups average_statistics pool_statistics"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_public_names(name):
    assert hasattr(batchnorm, name)


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert batchnorm.__version__ == version("batchnorm")
