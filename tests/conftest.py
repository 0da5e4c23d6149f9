"""Every test starts from the same random numbers, so that it passes or fails for a reason.

`--execute-notebooks` (or MTLKIT_FRESH=1) is for the tests of what notebooks claim, see
tests/notebooks/conftest.py.
"""

import random

import numpy as np
import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--execute-notebooks",
        action="store_true",
        help="test a notebook's claims on a new run with full sizes, not on stored records",
    )


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Seed Python's, NumPy's and torch's global generators before each test."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
