"""An INT8 graph from a model's own codes: 8-bit weights, 8-bit activations, as Quantize-Dequantize pairs in ONNX.

Batch normalisation becomes part of each channel's scale and bias, so that weights which are 8-bit integers already stay
what they are. Activations are unsigned bytes with a zero point, over the ranges that the model file holds
(asymmetric quantization, Jacob et al., CVPR 2018, eq. 1). A convolution whose input has no range there stays float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from frugalseg.artifact import Artifact, Member
from frugalseg.graphs.check import checked_graph
from frugalseg.graphs.fp32 import CONVOLUTIONS
from frugalseg.quant.int8 import Int8Weights, int8_weights
from frugalseg.quant.tensors import QuantizedTensor


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
    shuffled: dict[str, tuple[str, int]] = field(default_factory=dict)

    def tensor(self, name: str, value: NDArray[Any]) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def quantize(self, name: str, limits: tuple[float, float]) -> str:
        """The tensor `name` as bytes and back; its name."""
        if (name, limits) not in self.quantized:
            scale, zero = byte_scale(limits)
            label = f"{name}:{len(self.quantized)}"
            scale_name = self.tensor(f"{label}:scale", np.array(scale, dtype=np.float32))
            zero_name = self.tensor(f"{label}:zero", np.array(zero, dtype=np.uint8))
            before, block = self.shuffled.get(name, (name, 1))  # bytes are moved, not floats
            code = self.add("QuantizeLinear", [before, scale_name, zero_name], f"{label}:bytes")
            back = self.add("DequantizeLinear", [code, scale_name, zero_name], f"{label}:back")
            if block > 1:
                back = self.add("DepthToSpace", [back], f"{label}:moved", blocksize=block, mode="DCR")
            self.quantized[name, limits] = back
        return self.quantized[name, limits]

    def weight(
        self, name: str, weights: Int8Weights, gain: NDArray[np.float32], axis: int
    ) -> tuple[str, NDArray[np.float32]]:
        """8-bit weights times `gain` for each output channel: the name of what they are as floats, and their scales."""
        sign = np.where(gain < 0, -1, 1).reshape([-1 if i == axis else 1 for i in range(weights.values.ndim)])
        values = np.clip(weights.values.astype(np.int16) * sign, -128, 127).astype(np.int8)
        scale = np.abs(gain) * weights.scale
        values = np.where(scale.reshape(sign.shape) > 0, values, 0).astype(np.int8)
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        codes = self.tensor(f"{name}:bytes", values)
        scale_name = self.tensor(f"{name}:scale", scale)
        zero = self.tensor(f"{name}:zero", np.zeros(len(scale), dtype=np.int8))
        self.layers.append(Int8Layer(name, int(weights.exact.sum()), len(weights.exact), weights.relative_rmse))
        return self.add("DequantizeLinear", [codes, scale_name, zero], f"{name}:float", axis=axis), scale

    def bias(self, name: str, bias: NDArray[np.float32], unit: float, scale: NDArray[np.float32]) -> str:
        """A bias as 32-bit integers in units of what sums of products are in; the name of what it is as floats."""
        unit_of_each = (scale * np.float32(unit)).astype(np.float32)
        codes = np.rint(bias / unit_of_each.astype(np.float64)).clip(-(2**31), 2**31 - 1).astype(np.int32)
        scale_name = self.tensor(f"{name}:bias:scale", unit_of_each)
        zero = self.tensor(f"{name}:bias:zero", np.zeros(len(bias), dtype=np.int32))
        return self.add("DequantizeLinear", [self.tensor(f"{name}:bias:sums", codes), scale_name, zero],
                        f"{name}:bias", axis=0)  # fmt: skip


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
    writer = _Writer(member)
    norms = {node.input[0]: node for node in graph.node if node.op_type == "BatchNormalization"}
    makers = {name: node for node in graph.node for name in node.output}
    ranges = member.activations
    skipped: set[str] = set()
    needed: set[str] = set()
    for node in graph.node:
        if node.output[0] in skipped:
            continue
        if node.op_type in CONVOLUTIONS and node.input[0] in ranges:
            norm = norms.get(node.output[0])
            _convolution(writer, node, norm, makers, ranges)
            if norm is not None:
                skipped.add(norm.output[0])
            continue
        inputs = [
            writer.quantize(name, ranges[name]) if name in ranges and node.op_type == "Add" else name
            for name in node.input
        ]
        kept = onnx.NodeProto()
        kept.CopyFrom(node)
        kept.input[:] = inputs
        writer.nodes.append(kept)
        needed.update(inputs)
    floats = {name: array for name, array in member.floats.items() if name in needed}
    for name, array in floats.items():
        writer.tensor(name, array.astype(np.float32, copy=False))
    for name in needed & set(member.quantized):
        writer.tensor(name, member.quantized[name].dequantize())
    del graph.node[:]
    graph.node.extend(_without_dead(writer.nodes, {item.name for item in graph.output}))
    graph.initializer.extend(writer.tensors)
    return bytes(model.SerializeToString()), writer.layers


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
    tensor: QuantizedTensor | NDArray[Any] = (
        writer.member.quantized[name] if name in writer.member.quantized else writer.member.floats[name]
    )
    weights = int8_weights(tensor, axis=axis)
    block = _block_of(node)
    gain = np.ones(len(weights.scale), dtype=np.float32)
    bias = np.zeros(len(weights.scale), dtype=np.float32)
    if len(node.input) > 2:
        bias = writer.member.floats[node.input[2]].astype(np.float32)
    output = node.output[0]
    if norm is not None:
        gamma, beta, mean, variance = (writer.member.floats[item].astype(np.float64) for item in norm.input[1:5])
        epsilon = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
        gain = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
        bias = ((bias - mean) * gain + beta).astype(np.float32)
        output = norm.output[0]
    kept = onnx.NodeProto()
    kept.CopyFrom(node)
    image = _quantized_input(writer, source, makers, ranges)
    if block > 1:
        unit = byte_scale(ranges[source])[0]
        _pointwise(writer, output, image, name, weights, (gain, bias, unit), block)
        return
    weight, scale = writer.weight(name, weights, gain, axis)
    kept.input[:] = [image, weight, writer.bias(name, bias, byte_scale(ranges[source])[0], scale)]
    kept.output[:] = [output]
    writer.nodes.append(kept)


def _block_of(node: onnx.NodeProto) -> int:
    """Side of the squares that a transposed convolution makes of single pixels, where they do not overlap; else 1."""
    if node.op_type != "ConvTranspose":
        return 1
    settings = {item.name: list(item.ints) or item.i for item in node.attribute}
    kernel, strides = settings.get("kernel_shape"), settings.get("strides")
    plain = not any(settings.get("pads", ())) and not any(settings.get("output_padding", ()))
    plain = plain and settings.get("group", 1) == 1 and set(settings.get("dilations", (1,))) == {1}
    return int(kernel[0]) if plain and kernel == strides and kernel and kernel[0] == kernel[1] else 1


def _pointwise(
    writer: _Writer,
    output: str,
    image: str,
    name: str,
    weights: Int8Weights,
    affine: tuple[NDArray[np.float32], NDArray[np.float32], float],
    block: int,
) -> None:
    """Write a transposed convolution without overlap as a 1x1 convolution whose channels become the squares' pixels.

    The same numbers; but compilers run 1x1 convolutions in INT8 whatever the zero point, transposed ones only without.
    """
    gain, bias, unit = affine
    n_in, n_out = weights.values.shape[:2]
    # DepthToSpace, mode DCR: channel (row x block + column) x n_out + c becomes channel c of pixel (row, column)
    values = weights.values.transpose(2, 3, 1, 0).reshape(block**2 * n_out, n_in, 1, 1)
    wide = Int8Weights(
        values, np.tile(weights.scale, block**2), np.tile(weights.exact, block**2), weights.relative_rmse
    )
    weight, scale = writer.weight(name, wide, np.tile(gain, block**2), axis=0)
    layer = writer.layers.pop()
    writer.layers.append(
        Int8Layer(name, layer.exact_channels // block**2, layer.n_channels // block**2, layer.relative_rmse)
    )
    biases = writer.bias(name, np.tile(bias, block**2), unit, scale)
    before = writer.add("Conv", [image, weight, biases], f"{output}:channels", kernel_shape=[1, 1])
    writer.add("DepthToSpace", [before], output, blocksize=block, mode="DCR")
    writer.shuffled[output] = (before, block)


def _quantized_input(
    writer: _Writer, source: str, makers: Mapping[str, onnx.NodeProto], ranges: Mapping[str, tuple[float, float]]
) -> str:
    """A convolution's input as bytes; what is put together of parts is put together of their bytes."""
    maker = makers.get(source)
    if maker is not None and maker.op_type == "Concat":
        parts = [writer.quantize(name, ranges[source]) for name in maker.input]
        return writer.add("Concat", parts, f"{source}:joined", axis=1)
    return writer.quantize(source, ranges[source])
