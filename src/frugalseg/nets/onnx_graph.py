"""A network as an ONNX graph without weights: what runs it later needs neither this package's networks nor torch."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frugalseg.nets.base import SegmentationNet

OPSET = 17
INPUT, OUTPUT, DESCRIPTOR = "image", "logits", "descriptor"
_TRACED_PX = 4  # strides of the image that is traced


def weightless_graph(net: SegmentationNet) -> bytes:
    """The graph of a network without quantizers as a serialised ONNX model whose initialisers are left out.

    Input ``image`` (N, 3, H, W), normalised, sizes multiples of the stride; outputs ``logits`` (N, C + 2, H, W) and
    ``descriptor`` (N, D), the spatial mean of the last encoder output, which suggestion needs. The
    weights and statistics that nodes refer to bear the names they have in the network's ``state_dict``.
    """
    traced = copy.deepcopy(net).cpu().float().eval()
    _make_tensors_distinct(traced)
    traced.forward = cast(Any, lambda x: _outputs(traced, x))  # type: ignore[method-assign]
    sizes = {0: "n", 2: "height", 3: "width"}
    stream = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _quiet_torch():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced,
            (torch.zeros(1, 3, _TRACED_PX * net.stride, (_TRACED_PX + 2) * net.stride),),
            stream,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,  # would mix weights with each other
            training=torch.onnx.TrainingMode.EVAL,
            input_names=[INPUT],
            output_names=[OUTPUT, DESCRIPTOR],
            dynamic_axes={INPUT: sizes, OUTPUT: sizes, DESCRIPTOR: {0: "n"}},
        )
    model = onnx.load_from_string(stream.getvalue())
    _fold_constants(model.graph)
    _merge_padding(model.graph)
    _strip(model)
    missing = _undefined(model.graph) - set(net.state_dict())
    if missing:
        raise ValueError(f"the graph refers to {sorted(missing)[:3]}, which are no tensors of the network")
    return bytes(model.SerializeToString(deterministic=True))


def _outputs(net: SegmentationNet, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = net.encode(x)
    return net.decode(features), features[-1].mean(dim=(2, 3))


class _quiet_torch:  # noqa: N801 - used like a function
    """Keeps the exporter's notes, written for its own developers, out of the log."""

    def __enter__(self) -> None:
        self.logger = logging.getLogger("torch.onnx")
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self.logger.setLevel(self.level)


def _make_tensors_distinct(net: SegmentationNet) -> None:
    """Give every tensor values of its own: the exporter would merge equal ones under one name."""
    generator = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def _fold_constants(graph: onnx.GraphProto) -> None:
    """Replace nodes that depend on constants alone, such as those that compute paddings, by constants."""
    known: dict[str, NDArray[Any]] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type == "Constant" or (inputs and all(name in known for name in inputs)):
            feeds = {name: known[name] for name in inputs}
            values: Any = ReferenceEvaluator(_single(node, feeds)).run(None, feeds)
            known.update(zip(node.output, values, strict=True))
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))
        for name, value in known.items()
        if name in used
    ]
    del graph.node[:]
    graph.node.extend([*constants, *kept])


def _single(node: onnx.NodeProto, feeds: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    """A model of one node."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    return helper.make_model(
        helper.make_graph([node], "one", inputs, outputs), opset_imports=[helper.make_opsetid("", OPSET)]
    )


def _merge_padding(graph: onnx.GraphProto) -> None:
    """Give convolutions the zero padding that stands before them as a node of its own."""
    constants = {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    padded = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for node in graph.node:
        pad = padded.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or not _pads_zeros(pad, constants):
            continue
        amounts = constants[pad.input[1]].reshape(2, -1)[:, 2:].ravel()
        attribute = next(item for item in node.attribute if item.name == "pads")
        attribute.ints[:] = [int(own + extra) for own, extra in zip(attribute.ints, amounts, strict=True)]
        node.input[0] = pad.input[0]
    used = {name for node in graph.node for name in node.input}
    kept = [n for n in graph.node if n.output[0] in used or n.op_type not in ("Pad", "Constant")]
    used = {name for node in kept for name in node.input}
    kept = [n for n in kept if n.output[0] in used or n.op_type != "Constant"]
    del graph.node[:]
    graph.node.extend(kept)


def _pads_zeros(pad: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> bool:
    modes = [item.s for item in pad.attribute if item.name == "mode"]
    value = constants.get(pad.input[2], 0.0) if len(pad.input) > 2 and pad.input[2] else 0.0
    return modes in ([], [b"constant"]) and not np.any(value)


def _strip(model: onnx.ModelProto) -> None:
    """Leave out weights and whatever depends on this machine or version."""
    del model.graph.initializer[:], model.graph.value_info[:], model.metadata_props[:]
    model.producer_name, model.producer_version, model.doc_string = "frugalseg", "", ""
    model.graph.name, model.graph.doc_string = "network", ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _undefined(graph: onnx.GraphProto) -> set[str]:
    """Names that nodes read and nothing defines: the weights."""
    defined = {name for node in graph.node for name in node.output} | {item.name for item in graph.input}
    return {name for node in graph.node for name in node.input if name} - defined
