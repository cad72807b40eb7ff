"""Training: plan a run, prepare the data, one loop, a run folder."""

from __future__ import annotations

from frugalseg.train.config import PRESETS, TrainConfig

__all__ = ["PRESETS", "TrainConfig", "train"]


def __getattr__(name: str) -> object:
    """Give :func:`frugalseg.train.run.train` when asked for; it imports torch, the settings do not."""
    if name == "train":
        from frugalseg.train.run import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
