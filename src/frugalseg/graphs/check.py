"""Judges a graph from a file before anything runs it: only what segmentation networks consist of may be in it."""

from __future__ import annotations

import math

import onnx
from onnx import helper

from frugalseg.artifact import Artifact, FormatError, quoted

INPUT, OUTPUT, DESCRIPTOR = "image", "logits", "descriptor"

OPERATORS = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "Conv", "ConvTranspose"),
        *("Identity", "LeakyRelu", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Resize", "Sigmoid"),
    }
)
"""All that may occur: no loops, no branches, nothing that reads files."""

_LARGEST_CONSTANT = 4096  # bytes; weights are tensors of the file, not constants of the graph
_MAX_BYTES = 2**20
_MAX_NODES = 10_000
_MAX_WEIGHTS = 2**28
_LARGEST_GROWTH = 2048
"""Numbers that any tensor of the graph may hold for each pixel of the image."""

_SIZES = ((2, 3), (5, 4))
"""Heights and widths, in strides, that a graph is looked at with: what fits one size alone would fail at others."""

_FROM_FILE = ("Conv", "ConvTranspose", "BatchNormalization")  # their inputs from the second on are weights
_SHAPED = ("Pad", "Resize")  # theirs are sizes


def checked_graph(artifact: Artifact) -> onnx.ModelProto:
    """The parsed graph of a packed model, without anything that was not looked at.

    Its operators are on a list, have the inputs that ONNX asks for, and lead from an image to logits of the right
    shape (and perhaps to a descriptor) over tensors of bounded size, by ONNX's own shape inference.

    Raises
    ------
    FormatError
        There is no graph, it cannot be parsed, or something in it cannot belong to a segmentation network.
    """
    if artifact.graph is None:
        raise FormatError("holds no graph, so that only its own network can run it")
    if len(artifact.graph) > _MAX_BYTES:
        raise FormatError(f"holds a graph of {len(artifact.graph):,} bytes, limit {_MAX_BYTES:,}")
    try:
        model = onnx.load_from_string(artifact.graph)
        model.DiscardUnknownFields()
    except Exception as error:  # the parser's own exception is not part of its public interface
        raise FormatError(f"holds a graph that cannot be parsed ({type(error).__name__})") from None
    fault = _fault(model, artifact) or next(
        filter(None, (_fault_of_shapes(model, artifact, *(artifact.stride * n for n in size)) for size in _SIZES)), None
    )
    if fault:
        raise FormatError(f"holds a graph that {fault}")
    return model


def _fault(model: onnx.ModelProto, artifact: Artifact) -> str | None:
    """What is wrong with the nodes, or None."""
    graph = model.graph
    if len(graph.node) > _MAX_NODES:
        return f"has {len(graph.node)} nodes"
    if model.functions or graph.initializer or graph.sparse_initializer or model.training_info:
        return "holds more than nodes"
    outputs = [item.name for item in graph.output]
    if [item.name for item in graph.input] != [INPUT] or outputs not in ([OUTPUT], [OUTPUT, DESCRIPTOR]):
        return f"does not lead from {INPUT} to {OUTPUT}, and perhaps {DESCRIPTOR}"
    tensors = {*artifact.members[0].quantized, *artifact.members[0].floats}
    if sum(map(math.prod, _shapes(artifact).values())) > _MAX_WEIGHTS:
        return f"reads more than {_MAX_WEIGHTS:,} weights"
    defined, constants = {INPUT, *tensors}, set[str]()
    for node in graph.node:
        if node.domain or node.op_type not in OPERATORS:
            return f"has the operator {quoted(node.domain + node.op_type)}, which no segmentation network here needs"
        if len(node.output) != 1:
            return f"has a {node.op_type} with {len(node.output)} outputs"
        fault = _fault_of_attributes(node)
        if fault:
            return fault
        unknown = [item for item in node.input if item and item not in defined]
        if unknown:
            return f"reads {quoted(unknown[0])}, which nothing in the file defines"
        if node.op_type in _FROM_FILE and not tensors.issuperset(node.input[1:]):
            return f"has a {node.op_type} whose weights are not tensors of the file"
        if node.op_type in _SHAPED and not constants.issuperset(filter(None, node.input[1:])):
            return f"has a {node.op_type} whose sizes are no constants"
        if node.op_type == "Constant":
            constants.update(node.output)
        if defined & set(node.output):
            return "defines something twice"
        defined.update(node.output)
    missing = [name for name in outputs if name not in defined]
    return f"does not define {missing[0]}" if missing else None


def _shapes(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that every member has."""
    member = artifact.members[0]
    quantized = {name: tensor.layout.shape for name, tensor in member.quantized.items()}
    return quantized | {name: array.shape for name, array in member.floats.items()}


def _fault_of_attributes(node: onnx.NodeProto) -> str | None:
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs or attribute.tensors or attribute.HasField("sparse_tensor"):
            return "holds graphs in graphs"
        if attribute.HasField("t") and (
            attribute.t.external_data or attribute.t.data_location or attribute.t.ByteSize() > _LARGEST_CONSTANT
        ):
            return "holds a constant that is too large or lies elsewhere"
    return None


def _fault_of_shapes(model: onnx.ModelProto, artifact: Artifact, height: int, width: int) -> str | None:
    """What is wrong by ONNX's checker and shape inference, image and weights being inputs of known shapes; or None."""
    shaped = onnx.ModelProto()
    shaped.CopyFrom(model)
    graph = shaped.graph
    ranks = {OUTPUT: 4, DESCRIPTOR: 2}
    names = [item.name for item in graph.output]
    del graph.input[:], graph.output[:], graph.value_info[:]
    shapes = {INPUT: (1, 3, height, width), **_shapes(artifact)}
    graph.input.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n, shape in shapes.items())
    graph.output.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None] * ranks[n]) for n in names)
    try:
        onnx.checker.check_model(shaped)
        shaped = onnx.shape_inference.infer_shapes(shaped, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # these raise what C++ raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"ONNX refuses ({quoted(lines[0])})"
    wanted = [1, len(artifact.card.class_names) + 2, height, width]
    values = (*shaped.graph.value_info, *shaped.graph.output)
    made = {name for node in graph.node for name in node.output} - {value.name for value in values}
    if made:
        return f"makes {quoted(min(made))} of a shape that cannot be told"
    for value in values:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if min(sizes, default=1) < 1:
            return f"makes {quoted(value.name)} of a shape that cannot be told"
        if math.prod(sizes) > _LARGEST_GROWTH * height * width:
            return f"makes {quoted(value.name)} of shape {sizes} of an image of {height} x {width}"
        if value.name == OUTPUT and sizes != wanted:
            return f"gives logits of shape {sizes} where {wanted} is needed"
    return None
