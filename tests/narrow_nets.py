"""A U-Net with hardly any channels: the steps of its training take next to no time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

CHANNELS = (4, 8, 8, 8, 8)


@contextlib.contextmanager
def narrow_unet(channels: tuple[int, ...] = CHANNELS) -> Iterator[None]:
    """`unet` with these channels, and torch with one thread, as long as the block runs."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frugalseg.nets.unet.CHANNELS", channels)
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)
