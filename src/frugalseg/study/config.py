"""Settings of the study. Imports no torch, so that ``--help`` stays fast."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from frugalseg.ensemble.config import member_seed
from frugalseg.simulation.config import FIRST_RULES, SimulationConfig
from frugalseg.study.grid import EVERY, StudyCell
from frugalseg.train.config import NetName, TrainConfig, setting
from frugalseg.train.quantize_config import QuantizeConfig

HALF = 0.5


@dataclass(frozen=True)
class StudyConfig:
    """How networks are trained, and how the images that they are trained on are chosen; all of it ours."""

    steps: int = setting(800, "optimiser steps of each network before its phase")
    batch_size: int = setting(4, "patches per step")
    patch_px: int = setting(256, "side of a training patch")
    phase_steps: int = setting(240, "further steps: of the quantized phase, and of its controls")
    phase_rate: float = setting(
        2e-3, "peak learning rate of the phase; no worse than 5e-4 on held-out patients, better for TWN"
    )
    strong_decay: float = setting(0.2, "weight decay of the training 'decay'; the others have 0.02")
    threads: int = setting(1, "threads of each training; weights are the same for the same number; 0 means all cores")
    suggest_net: NetName = setting("lite", "network that chooses the images")
    suggest_budgets: tuple[float, ...] = setting(
        (0.1, 0.25, 0.5), "shares of the images after which the next are chosen; the last is 0.5"
    )
    suggest_steps: int = setting(300, "optimiser steps of each network that chooses")
    suggest_batch_size: int = setting(4, "patches per step of networks that choose")
    suggest_patch_px: int = setting(256, "side of their training patches")
    suggest_members: int = setting(3, "networks of the ensemble that chooses")
    suggest_phase_steps: int = setting(60, "steps of each member's phase")
    suggest_trunk: bool = setting(True, "members are phases of one float network; else each is trained from the start")

    def __post_init__(self) -> None:
        lowest = {"steps": 1, "batch_size": 1, "patch_px": 32, "phase_steps": 1, "threads": 0, "strong_decay": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not self.phase_rate > 0:
            raise ValueError(f"phase_rate must be positive, not {self.phase_rate}")
        if not self.suggest_budgets or self.suggest_budgets[-1] != HALF:
            raise ValueError(f"suggest_budgets must end with {HALF}, not {self.suggest_budgets}")
        try:
            self.simulation(1, 0)
        except ValueError as error:
            raise ValueError(f"suggest_{error}") from None

    def simulation(self, seeds: int, first_seed: int) -> SimulationConfig:
        """Settings of the simulation that chooses images."""
        return SimulationConfig(
            budgets=self.suggest_budgets,
            seeds=seeds,
            first_seed=first_seed,
            steps=self.suggest_steps,
            batch_size=self.suggest_batch_size,
            patch_px=self.suggest_patch_px,
            members=self.suggest_members,
            quantize_steps=self.suggest_phase_steps,
            shared_trunk=self.suggest_trunk,
            net=self.suggest_net,
        )

    def float_training(self, net: str, seed: int, member: int) -> TrainConfig:
        """Settings of a network before its phase; members of one seed differ in weights and patches."""
        values: dict[str, Any] = {"net": net}
        return TrainConfig(
            **values,
            steps=self.steps,
            batch_size=self.batch_size,
            patch_px=self.patch_px,
            validate_every=self.steps,
            **FIRST_RULES,
            checkpoint_every=max(1, self.steps // 8),
            threads=self.threads,
            seed=member_seed(seed, member),
        )

    def phase(self, training: str) -> QuantizeConfig | None:
        """Settings of the phase of a training; None for ``float-plain``, which has none."""
        if training == "float-plain":
            return None
        values: dict[str, Any] = {"steps": self.phase_steps, "learning_rate": self.phase_rate}
        if training in ("float", "decay"):
            decay = self.strong_decay if training == "decay" else None
            return QuantizeConfig("none", **values, weight_decay=decay)
        method, _, bits = training.partition("-")
        method_and_bits: dict[str, Any] = {"method": method, "bits": int(bits) if bits else None}
        return QuantizeConfig(**method_and_bits, **values)

    def digest(self, cell: StudyCell) -> str:
        """A hash of the settings that decide a cell; those of the selection only where there is one."""
        values = dataclasses.asdict(self)
        if cell.selection == EVERY:
            values = {name: value for name, value in values.items() if not name.startswith("suggest_")}
        return hashlib.sha256(json.dumps([cell.net, values], sort_keys=True).encode()).hexdigest()[:12]


PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cpu": {
        "lite": {},
        "fcn": {"steps": 240, "phase_steps": 80},
    },
    "gpu": {
        net: {
            "steps": 4000,
            "batch_size": 16,
            "phase_steps": 1200,
            "threads": 0,
            "suggest_net": net,
            "suggest_budgets": (0.1, 0.2, 0.3, 0.4, 0.5),
            "suggest_steps": 1500,
            "suggest_batch_size": 16,
            "suggest_members": 5,
            "suggest_phase_steps": 300,
            "suggest_trunk": False,
        }
        for net in ("lite", "fcn")
    },
}
"""Settings that presets change, by preset and network."""

SECONDS_A_STEP = {"lite": 0.65, "fcn": 3.3}
"""Of one of two threads at work on an idle server processor with bf16, four patches of 256 pixels: for estimates."""


def estimated_minutes(cell: StudyCell, config: StudyConfig, trained: set[tuple[object, ...]]) -> float:
    """Minutes of one thread for the networks of a cell that are not in `trained`, to which they are added."""
    seconds = SECONDS_A_STEP[cell.net] * config.batch_size / 4 * (config.patch_px / 256) ** 2
    steps = 0
    for member in range(cell.n_networks):
        for training, length in (("float-plain", config.steps), (cell.training, config.phase_steps)):
            network = (cell.net, cell.selection, cell.seed, member, training)
            if network not in trained:
                trained.add(network)
                steps += length
    return steps * seconds / 60
