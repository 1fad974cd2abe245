import logging

import pytest
import torch

from batchnorm import functional, kernels
from batchnorm.errors import BackendError
from batchnorm.kernels import _select


def test_a_missing_backend_is_an_error_that_names_those_there():
    with (
        pytest.raises(BackendError, match=r"one of .*eager.*, got 'gpu9': choose one"),
        kernels.backend("gpu9"),
    ):
        pass


def test_the_choice_ends_with_the_block_even_after_an_error():
    before = _select._chosen

    def fail():
        with kernels.backend("eager"):
            assert _select._chosen == "eager"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _select._chosen == before


def test_the_automatic_choice_is_said_once(caplog):
    _select._of_device.cache_clear()
    _select._automatic.cache_clear()
    with caplog.at_level(logging.INFO, logger="batchnorm"):
        for _ in range(3):
            functional.normalize(torch.randn(4, 2))
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("batchnorm computes on cpu with the ")


@pytest.mark.parametrize("name", kernels.available())
def test_every_backend_has_the_common_signatures(name):
    import inspect

    from batchnorm.kernels import _eager

    found = _select._load(name)
    for function in ("forward", "backward"):
        wanted = list(inspect.signature(getattr(_eager, function)).parameters)
        assert list(inspect.signature(getattr(found, function)).parameters) == wanted
