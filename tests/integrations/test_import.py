"""The integrations convert what other libraries hold without importing them."""

import subprocess
import sys


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_other_library():
    others = {"keras", "tensorflow", "jax", "flax", "onnx", "onnxruntime"}
    assert not others & (
        loaded_after("import batchnorm.integrations") - loaded_after("import torch")
    )


def test_the_test_above_can_fail():
    assert "onnx" in loaded_after("import batchnorm.integrations, onnx")
