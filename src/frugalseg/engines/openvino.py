"""Run a packed model with OpenVINO, in INT8, bf16 or fp32; needs no torch."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from frugalseg import __version__
from frugalseg.arrays import Image
from frugalseg.artifact import Artifact
from frugalseg.engines.cache import cache_key, load_compiled, store_compiled
from frugalseg.processor import Precision, model_and_features

CORE = openvino.Core()
"""The one core of a process, never taken down.

Where a processor has AMX, OpenVINO gives the thread that loads it a stack for signals. Was the last core taken down by
another thread, as the garbage collector may, that stack was freed and still in use: the next Ctrl-C would have ended
the process on the spot.
"""

log = logging.getLogger(__name__)

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value of tensors, by their names in the graph."""

REVISION = 5
"""Of what :mod:`frugalseg.graphs` writes; to be raised with every change there, so that the cache forgets."""

_HINTS = {"int8": "f32", "bf16": "bf16", "fp32": "f32"}


class OpenVinoEngine:
    """Engine over one member of a packed model.

    Parameters
    ----------
    artifact, member
        The model, and which of its networks.
    precision
        ``int8`` needs ranges of activations in the model.
    threads
        Processor threads; 0 means all cores.
    digest
        Of the model's content; with it the compiled network is kept on disk for the next time.
    """

    def __init__(
        self,
        artifact: Artifact,
        member: int = 0,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        digest: str | None = None,
    ) -> None:
        self._stride, self._halo_px, self._how = artifact.stride, artifact.halo_px, f"openvino {precision}"
        self._compiled = _compile(artifact, member, precision, threads, digest)
        self._request: Any = None

    @property
    def stride(self) -> int:
        return self._stride

    @property
    def halo_px(self) -> int:
        return self._halo_px

    @property
    def how(self) -> str:
        return self._how

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._request is None:
            self._request = self._compiled.create_infer_request()
        self._request.infer([np.ascontiguousarray(images)], share_inputs=True)
        return self._output(0)

    def describe(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if len(self._compiled.outputs) < 2:
            raise ValueError("the model's graph gives no descriptor")
        maps = self.run(images)
        return maps, self._output(1)

    def release(self) -> None:
        self._request = None  # what a request holds is not the network's to give
        self._compiled.release_memory()

    def _output(self, index: int) -> NDArray[np.float32]:
        return np.array(self._request.get_output_tensor(index).data, dtype=np.float32)


def _compile(artifact: Artifact, member: int, precision: Precision, threads: int, digest: str | None) -> Any:
    """The network compiled for this processor, from the cache where it lies there."""
    options = compile_options(precision, threads)
    key = None
    if digest is not None:
        version, processor = openvino.get_version(), model_and_features()
        ours = (__version__, REVISION)
        key = cache_key(digest, member, sorted(options.items()), precision, version, processor, ours)
        blob = load_compiled(key)
        if blob is not None:
            try:
                return CORE.import_model(blob, "CPU", options)
            except RuntimeError as error:
                log.debug("compiled model of the cache not usable: %s", error)
    compiled = CORE.compile_model(runnable(artifact, member, precision), "CPU", options)
    if key is not None:
        exported: Any = compiled.export_model()
        store_compiled(key, exported.getvalue() if isinstance(exported, io.BytesIO) else bytes(exported))
    return compiled


def compile_options(precision: Precision, threads: int) -> dict[str, Any]:
    """OpenVINO's settings; the precision of what is not INT8 is said expressly."""
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": _HINTS[precision]}
    return options | ({"INFERENCE_NUM_THREADS": threads} if threads else {})


def runnable(artifact: Artifact, member: int, precision: Precision) -> Any:
    """The network from colours (N, H, W, 3) to probabilities (N, C + 2, H, W), not yet compiled."""
    from frugalseg.graphs import float_model, int8_model  # a compiled network from the cache needs no ONNX

    weights = artifact.members[member]
    content = int8_model(artifact, weights)[0] if precision == "int8" else float_model(artifact, weights)
    model = _with_probabilities(CORE.read_model(content, b""))
    processing = PrePostProcessor(model)
    processing.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    processing.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processing.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean(artifact.mean).scale(artifact.divisor)
    return processing.build()


def _with_probabilities(model: Any) -> Any:
    """Softmax over background and classes, sigmoid of the border, instead of logits; the descriptor, if any, stays."""
    logits, *others = (output.get_node().input_value(0) for output in model.outputs)
    first, last, end, one = ([np.array([value], dtype=np.int64)] for value in (0, -1, np.iinfo(np.int64).max, 1))
    classes = ops.softmax(ops.slice(logits, *first, *last, *one, *one), axis=1)
    border = ops.sigmoid(ops.slice(logits, *last, *end, *one, *one))
    maps = ops.concat([classes, border], axis=1).output(0)
    return openvino.Model([maps, *others], model.get_parameters(), "network")


def observe(artifact: Artifact, member: int, images: Sequence[Image], percentiles: Sequence[float]) -> list[Ranges]:
    """Ranges of the inputs of all convolutions over some images.

    Parameters
    ----------
    artifact, member
        The model, and which of its networks.
    images
        Colours (H, W, 3) at the network's scale, sizes multiples of the stride.
    percentiles
        Of the values of each image that a range holds at either end, 50 to 100; the widest over the images counts.

    Returns
    -------
    For each percentile the lowest and highest value, by the tensor's name in the graph.
    """
    from frugalseg.graphs import INPUT, calibration_model

    content, names = calibration_model(artifact, artifact.members[member])
    compiled = CORE.compile_model(CORE.read_model(content, b""), "CPU", compile_options("fp32", 0))
    result: list[Ranges] = [{} for _ in percentiles]
    for image in images:
        x = (image.astype(np.float32) - np.float32(artifact.mean)) / np.float32(artifact.divisor)
        found = compiled([np.ascontiguousarray(x.transpose(2, 0, 1)[None])])
        for name in names:
            for ranges, (low, high) in zip(result, _limits(found[name], percentiles), strict=True):
                before = ranges.get(name, (low, high))
                ranges[name] = (min(low, before[0]), max(high, before[1]))
    lowest, highest = ((limit - artifact.mean) / artifact.divisor for limit in (0.0, 255.0))
    for ranges in result:
        ranges[INPUT] = (lowest, highest)  # colours are bytes already: exact
    return result


def _limits(values: NDArray[np.float32], percentiles: Sequence[float]) -> list[tuple[float, float]]:
    """Both percentiles of a tensor; the extremes of all values, the others of every few where there are millions."""
    sample = values.ravel()[:: max(1, values.size // 250_000)]
    pairs = [np.percentile(sample, [100 - p, p]) if p < 100 else (values.min(), values.max()) for p in percentiles]
    return [(float(low), float(high)) for low, high in pairs]


@dataclass(frozen=True)
class ExecutedConvolution:
    """How a convolution ran.

    Attributes
    ----------
    name
        Of the node in the compiled network.
    macs
        Multiplications.
    in_int8
        Whether bytes were multiplied with signed bytes; those of activations are unsigned but where a transposed
        convolution reads them.
    """

    name: str
    macs: int
    in_int8: bool


def executed_convolutions(artifact: Artifact, member: int, height: int, width: int) -> list[ExecutedConvolution]:
    """The convolutions of the INT8 network as OpenVINO compiled it for images of this size: told by the compiler."""
    model = runnable(artifact, member, "int8")
    model.reshape([1, height, width, 3])
    compiled = CORE.compile_model(model, "CPU", compile_options("int8", 0))
    found = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts: Mapping[str, Any] = node.get_rt_info()
        kind = str(_plain(facts["layerType"])) if "layerType" in facts else ""
        if kind not in ("Convolution", "GroupConvolution", "Deconvolution"):
            continue
        image, weight = node.get_input_element_type(0), node.get_input_element_type(1)
        out, kernel = node.get_output_shape(0), node.get_input_shape(1)
        area = node.get_input_shape(0) if kind == "Deconvolution" else out
        macs = int(np.prod(kernel) * area[2] * area[3])
        in_int8 = image.get_type_name() in ("u8", "i8") and weight.get_type_name() == "i8"
        found.append(ExecutedConvolution(node.get_friendly_name(), macs, in_int8))
    return found


def _plain(value: Any) -> Any:
    return value.value if hasattr(value, "value") else value
