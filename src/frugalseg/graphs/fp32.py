"""A weightless graph and a member's tensors become one ONNX model: in fp32, for whatever runs ONNX."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from frugalseg.artifact import Artifact, FormatError, Member, quoted
from frugalseg.graphs.check import INPUT, checked_graph

CONVOLUTIONS = ("Conv", "ConvTranspose")

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5  # numbers of the fields in ONNX's protocol buffers


def float_model(artifact: Artifact, member: Member) -> bytes:
    """The member as a serialised ONNX model in fp32: ``image`` in, ``logits`` out.

    Tensors are appended one by one as further pieces of the graph, which protocol buffers merge on reading, so that
    memory holds them once.
    """
    return _with_tensors(checked_graph(artifact), member)


def _with_tensors(model: onnx.ModelProto, member: Member) -> bytes:
    """The graph with those of the member's tensors appended that it reads."""
    pieces = [model.SerializeToString()]
    read = {name for node in model.graph.node for name in node.input}
    for name, array in float_tensors(member, read):
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name).SerializeToString()
        pieces.append(_field(_MODEL_GRAPH, _field(_GRAPH_INITIALIZER, tensor)))
    return b"".join(pieces)


def float_tensors(member: Member, wanted: Container[str] | None = None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The wanted tensors of a member in fp32, by name, or all of them; quantized ones decoded one at a time.

    Raises
    ------
    FormatError
        One holds what is no number.
    """
    for name, quantized in member.quantized.items():
        if wanted is None or name in wanted:
            yield name, checked_floats(name, quantized.dequantize())
    for name, array in member.floats.items():
        if wanted is None or name in wanted:
            yield name, checked_floats(name, array)


def checked_floats(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """A tensor of a file in fp32; ``FormatError`` where it holds NaN or infinity, of which only NaN would come."""
    found = array.astype(np.float32, copy=False)
    if not np.isfinite(found).all():
        raise FormatError(f"holds the tensor {quoted(name)} with values that are no finite numbers")
    return found


def calibration_model(artifact: Artifact, member: Member) -> tuple[bytes, list[str]]:
    """As :func:`float_model`, but what comes out are the inputs of all convolutions, the image's excepted.

    Returns
    -------
    model, names
        The serialised model and its outputs' names.
    """
    model = checked_graph(artifact)
    inputs = [node.input[0] for node in model.graph.node if node.op_type in CONVOLUTIONS]
    names = [name for name in dict.fromkeys(inputs) if name != INPUT]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4) for name in names)
    return _with_tensors(model, member), names


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes in protocol buffers' encoding."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
