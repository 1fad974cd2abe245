"""All providers do the same: what is timed is worth comparing."""

import shutil

import pytest
import torch

from batchnorm.bench import Case
from batchnorm.bench._cases import DIRECTIONS, DTYPES
from batchnorm.bench._providers import PROVIDERS, _blocks, draw, reason

SHAPE = (4, 6, 5, 5)
CASES = [
    Case("sites", "plain", SHAPE),
    Case("relu", "relu", SHAPE, rectified=True),
    Case("add-relu", "added", SHAPE, rectified=True, residual=True),
    Case("tiny", "dense", (12, 7)),
]
# One rounding of the output, and for torch's bfloat16 path one more of each step.
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "bfloat16": {"rtol": 0.04, "atol": 0.06}}
CELLS = [
    pytest.param(case, dtype, layout, id=f"{case.name}-{dtype}-{layout}")
    for case in CASES
    for dtype in DTYPES
    for layout in case.layouts
]


def dense(found):
    tensors = found if isinstance(found, (tuple, list)) else [found]
    return [
        (t.to_dense() if t.layout != torch.strided else t).detach().float()
        for t in tensors
        if t is not None
    ]


def answer(provider, case, dtype, layout, direction, level="module"):
    inputs = draw(case, dtype, layout)
    with (
        _blocks.repeatable(),
        torch.set_grad_enabled(direction != "inference" and level == "module"),
    ):
        subject = PROVIDERS[provider].levels[level](case, inputs, direction != "inference")
        return dense(subject.job(direction)())


def of_onednn(*asked):
    """Return oneDNN's answer; on processors without instructions for bfloat16 it refuses that."""
    try:
        return answer("onednn", *asked)
    except RuntimeError as error:
        if asked[1] == "bfloat16" and "needs the cpu support" in str(error):
            pytest.skip(f"oneDNN has no bfloat16 on this processor: {error}")
        raise


def agree(found, expected, dtype):
    assert len(found) >= len(expected) > 0
    for ours, theirs in zip(found, expected, strict=False):
        assert torch.allclose(ours, theirs, **TOLERANCE[dtype]), (ours - theirs).abs().max()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("case", "dtype", "layout"), CELLS)
def test_ours_and_onednn_do_what_torch_does(case, dtype, layout, direction):
    expected = answer("torch", case, dtype, layout, direction)
    agree(answer("ours", case, dtype, layout, direction), expected, dtype)
    if len(case.shape) == 4:
        agree(of_onednn(case, dtype, layout, direction), expected, dtype)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_operators_do_the_same(dtype, direction):
    case = CASES[0]
    expected = answer("torch", case, dtype, "contiguous", direction, "operator")
    count = 1 if direction in ("forward", "inference") else 3
    found = answer("ours", case, dtype, "contiguous", direction, "operator")
    agree(found[:count], expected[:count], dtype)
    found = of_onednn(case, dtype, "contiguous", direction, "operator")
    agree(found[:count], expected[:count], dtype)


@pytest.mark.parametrize("case", CASES[2:3], ids=lambda case: case.name)
@pytest.mark.filterwarnings("ignore")  # what torch.compile says of itself
def test_the_compiled_one_does_the_same(case):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    for direction in ("forward-backward", "backward"):
        expected = answer("torch", case, "float32", "contiguous", direction)
        for _ in range(2):  # compiled, and from the cache of compiled graphs
            found = answer("compile", case, "float32", "contiguous", direction)
            agree(found, expected, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("case", "dtype", "layout"), CELLS)
@pytest.mark.filterwarnings("ignore")  # what torch.compile says of itself
def test_the_compiled_one_does_the_same_everywhere(case, dtype, layout, direction):
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    expected = answer("torch", case, dtype, layout, direction)
    agree(answer("compile", case, dtype, layout, direction), expected, dtype)


def test_training_directions_use_the_batch_and_inference_the_running_statistics():
    case = CASES[0]
    trained = answer("ours", case, "float32", "contiguous", "forward")[0]
    inferred = answer("ours", case, "float32", "contiguous", "inference")[0]
    assert not torch.allclose(trained, inferred, atol=1e-3)


def test_a_provider_that_cannot_be_had_says_why(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "C++ compiler" in PROVIDERS["compile"].absence("module")
    assert PROVIDERS["compile"].absence("operator") == "there is no operator level of it"
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "no oneDNN" in PROVIDERS["onednn"].absence("module")
    assert PROVIDERS["ours"].absence("module") is None


def test_a_reason_is_one_line_without_paths():
    found = reason(RuntimeError("cannot open /home/someone/.cache/a/b.cpp\nmore\n" + "x" * 999))
    assert found == "RuntimeError: cannot open b.cpp"
    assert len(reason(RuntimeError("x" * 999))) <= 200
