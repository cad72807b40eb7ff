"""Names of arithmetics."""

from __future__ import annotations

from typing import Literal

Precision = Literal["int8", "bf16", "fp32"]
