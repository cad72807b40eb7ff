"""Run a packed model with ONNX Runtime, in INT8 or fp32; needs no torch. Extra ``onnxruntime``."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from frugalseg.artifact import Artifact
from frugalseg.errors import ConfigError
from frugalseg.graphs import DESCRIPTOR, INPUT, OUTPUT, float_model, int8_model
from frugalseg.processor import Precision


class OnnxRuntimeEngine:
    """Engine over one member of a packed model; parameters as :class:`frugalseg.engines.openvino.OpenVinoEngine`."""

    def __init__(self, artifact: Artifact, member: int = 0, *, precision: Precision = "fp32", threads: int = 0) -> None:
        if precision == "bf16":
            raise ConfigError("precision", "ONNX Runtime has no bf16 on processors; choose int8 or fp32")
        self._artifact, self._how = artifact, f"onnxruntime {precision}"
        weights = artifact.members[member]
        content = int8_model(artifact, weights)[0] if precision == "int8" else float_model(artifact, weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    @property
    def stride(self) -> int:
        return self._artifact.stride

    @property
    def halo_px(self) -> int:
        return self._artifact.halo_px

    @property
    def how(self) -> str:
        return self._how

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._run(images, [OUTPUT])[0]

    def describe(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(self._session.get_outputs()) < 2:
            raise ValueError("the model's graph gives no descriptor")
        maps, descriptors = self._run(images, [OUTPUT, DESCRIPTOR])
        return maps, descriptors

    def release(self) -> None:
        """The session keeps what it has; only its end would give it back."""

    def _run(self, images: NDArray[np.uint8], outputs: list[str]) -> list[NDArray[np.float32]]:
        mean, divisor = np.float32(self._artifact.mean), np.float32(self._artifact.divisor)
        x = np.ascontiguousarray(((images.astype(np.float32) - mean) / divisor).transpose(0, 3, 1, 2))
        logits, *others = self._session.run(outputs, {INPUT: x})
        powers = np.exp(logits[:, :-1] - logits[:, :-1].max(axis=1, keepdims=True))
        border = 1 / (1 + np.exp(-logits[:, -1:]))
        return [np.concatenate([powers / powers.sum(axis=1, keepdims=True), border], axis=1), *others]
