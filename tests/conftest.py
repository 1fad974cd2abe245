import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# The examples are the same in every run, so that a red build can be reproduced by its name alone.
settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 -- what hypothesis does not draw comes from one seed
