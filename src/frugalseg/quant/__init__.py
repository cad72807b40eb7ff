"""Few-bit weights: what a quantizer is asked to do, what it gives, and how codes are packed; this much without torch.

What trains is in modules that need torch, imported by name: :mod:`frugalseg.quant.layers` (put a quantizer on a
network, take codes or plain weights off), :mod:`frugalseg.quant.freezing` (INQ's portions) and
:mod:`frugalseg.quant.batch_norm`.
"""

from __future__ import annotations

from frugalseg.quant.measures import LayerReport, layer_reports
from frugalseg.quant.packing import code_entropy, pack_codes, packed_size, unpack_codes
from frugalseg.quant.spec import METHODS, Granularity, Method, QuantSpec, level_table
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

__all__ = [
    "METHODS",
    "ChannelLayout",
    "Granularity",
    "LayerReport",
    "Method",
    "QuantSpec",
    "QuantizedTensor",
    "code_entropy",
    "layer_reports",
    "level_table",
    "pack_codes",
    "packed_size",
    "unpack_codes",
]
