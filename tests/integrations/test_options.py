"""docs/reference/options.md names every option of what is installed, with its true default."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from batchnorm import nn
from support.tools.installed import package

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "options.md"
DATA = {"self", "input", "inputs", "x"}


def rows(library, page):
    """Return the first table of a library: the name of each option, to the defaults it states."""
    section = re.search(rf"(?ms)^## {library}$(.*?)(?=^## )", page)[1]
    lines = re.search(r"(?ms)^\| option \|.*?(?=\n\n)", section)[0].splitlines()[2:]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert all(len(row) == 3 and row[2].strip() for row in cells)
    return {re.search("`(.+?)`", row[0])[1]: re.findall("`(.+?)`", row[1]) for row in cells}


def options(*functions):
    """Return the parameters of functions, without the data that they work on."""
    return [
        parameter
        for function in functions
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in DATA
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]


def check(library, *functions, but=(), page=None):
    """Compare a table with signatures, but for parameters that are no options."""
    table = rows(library, page or PAGE.read_text())
    found = [parameter for parameter in options(*functions) if parameter.name not in but]
    assert set(table) == {parameter.name for parameter in found}
    for parameter in found:
        stated = table[parameter.name]
        if parameter.default is parameter.empty:
            assert stated == [], parameter
        elif isinstance(parameter.default, bool | int | float | str | None):
            assert repr(parameter.default) in stated, parameter


TORCHS = [getattr(torch.nn, f"{kind}BatchNorm{n}d") for kind in ("", "Lazy") for n in (1, 2, 3)]
TORCHS = [layer.__init__ for layer in (*TORCHS, torch.nn.SyncBatchNorm)]


def test_torch():
    check("torch", *TORCHS)


@pytest.mark.parametrize(
    ("row", "damaged"),
    [
        (r"\| `eps` \|.*\n", ""),
        (r"\| `eps` \|", "| `epsilon` |"),
        (r"\| `eps` \| `1e-05`", "| `eps` | `0.001`"),
        (r"\| `num_features` \| ", "| `num_features` | `3`"),
    ],
    ids=["lost", "renamed", "other default", "default where there is none"],
)
def test_the_test_above_can_fail(row, damaged):
    page = re.sub(row, damaged, PAGE.read_text())
    with pytest.raises(AssertionError):
        check("torch", *TORCHS, page=page)


def test_the_arguments_of_torchs_function():
    named = re.search(r"functional\.batch_norm\((.*?)\)", PAGE.read_text())[1]
    assert named.split(", ") == list(inspect.signature(torch.nn.functional.batch_norm).parameters)


def test_keras(keras):
    layer = keras.layers.BatchNormalization
    check("Keras", layer.__init__, keras.layers.Layer.__init__, layer.call)


def test_flax():
    pytest.importorskip("flax", reason="the peer is not installed")
    from flax import linen, nnx

    layers = linen.BatchNorm, nnx.BatchNorm
    functions = [function for layer in layers for function in (layer.__init__, layer.__call__)]
    check("flax", *functions, but={"parent", "name"})


def test_onnx():
    onnx = pytest.importorskip("onnx", reason="the operator's own package is not installed")
    schema = onnx.defs.get_schema("BatchNormalization", onnx.defs.onnx_opset_version(), "")
    table = rows("ONNX", PAGE.read_text())
    assert {name: float(default) for name, (default,) in table.items()} == {
        name: pytest.approx(value.default_value.f or value.default_value.i)
        for name, value in schema.attributes.items()
    }


def test_timm():
    layers = package("timm.layers")
    check("timm", layers.BatchNormAct2d.__init__)
    for name in ("create_norm_layer", "create_norm_act_layer"):
        named = re.search(rf"`{name}\((.*?)\)`", PAGE.read_text())[1]
        function = getattr(layers, name)
        assert named.replace("*", "").split(", ") == list(inspect.signature(function).parameters)


def test_inplace_abn():
    package = pytest.importorskip("inplace_abn", reason="the peer is not installed")
    layers = package.ABN, package.InPlaceABN, package.InPlaceABNSync
    check("inplace_abn", *(layer.__init__ for layer in layers))


def test_ours():
    theirs = inspect.signature(torch.nn.BatchNorm2d).parameters
    check("Only here", nn.BatchNorm2d.__init__, nn.BatchNorm2d.forward, but=theirs)
