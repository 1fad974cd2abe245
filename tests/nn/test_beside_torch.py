from pathlib import Path

import beside_torch
import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "beside-torch.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own compiler, of itself
@pytest.mark.parametrize("case", beside_torch.CASES, ids=lambda case: case.run.__name__)
def test_right_where_torch_is_not(case):
    torch.manual_seed(0)
    ours, theirs = case.run("batchnorm"), case.run("torch")
    assert ours.right, ours.words
    assert not theirs.right, f"torch does it right now: take the line out ({theirs.words})"


def test_every_case_has_its_line():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [line.split(" (")[0].split(" | ")[0].removeprefix("| ") for line in lines] == [
        case.title.split(" (")[0] for case in beside_torch.CASES
    ]
