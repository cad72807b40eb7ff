"""Settings of an ensemble. Imports no torch, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass

from frugalseg.train.config import setting
from frugalseg.train.quantize_config import QuantizeConfig, Quantizer


@dataclass(frozen=True)
class EnsembleConfig:
    """How many members, what makes them differ, and how many bits they have."""

    members: int = setting(5, "networks of the ensemble")
    method: Quantizer = setting("inq", "quantizer of the members; 'none' leaves them float")
    bits: int | None = setting(None, "bits a weight; the method's usual number if not given")
    quantize_steps: int = setting(80, "steps of each member's quantized phase; 0 rounds the float weights")
    shared_trunk: bool = setting(
        False, "one float network, and each member only a phase from it on a bootstrap sample of its own: cheaper"
    )

    def __post_init__(self) -> None:
        for name, lowest in {"members": 1, "quantize_steps": 0}.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if self.shared_trunk and self.method == "none" and not self.quantize_steps:
            raise ValueError("quantize_steps must be at least 1 where float members share a trunk: they would be equal")

        if self.method == "none" and self.bits is not None:
            raise ValueError("bits mean nothing without a quantizer: members stay float")

    def phase(self, member: int) -> QuantizeConfig | None:
        """Settings of a member's phase after the float one; None for none.

        Members of one trunk freeze different portions, too, where their method freezes any.
        """
        if self.method == "none" and not self.shared_trunk:
            return None
        portions = PORTIONS[member % len(PORTIONS)] if self.shared_trunk and self.method == "inq" else None
        steps = self.quantize_steps
        return QuantizeConfig(
            method=self.method,
            bits=self.bits,
            steps=steps,
            portions=portions,
            norm_batches=min(NORM_BATCHES, steps or NORM_BATCHES),  # measuring shall not take longer than training
        )


def member_seed(seed: int, index: int) -> int:
    """A member's own seed: the first hundred members of two seeds share none."""
    return (100 * seed + index) % 2**63


NORM_BATCHES = QuantizeConfig().norm_batches

PORTIONS: tuple[tuple[float, ...], ...] = (
    (0.5, 0.75, 0.875, 1.0),
    (0.3, 0.6, 0.8, 1.0),
    (0.6, 0.9, 1.0),
    (0.4, 0.7, 0.9, 1.0),
    (0.25, 0.5, 0.75, 1.0),
)
"""Accumulated portions by member; the first are those of INQ's authors."""
