"""An INT8 graph from a model's own codes: 8-bit weights, 8-bit activations, as Quantize-Dequantize pairs in ONNX.

Batch normalisation becomes part of each channel's scale and bias, so that weights which are 8-bit integers already stay
what they are. Activations are unsigned bytes with a zero point, over the ranges that the model file holds
(asymmetric quantization, Jacob et al., CVPR 2018, eq. 1). A convolution whose input has no range there stays float.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from frugalseg.artifact import Artifact, Member
from frugalseg.graphs.check import checked_graph
from frugalseg.graphs.fp32 import CONVOLUTIONS, checked_floats
from frugalseg.quant.int8 import Int8Weights, int8_weights

BYTE_INPUTS = ("Add", "BatchNormalization", "MaxPool", "ReduceMean")
"""What reads bytes beside convolutions, so that sums leave the residual convolution as bytes."""

_SMALLEST = 2.0**-60  # of biases over units, so that no scale is 0


@dataclass(frozen=True)
class Int8Layer:
    """How well a layer's weights fit into 8 bits.

    Attributes
    ----------
    name
        Of the weight.
    exact_channels, n_channels
        Output channels whose weights are kept to the bit, of how many.
    relative_rmse
        Of the weights, over all channels.
    """

    name: str
    exact_channels: int
    n_channels: int
    relative_rmse: float


@dataclass
class _Writer:
    """Nodes and tensors of the graph being written."""

    member: Member
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    quantized: dict[tuple[str, tuple[float, float]], str] = field(default_factory=dict)
    layers: list[Int8Layer] = field(default_factory=list)
    signed: frozenset[str] = frozenset()

    def floats(self, name: str) -> NDArray[np.float32]:
        """A tensor of the member as floats, whether it is kept as codes or not."""
        quantized = self.member.quantized.get(name)
        found = self.member.floats[name] if quantized is None else quantized.dequantize()
        return checked_floats(name, found)

    def tensor(self, name: str, value: NDArray[Any]) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def quantize(self, name: str, limits: tuple[float, float]) -> str:
        """The tensor `name` as bytes and back; its name."""
        if (name, limits) not in self.quantized:
            scale, zero = self.scale(name, limits)
            label = f"{name}:{len(self.quantized)}"
            scale_name = self.tensor(f"{label}:scale", np.array(scale, dtype=np.float32))
            zero_name = self.tensor(f"{label}:zero", np.array(zero))
            code = self.add("QuantizeLinear", [name, scale_name, zero_name], f"{label}:bytes")
            back = self.add("DequantizeLinear", [code, scale_name, zero_name], f"{label}:back")
            self.quantized[name, limits] = back
        return self.quantized[name, limits]

    def scale(self, name: str, limits: tuple[float, float]) -> tuple[float, np.uint8 | np.int8]:
        """Scale and zero point of a tensor's bytes: signed ones around 0 where a transposed convolution reads it."""
        if name in self.signed:
            return max(-limits[0], limits[1]) / 127, np.int8(0)
        scale, zero = byte_scale(limits)
        return scale, np.uint8(zero)

    def affine(
        self,
        name: str,
        weights: Int8Weights,
        gain: NDArray[np.float32],
        bias: NDArray[np.float32],
        unit: float,
        axis: int,
    ) -> tuple[str, str]:
        """Weights times `gain` and a bias for each output channel; the names of what they are as floats.

        Parameters
        ----------
        unit
            Scale of the input's bytes: sums of products are integers in units of it and the weights' scale, and so is
            the bias.
        """
        fitted = _fit_channels(weights, gain, bias, unit, axis)
        codes = self.tensor(f"{name}:bytes", fitted.values)
        scale = self.tensor(f"{name}:scale", fitted.scale)
        zero = self.tensor(f"{name}:zero", np.zeros(len(fitted.scale), dtype=np.int8))
        self.layers.append(Int8Layer(name, int(fitted.exact.sum()), len(fitted.exact), weights.relative_rmse))
        weight = self.add("DequantizeLinear", [codes, scale, zero], f"{name}:float", axis=axis)
        units = (fitted.scale * np.float32(unit)).astype(np.float32)
        sums = np.rint(bias / units.astype(np.float64)).clip(-(2**31), 2**31 - 1).astype(np.int32)
        parts = [
            self.tensor(f"{name}:bias:sums", sums),
            self.tensor(f"{name}:bias:scale", units),
            self.tensor(f"{name}:bias:zero", np.zeros(len(bias), dtype=np.int32)),
        ]
        return weight, self.add("DequantizeLinear", parts, f"{name}:bias", axis=0)


def _fit_channels(
    weights: Int8Weights, gain: NDArray[np.float32], bias: NDArray[np.float32], unit: float, axis: int
) -> Int8Weights:
    """Weights times `gain`, with scales so large that the bias, in units of them, fits into 32 bits.

    What a channel's weights lose by that is far below what its bias adds. A channel without weights gets a scale that
    resolves its bias.
    """
    shape = [-1 if index == axis else 1 for index in range(weights.values.ndim)]
    turned = weights.values.astype(np.int32) * np.where(gain < 0, -1, 1).reshape(shape)
    scale = np.abs(gain.astype(np.float64)) * weights.scale
    others = tuple(index for index in range(weights.values.ndim) if index != axis)
    empty = ~weights.values.any(axis=others) | (scale == 0)
    needed = np.maximum(np.abs(bias.astype(np.float64)) / unit, _SMALLEST)
    fitted = np.where(empty, needed * 2.0**-24, np.maximum(scale, needed * 2.0**-30)).astype(np.float32)
    values = np.rint(turned * (np.where(empty, 0.0, scale) / fitted).reshape(shape)).clip(-128, 127)
    unchanged = empty | ((fitted == scale.astype(np.float32)) & (values == turned).all(axis=others))
    return Int8Weights(values.astype(np.int8), fitted, weights.exact & unchanged, weights.relative_rmse)


def byte_scale(limits: tuple[float, float]) -> tuple[float, int]:
    """Scale and zero point of unsigned bytes over a range, widened to hold 0 exactly."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)


def int8_model(artifact: Artifact, member: Member) -> tuple[bytes, list[Int8Layer]]:
    """The member as a serialised ONNX model whose convolutions compute in INT8 where their inputs' ranges are known.

    Returns
    -------
    model
        ``image`` in, ``logits`` out.
    layers
        One for each convolution in INT8.
    """
    model = checked_graph(artifact)
    graph = model.graph
    # compilers run transposed convolutions in INT8 only where their input has no zero point
    signed = {node.input[0] for node in graph.node if node.op_type == "ConvTranspose"}
    ranges = member.activations
    writer = _Writer(member, signed=frozenset(name for name in signed if name in ranges and ranges[name][0] < 0))
    readers = Counter(name for node in graph.node for name in node.input)
    norms = {
        node.input[0]: node
        for node in graph.node
        if node.op_type == "BatchNormalization" and readers[node.input[0]] == 1
    }
    makers = {name: node for node in graph.node for name in node.output}
    pooled = _pooled_ranges(graph.node, makers, ranges, writer.signed)
    ranges = {**ranges, **pooled}
    skipped: set[str] = set()
    needed: set[str] = set()
    for node in graph.node:
        if node.output[0] in skipped:
            continue
        if node.op_type in CONVOLUTIONS and node.input[0] in ranges and not _is_grouped(node):
            norm = norms.get(node.output[0])
            _convolution(writer, node, norm, makers, ranges)
            if norm is not None:
                skipped.add(norm.output[0])
            continue
        if node.output[0] in pooled:
            limits = pooled[node.output[0]]
            writer.add("MaxPool", [writer.quantize(node.input[0], limits)], node.output[0], **_attributes(node))
            writer.quantized[node.output[0], limits] = node.output[0]
            continue
        inputs = [
            writer.quantize(name, ranges[name]) if name in ranges and node.op_type in BYTE_INPUTS else name
            for name in node.input
        ]
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        kept.input[:] = inputs
        writer.nodes.append(kept)
        needed.update(inputs)
    for name in (*member.floats, *member.quantized):
        if name in needed:
            writer.tensor(name, writer.floats(name))
    del graph.node[:]
    graph.node.extend(_without_dead(writer.nodes, {item.name for item in graph.output}))
    graph.initializer.extend(writer.tensors)
    return bytes(model.SerializeToString()), writer.layers


def _pooled_ranges(
    nodes: Iterable[onnx.NodeProto],
    makers: Mapping[str, onnx.NodeProto],
    ranges: Mapping[str, tuple[float, float]],
    signed: Set[str],
) -> dict[str, tuple[float, float]]:
    """Ranges of what a maximum is taken to, where bytes can be pooled instead of floats: by the pool's output.

    The byte of the largest value is the largest byte, so nothing changes but where bytes are made. What is pooled and
    put together with other parts, as a U-Net's skips are, takes the range of the whole for both: one conversion, not
    two, which took a fifth of the network's time.
    """
    nodes = list(nodes)
    joined: dict[str, set[tuple[float, float]]] = {}
    for node in nodes:
        maker = makers.get(node.input[0]) if node.op_type in CONVOLUTIONS and node.input[0] in ranges else None
        if maker is not None and _is_join(maker):
            for name in maker.input:
                joined.setdefault(name, set()).add(ranges[node.input[0]])
    found = {}
    for node in nodes:
        source, output = node.input[0] if node.input else "", node.output[0]
        if node.op_type == "MaxPool" and source not in ranges and output in ranges and not {source, output} & signed:
            limits = joined.get(source, {ranges[output]})
            if len(limits) == 1:
                (found[output],) = limits
    return found


def _is_join(node: onnx.NodeProto) -> bool:
    """Whether a node puts channels together."""
    return node.op_type == "Concat" and node.attribute[0].i == 1


def _is_grouped(node: onnx.NodeProto) -> bool:
    """Whether this is a transposed convolution in groups, whose weights' axes tell no output channels: stays float."""
    return node.op_type == "ConvTranspose" and any(item.name == "group" and item.i != 1 for item in node.attribute)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _without_dead(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Only what leads to an output."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]


def _convolution(
    writer: _Writer,
    node: onnx.NodeProto,
    norm: onnx.NodeProto | None,
    makers: Mapping[str, onnx.NodeProto],
    ranges: Mapping[str, tuple[float, float]],
) -> None:
    """Write a convolution, and the normalisation after it, in INT8."""
    source, name = node.input[0], node.input[1]
    axis = 0 if node.op_type == "Conv" else 1
    tensor = writer.member.quantized.get(name)
    if tensor is not None:
        checked_floats(name, tensor.scale)
    weights = int8_weights(writer.floats(name) if tensor is None else tensor, axis=axis)
    gain = np.ones(len(weights.scale), dtype=np.float32)
    bias = np.zeros(len(weights.scale), dtype=np.float32)
    if len(node.input) > 2:
        bias = writer.floats(node.input[2])
    output = node.output[0]
    if norm is not None:
        gamma, beta, mean, variance = (writer.floats(item).astype(np.float64) for item in norm.input[1:5])
        epsilon = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
        gain = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
        bias = ((bias - mean) * gain + beta).astype(np.float32)
        output = norm.output[0]
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    image = _quantized_input(writer, source, makers, ranges)
    unit = writer.scale(source, ranges[source])[0]
    kept.input[:] = [image, *writer.affine(name, weights, gain, bias, unit, axis)]
    kept.output[:] = [output]
    writer.nodes.append(kept)


def _quantized_input(
    writer: _Writer, source: str, makers: Mapping[str, onnx.NodeProto], ranges: Mapping[str, tuple[float, float]]
) -> str:
    """A convolution's input as bytes; what is put together of parts is put together of their bytes."""
    maker = makers.get(source)
    if maker is not None and _is_join(maker):
        key = (f"{source}:joined", ranges[source])
        if key not in writer.quantized:
            parts = [writer.quantize(name, ranges[source]) for name in maker.input]
            writer.quantized[key] = writer.add("Concat", parts, f"{source}:joined", axis=1)
        return writer.quantized[key]
    return writer.quantize(source, ranges[source])
