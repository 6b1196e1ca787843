"""These tests compute with one torch thread: quicker on small tensors, and sums have one order."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread(one_thread):
    pass
