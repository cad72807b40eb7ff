"""Settings of a simulation. Imports no torch, so that ``--help`` stays fast."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.errors import ConfigError
from frugalseg.train.config import NetName, setting

NEEDS: dict[str, str] = {
    "random": "nothing",
    "cover": "one network",
    "kmeanspp": "one network",
    "foreground_random": "one network",
    "cold_cover": "nothing",
}
"""What a strategy looks at, where it is not the ensemble."""

COLD = "cold_cover"
"""Not a strategy of rounds: the first images are chosen by the pretrained encoder instead of at random."""


FIRST_RULES: Mapping[str, Any] = {"core_threshold": 0.55, "fragment": 0.0, "opening_px": 0.0, "stain_matching": False}
"""Settings of prediction in simulations and in the study: those of the first results, to which later ones are added."""


@dataclass(frozen=True)
class SimulationConfig:
    """What is played through, and how long each network is trained."""

    budgets: tuple[float, ...] = setting(
        (0.1, 0.25, 0.5), "annotated images at which networks are compared; numbers up to 1 are shares of the pool"
    )
    seeds: int = setting(3, "repetitions, each with first images of its own")
    first_seed: int = setting(0, "number of the first repetition, so that machines can share the work")
    steps: int = setting(300, "optimiser steps of each network that is compared")
    batch_size: int = setting(4, "patches per step")
    patch_px: int = setting(256, "side of a training patch")
    members: int = setting(3, "networks of an ensemble that suggests")
    quantize_steps: int = setting(60, "steps of each member's phase")
    shared_trunk: bool = setting(
        True, "members are phases from the compared network; else each is trained from the start"
    )
    window_px: int = setting(0, "suggest windows of this side instead of whole images; 0 means whole images")
    per_image: int = setting(2, "with windows: at most so many of one image at a time")
    net: NetName = setting("lite", "network that is compared, and that suggests")

    def __post_init__(self) -> None:
        if (
            not self.budgets
            or any(not value > 0 for value in self.budgets)
            or list(self.budgets) != sorted(set(self.budgets))
        ):
            raise ValueError(f"budgets must be positive and rise, not {self.budgets}")
        lowest = {
            "seeds": 1, "first_seed": 0, "steps": 1, "batch_size": 1, "patch_px": 32, "members": 1, "quantize_steps": 0,
            "window_px": 0, "per_image": 1,
        }  # fmt: skip
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    def counts(self, n_pool: int) -> tuple[int, ...]:
        """Annotated images at each budget.

        Raises
        ------
        ConfigError
            More than the pool holds, or counts that do not rise from budget to budget.
        """
        counts = tuple(round(value * n_pool) if value <= 1 else round(value) for value in self.budgets)
        rising = all(one < other for one, other in itertools.pairwise(counts))
        if counts[-1] > n_pool or counts[0] < 1 or not rising:
            raise ConfigError(
                "budgets", f"{self.budgets} of {n_pool} images are {counts}: too few, too many, or not rising"
            )
        return counts


@dataclass(frozen=True)
class Contender:
    """A strategy and the ensemble that it looks at, from a text such as ``suggestive``, ``suggestive:float``."""

    name: str
    strategy: str
    method: str
    bits: int | None

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read ``STRATEGY[:METHOD[-BITS]]``; the method is inq-5 if not given, ``float`` means no quantization.

        Raises
        ------
        ConfigError
            There is no such strategy or method.
        """
        from frugalseg.suggest import STRATEGIES

        strategy, _, quantizer = text.partition(":")
        if strategy not in (*STRATEGIES, COLD):
            raise ConfigError("strategies", f"no strategy {strategy!r}; there are {', '.join((*STRATEGIES, COLD))}")
        method, _, bits = (quantizer or "inq-5").partition("-")
        method = "none" if method == "float" else method
        if bits and not bits.isdecimal():
            raise ConfigError("strategies", f"{text!r}: bits must be a number, not {bits!r}")
        try:
            contender = cls(text, strategy, method, int(bits) if bits else None)
            phase = contender.ensemble(SimulationConfig()).phase(0)
            if phase is not None and method != "none" and phase.spec is None:
                raise ConfigError("method", f"no quantizer {method!r}")
        except ConfigError as error:
            raise ConfigError("strategies", f"{text!r}: {error.problems[0].reason}") from None
        return contender

    @property
    def needs(self) -> str:
        """``nothing``, ``one network`` or ``ensemble``."""
        return NEEDS.get(self.strategy, "ensemble")

    def ensemble(self, config: SimulationConfig) -> EnsembleConfig:
        """The members it looks at."""
        values: dict[str, Any] = {"method": self.method, "bits": self.bits, "members": config.members}
        return EnsembleConfig(**values, quantize_steps=config.quantize_steps, shared_trunk=config.shared_trunk)
