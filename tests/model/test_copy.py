import threading

import pytest
import torch
from torch import nn

from batchnorm._model._copy import copied
from batchnorm.errors import SurgeryError


def test_a_result_left_on_a_module_is_copied_without_its_graph():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].kept = model(torch.ones(1, 2))
    twin = copied(model)
    assert torch.equal(twin[0].kept, model[0].kept)
    assert twin[0].kept is not model[0].kept
    assert not twin[0].kept.requires_grad
    assert model[0].kept.requires_grad
    assert twin[0].weight is not model[0].weight


def test_what_cannot_be_copied_is_refused():
    model = nn.Linear(2, 2)
    model.lock = threading.Lock()
    with pytest.raises(SurgeryError, match=r"copy.deepcopy can copy is needed, got TypeError \("):
        copied(model)
