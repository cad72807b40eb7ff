"""Settings of a quantized phase. Imports neither torch nor numpy at the top, so that ``--help`` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from frugalseg.train.config import setting

if TYPE_CHECKING:
    from frugalseg.quant.spec import QuantSpec

Quantizer = Literal["none", "inq", "dorefa", "twn", "ttq", "lsq"]


@dataclass(frozen=True)
class QuantizeConfig:
    """All settings of one quantized phase; each is also a flag of ``frugalseg quantize`` and a key of its TOML file."""

    method: Quantizer = setting("inq", "quantizer; 'none' gives float weights the same extra steps, as a control")
    bits: int | None = setting(None, "bits a weight; the method's usual number if not given")
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
    norm_batches: int = setting(50, "batches on which the statistics of batch normalisation are measured at the end")

    def __post_init__(self) -> None:
        for name, lowest in {"steps": 0, "cycles": 1, "norm_batches": 0, "learning_rate": 0}.items():
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup must lie between 0 and 1, not {self.warmup}")

    @property
    def spec(self) -> QuantSpec | None:
        """What is asked of the quantizer; None for the float control. Raises ``ConfigError`` for what it cannot do."""
        from frugalseg.quant.spec import PORTIONS, QuantSpec

        if self.method == "none":
            return None
        portions = PORTIONS if self.portions is None else self.portions
        return QuantSpec.of(self.method, self.bits, self.granularity, portions=portions, float_layers=self.float_layers)

    @property
    def n_cycles(self) -> int:
        """Cycles of the learning rate."""
        spec = self.spec
        return len(spec.portions) if spec is not None and spec.method == "inq" else self.cycles
