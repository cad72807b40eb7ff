"""Shared by all tests: they neither wait for nor delay a training of this machine, and leave the user's state alone."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator

import pytest
from narrow_nets import narrow_unet

from frugalseg.locking import FOLDER_VARIABLE
from frugalseg.shipped import STATE_VARIABLE

# Shells let what runs in the background ignore Ctrl-C, and so do its children; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_folders() -> Iterator[None]:
    """Folders of this test process's own for locks and state, inherited by the commands it starts."""
    with (
        tempfile.TemporaryDirectory(prefix="frugalseg-tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(FOLDER_VARIABLE, folder)
        patch.setenv(STATE_VARIABLE, folder)
        yield


@pytest.fixture
def narrow() -> Iterator[None]:
    """A U-Net with hardly any channels in this test."""
    with narrow_unet():
        yield
