"""Trained runs leave as files: the packed ``.fseg``, ONNX, OpenVINO, TorchScript."""

from __future__ import annotations

from frugalseg.export.calibration import Calibration, calibrate
from frugalseg.export.formats import FORMATS, Exported, export_model
from frugalseg.export.packing import pack_runs

__all__ = ["FORMATS", "Calibration", "Exported", "calibrate", "export_model", "pack_runs"]
