"""Judges a graph from a file before anything runs it: only what segmentation networks consist of may be in it."""

from __future__ import annotations

import onnx

from frugalseg.artifact import Artifact, FormatError

INPUT, OUTPUT = "image", "logits"

OPERATORS = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Constant", "Conv", "ConvTranspose"),
        *("Identity", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu", "Resize", "Sigmoid"),
    }
)
"""All that may occur: no loops, no branches, nothing that reads files."""

_LARGEST_CONSTANT = 4096  # bytes; weights are tensors of the file, not constants of the graph
_MAX_NODES = 10_000


def checked_graph(artifact: Artifact) -> onnx.ModelProto:
    """The parsed graph of a packed model.

    Raises
    ------
    FormatError
        There is no graph, it cannot be parsed, or something in it cannot belong to a segmentation network.
    """
    if artifact.graph is None:
        raise FormatError("holds no graph, so that only its own network can run it")
    try:
        model = onnx.load_from_string(artifact.graph)
    except Exception as error:  # the parser's own exception is not part of its public interface
        raise FormatError(f"holds a graph that cannot be parsed ({type(error).__name__})") from None
    fault = _fault(model, artifact)
    if fault:
        raise FormatError(f"holds a graph that {fault}")
    return model


def _fault(model: onnx.ModelProto, artifact: Artifact) -> str | None:
    graph = model.graph
    if len(graph.node) > _MAX_NODES:
        return f"has {len(graph.node)} nodes"
    if model.functions or graph.initializer or graph.sparse_initializer or model.training_info:
        return "holds more than nodes"
    if [item.name for item in graph.input] != [INPUT] or [item.name for item in graph.output] != [OUTPUT]:
        return f"does not lead from {INPUT} to {OUTPUT}"
    member = artifact.members[0]
    defined = {INPUT, *member.quantized, *member.floats}
    for node in graph.node:
        if node.domain or node.op_type not in OPERATORS:
            return f"has the operator {node.domain}{node.op_type!r}, which no segmentation network here needs"
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.tensors or attribute.HasField("sparse_tensor"):
                return "holds graphs in graphs"
            if attribute.HasField("t") and (
                attribute.t.external_data or attribute.t.data_location or attribute.t.ByteSize() > _LARGEST_CONSTANT
            ):
                return "holds a constant that is too large or lies elsewhere"
        unknown = [item for item in node.input if item and item not in defined]
        if unknown:
            return f"reads {unknown[0][:80]!r}, which nothing in the file defines"
        if defined & set(node.output):
            return "defines something twice"
        defined.update(node.output)
    return None if OUTPUT in defined else f"does not define {OUTPUT}"
