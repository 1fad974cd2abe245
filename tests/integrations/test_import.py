"""The integrations convert what other libraries hold without importing them."""

import subprocess
import sys


def loaded_after(statement):
    """Name the modules that a statement loads beside those of torch."""
    code = f"import sys, torch; torchs = set(sys.modules); {statement}; "
    code += "print(*set(sys.modules) - torchs)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_other_library():
    others = {"keras", "tensorflow", "jax", "flax", "onnx", "onnxruntime"}
    assert not others & loaded_after("import batchnorm.integrations")


def test_the_test_above_can_fail():
    assert "onnx" in loaded_after("import batchnorm.integrations, onnx")
