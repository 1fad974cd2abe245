"""The compiled CPU backend as a citizen of the process it runs in."""

import math
import os
import platform
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from batchnorm import kernels, nn
from support.layers.cases import lay_out

if "cpu" not in kernels.available():
    pytest.skip("the compiled CPU backend cannot be had here", allow_module_level=True)

from batchnorm.kernels import Call, GradientCall, _cpu, _mask
from batchnorm.kernels._cpu import _launch, _memory, _plan

SHAPES = [
    ((4, 3, 40, 40), "contiguous"),
    ((32, 64, 14, 14), "contiguous"),
    ((33, 70, 7, 7), "contiguous"),
    ((4000, 7), "contiguous"),
    ((8, 24, 16, 16), "channels_last"),
]


def planned(x):
    return _plan.plan(x.shape, x.stride(), x.element_size(), torch.get_num_threads())


def both(x, weight):
    out = _cpu.forward(Call(x, weight))
    call = GradientCall(x.cos(), x, weight, None, None, out.statistics, None, 1e-5, True)
    return [*out[:2], *_cpu.backward(call)[:3]]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_two_runs_give_the_same_bits(shape, layout, count, threads):
    threads(count)
    x, weight = lay_out(torch.randn(shape), layout), torch.randn(shape[1])
    for first, second in zip(both(x, weight), both(x.clone(), weight), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(("shape", "layout"), SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_streaming_past_the_cache_changes_the_order_of_sums_only(shape, layout, dtype, monkeypatch):
    x, weight = lay_out(torch.randn(shape).to(dtype), layout), torch.randn(shape[1])
    plain = both(x, weight)
    kinds = []
    inner = _launch.kernel
    monkeypatch.setattr(_launch, "kernel", lambda *key: kinds.append(key[-1]) or inner(*key))
    monkeypatch.setattr(_launch, "cache_sizes", lambda: (2**20, 1024))
    _launch.launch.cache_clear()
    streamed, again = both(x, weight), both(x, weight)
    _launch.launch.cache_clear()
    assert kinds == [True, True]
    tolerance = 1e-5 if dtype == torch.float32 else 2**-7
    for first, second, third in zip(plain, streamed, again, strict=True):
        torch.testing.assert_close(second, first, rtol=tolerance, atol=tolerance)
        assert torch.equal(second, third)


def test_several_python_threads_at_once():
    x, weight = torch.randn(16, 32, 14, 14), torch.randn(32)
    expected, wrong = both(x, weight), []

    def work():
        for _ in range(20):
            found = both(x, weight)
            if not all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)):
                wrong.append(found)

    running = [threading.Thread(target=work) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not wrong


class Normalized(torch.utils.data.Dataset):
    layer = nn.BatchNorm2d(3, affine=False)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.layer(torch.full((1, 3, 40, 40), float(index)) + torch.arange(40.0))[0]


def test_works_in_forked_data_loader_workers():
    data = Normalized()
    here = torch.stack([data[i] for i in range(4)])  # the pool has been used before the fork
    loader = torch.utils.data.DataLoader(
        data, batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert torch.equal(next(iter(loader)), here)


def run(code, *words, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


USE = "import torch, batchnorm; print(batchnorm.nn.BatchNorm1d(3)(torch.ones(4, 3)).sum().item())"


def test_without_numba_the_eager_backend_serves_and_says_so_once():
    done = run(f"import sys; sys.modules['numba'] = None; {USE}; {USE}")
    assert done.stdout.split() == ["0.0", "0.0"]
    assert done.stderr.count("batchnorm cannot use its cpu backend here") == 1


def test_without_the_symbol_the_eager_backend_serves_and_says_so():
    code = f"""
import ctypes
class Old(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "torch_parallel_for":
            raise AttributeError("undefined symbol: " + name)
        return super().__getattr__(name)
import torch
ctypes.CDLL = Old
{USE}"""
    done = run(code)
    assert done.stdout.strip() == "0.0"
    assert "undefined symbol: torch_parallel_for" in done.stderr


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop_it():
    done = run(USE, NUMBA_CACHE_DIR="/proc/none", HOME="/proc/none", XDG_CACHE_HOME="/proc/none")
    assert done.stdout.strip() == "0.0", done.stderr


def test_one_thread_means_one_thread():
    code = """
import os, torch, batchnorm
torch.set_num_threads(1)
layer = batchnorm.nn.BatchNorm2d(64)
layer(torch.randn(8, 64, 30, 30, requires_grad=True)).sum().backward()  # compiles, starts autograd
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    layer(torch.randn(8, 64, 30, 30, requires_grad=True)).sum().backward()
print(len(os.listdir("/proc/self/task")) - before, torch.get_num_threads())
"""
    done = run(code)
    assert done.stdout.split() == ["0", "1"], done.stderr


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.booleans(), st.integers(1, 3))
@example([10_000, 2, 10], False, 2)
@example([10_000, 1, 2], False, 1)
def test_every_mask_has_room_for_the_bits_of_its_plan(shape, last, threads):
    stride, step = [0] * len(shape), 1
    order = [0, *range(2, len(shape)), 1] if last else range(len(shape))
    for dimension in reversed(order):
        stride[dimension], step = step, step * shape[dimension]
    for whole in (False, True):
        found = _plan.plan(tuple(shape), tuple(stride), 4, threads, whole=whole)
        assert found.mask < _mask.size(math.prod(shape)), "the last byte is the writer's"


def test_plans_are_what_their_shapes_need():
    tiny = planned(torch.empty(2, 8, 4, 4))
    assert tiny.tasks == 1
    assert planned(torch.empty(4, 64, 30, 30)).layout == "planes"
    large = (32, 256, 56, 56), (802816, 3136, 56, 1), 4
    for threads in (1, 2, 8):  # the values of a task stay in a core's own cache
        assert _plan.plan(*large, threads).tasks == 256
        assert _plan.plan(*large, threads, whole=True).tasks == threads
    last = torch.empty(4, 64, 30, 30).contiguous(memory_format=torch.channels_last)
    assert planned(last).layout == "rows"
    assert planned(torch.empty(8, 64, 30, 30)[..., ::2]) is None


# Numba's names for processors of 128 and of 256 bits, without an instruction for bfloat16.
OTHERS = {"ivybridge": "+avx,+f16c", "haswell": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2"}
AGREE = """
import sys
import torch
from batchnorm.kernels import Call, GradientCall, _cpu, _eager
from batchnorm.kernels._cpu import _vectors
torch.manual_seed(0)
for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float32, 1e-5)):
    for shape, last in (((5, 6, 7, 7), False), ((9, 7, 5, 5), True)):
        few = "few" in sys.argv  # each kernel takes seconds to compile
        if few and (last, dtype) != (True, torch.bfloat16):
            continue
        format = torch.channels_last if last else torch.contiguous_format
        x, r, dy = (torch.randn(shape).to(dtype, memory_format=format) for _ in range(3))
        found = []
        for backend in (_cpu, _eager):
            out = backend.forward(Call(x, residual=r, activation="relu"))
            found.append([out.y, out.statistics])
            if few:
                continue
            inputs = dy, x, None, None, None, out.statistics, out.mask
            gradients = backend.backward(GradientCall(*inputs, 1e-5, True, True, "relu"))
            found[-1] += [gradients.dx, gradients.dresidual]
        for a, b in zip(*found):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
x = torch.tensor([[torch.nan, 1.0], [0.0, torch.inf]], dtype=torch.bfloat16)
x = x.repeat(2, 1)
call = Call(x, residual=torch.zeros_like(x), activation="relu")
assert _cpu.forward(call).y.isnan().all()
print(_vectors.REGISTER)
"""


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("haswell", "few"),
        pytest.param("haswell", "all", marks=pytest.mark.slow),
        pytest.param("ivybridge", "all", marks=pytest.mark.slow),
    ],
)
def test_other_processors(name, kinds, tmp_path):
    chosen = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": OTHERS[name]}
    if not _memory.processor_has("avx2"):
        pytest.skip("this processor cannot run the instructions of the others")
    done = run(AGREE, kinds, **chosen, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == {"ivybridge": "16", "haswell": "32"}[name]


def test_a_processor_without_half_precision_is_served_by_the_eager_backend():
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("only these processors came without")
    done = run(USE, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert done.stdout.strip() == "0.0"
    assert "needs a processor that converts float16" in done.stderr
