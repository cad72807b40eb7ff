"""The ONNX graph of a packed model, with its weights: in fp32, or in INT8 from the model's own codes; without torch."""

from __future__ import annotations

from frugalseg.graphs.check import DESCRIPTOR, INPUT, OUTPUT, checked_graph
from frugalseg.graphs.fp32 import calibration_model, float_model, float_tensors
from frugalseg.graphs.int8 import Int8Layer, int8_model

__all__ = [
    "DESCRIPTOR",
    "INPUT",
    "OUTPUT",
    "Int8Layer",
    "calibration_model",
    "checked_graph",
    "float_model",
    "float_tensors",
    "int8_model",
]
