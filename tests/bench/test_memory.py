import pytest
import torch
from torch import nn

from batchnorm.bench import _memory


def test_the_peak_is_that_of_a_known_sequence():
    def job():
        first = torch.empty(1000)  # 4000
        second = torch.empty(2000)  # 12000
        del first  # 8000
        return torch.empty(500), second  # 10000

    assert _memory.peak(job) == 12_000


def test_what_was_there_before_and_what_is_freed_does_not_count():
    there = [torch.empty(10_000)]

    def job():
        there.clear()
        return torch.empty(100)

    assert _memory.peak(job) == 400
    assert _memory.peak(lambda: None) == 0


def test_kept_leaves_out_parameters_and_counts_a_storage_once():
    linear = nn.Linear(100, 50, bias=False)
    x = torch.randn(8, 100, requires_grad=True)
    assert _memory.kept(lambda: linear(x), linear.parameters()) == 8 * 100 * 4
    assert _memory.kept(lambda: linear(x), []) == (8 + 50) * 100 * 4
    assert _memory.kept(lambda: x * x.t().t(), []) == 8 * 100 * 4


def test_kept_counts_opaque_tensors():
    x = torch.randn(2, 8, 4, 4).to_mkldnn().requires_grad_()
    layer = nn.BatchNorm2d(8)
    size = 2 * 8 * 4 * 4 * 4
    found = _memory.kept(lambda: torch.relu_(layer(x)), layer.parameters())
    assert 2 * size <= found <= 2 * size + 8 * 4 * 4


@pytest.mark.parametrize("count", [1, 3])
def test_a_forward_pass_that_keeps_nothing(count):
    x = torch.randn(10, requires_grad=True)
    assert _memory.kept(lambda: x + count, []) == 0
