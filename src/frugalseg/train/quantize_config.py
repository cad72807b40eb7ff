"""Settings of a quantized phase. Imports neither torch nor numpy at the top, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from frugalseg.train.config import setting

if TYPE_CHECKING:
    from frugalseg.quant.spec import QuantSpec

Quantizer = Literal["none", "inq", "dorefa", "twn", "ttq", "lsq"]
"""What a network that is used may have gone through."""

PhaseMethod = Literal["none", "inq", "dorefa", "twn", "ttq", "lsq", "freeze", "noise"]
"""The same and the controls."""

CONTROLS = ("freeze", "noise")
"""INQ's schedule without its levels; what comes out has float weights."""


@dataclass(frozen=True)
class QuantizeConfig:
    """All settings of one quantized phase; each is also a flag of ``frugalseg quantize`` and a key of its TOML file."""

    method: PhaseMethod = setting(
        "inq",
        "quantizer; controls that leave float weights: 'none' only trains on, 'freeze' goes by INQ's schedule but keeps"
        " the values it freezes, 'noise' adds noise as large as INQ's error to them",
    )
    bits: int | None = setting(None, "bits a weight; the method's usual number if not given; with 'noise' those of INQ")
    granularity: Literal["layer", "channel"] | None = setting(
        None, "what shares a scale; the method's usual one if not given"
    )
    portions: tuple[float, ...] | None = setting(
        None, "INQ: accumulated portions of the weights to freeze, rising to 1; 0.5,0.75,0.875,1 if not given"
    )
    float_layers: tuple[str, ...] = setting((), "patterns of names of layers whose weights stay float")
    steps: int = setting(600, "optimiser steps of the phase; 0 quantizes the trained weights as they are")
    cycles: int = setting(4, "the learning rate starts anew so often; with INQ once for each portion")
    learning_rate: float = setting(5e-4, "peak rate of AdamW in each cycle")
    warmup: float = setting(0.1, "share of each cycle in which the rate rises")
    weight_decay: float | None = setting(None, "weight decay of the phase; the source's if not given")
    entropy_factor: float = setting(
        0.0, "LSQ: weight in the loss of the bits a weight's code holds on the mean; the more, the smaller the file"
    )
    distillation: float = setting(0.5, "with teachers: share of the loss that imitates them, 0 to 1")
    norm_batches: int = setting(50, "batches on which the statistics of batch normalisation are measured at the end")

    def __post_init__(self) -> None:
        lowest_values = {"steps": 0, "cycles": 1, "norm_batches": 0, "learning_rate": 0, "entropy_factor": 0}
        for name, lowest in lowest_values.items():
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if self.weight_decay is not None and not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must be at least 0, not {self.weight_decay}")
        if self.entropy_factor and self.method != "lsq":
            raise ValueError(f"entropy_factor goes with the method lsq, not {self.method}")
        if self.method == "none":
            for name in ("bits", "granularity", "float_layers"):
                if getattr(self, name):
                    raise ValueError(f"{name} means nothing where weights stay float (method none)")
        if self.portions is not None and self.method not in ("inq", *CONTROLS):
            raise ValueError(f"portions go with the method inq, not {self.method}")
        for name in ("warmup", "distillation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")

    @property
    def schedule(self) -> QuantSpec | None:
        """Which layers get a quantizer or a control, and INQ's portions; None where training only goes on.

        Raises
        ------
        ConfigError
            The method cannot do what is asked for.
        """
        from frugalseg.quant.spec import PORTIONS, QuantSpec

        if self.method == "none":
            return None
        method = "inq" if self.method in CONTROLS else self.method
        portions = PORTIONS if self.portions is None else self.portions
        return QuantSpec.of(method, self.bits, self.granularity, portions=portions, float_layers=self.float_layers)  # type: ignore[arg-type]

    @property
    def spec(self) -> QuantSpec | None:
        """How the weights are coded in the end; None for float ones. Raises as :attr:`schedule`."""
        schedule = self.schedule
        return None if self.method in CONTROLS else schedule

    @property
    def n_cycles(self) -> int:
        """Cycles of the learning rate."""
        schedule = self.schedule
        return len(schedule.portions) if schedule is not None and schedule.method == "inq" else self.cycles
