"""Shared by all tests: no test waits for, or delays, a training that runs on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from frugalseg.locking import FOLDER_VARIABLE


@pytest.fixture(scope="session", autouse=True)
def own_training_lock() -> Iterator[None]:
    """A lock folder of this test process's own, inherited by the commands it starts."""
    with tempfile.TemporaryDirectory(prefix="frugalseg-tests-", ignore_cleanup_errors=True) as folder:
        before = os.environ.get(FOLDER_VARIABLE)
        os.environ[FOLDER_VARIABLE] = folder
        yield
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before
