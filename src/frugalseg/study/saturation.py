"""Why INQ with 7 bits stands for 6 and more: on normal weights the levels that more bits add are hardly used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from frugalseg.quant import ChannelLayout, code_entropy, level_table
from frugalseg.quant.inq import power_of_two, power_of_two_levels, top_exponent
from frugalseg.quant.measures import relative_rmse

BITS = (3, 4, 5, 6, 7, 9)
N_WEIGHTS = 590_000
"""Of a 3x3 convolution from 256 to 256 channels."""


@dataclass(frozen=True)
class Saturation:
    """What INQ makes of normal weights: relative error, bits of the codes, share of weights unlike those of 9 bits."""

    bits: int
    relative_rmse: float
    entropy: float
    differs_from_9: float


def saturation(seed: int = 0) -> list[Saturation]:
    """One entry for each of `BITS`; the same for the same seed."""
    weights = torch.from_numpy(np.random.default_rng(seed).standard_normal(N_WEIGHTS, dtype=np.float32))
    top = top_exponent(weights, ChannelLayout.of((N_WEIGHTS,), "layer"))
    levels = {bits: power_of_two_levels(weights, top, bits).numpy() for bits in BITS}
    scale = power_of_two(top).numpy()
    return [
        Saturation(
            bits=bits,
            relative_rmse=relative_rmse(weights.numpy(), level * scale) or 0.0,
            entropy=code_entropy(np.searchsorted(level_table("inq", bits), level).astype(np.uint16)),
            differs_from_9=float(np.mean(level != levels[9])),
        )
        for bits, level in levels.items()
    ]
