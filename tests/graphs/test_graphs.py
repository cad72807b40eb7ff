"""Graphs without weights, with weights, in INT8; judged by torch, ONNX's checker and ONNX Runtime."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from packed_nets import image, normalised, packed_net, settled_net, with_ranges

from frugalseg.artifact import Artifact, FormatError, artifact_bytes
from frugalseg.engines.openvino import observe
from frugalseg.graphs import calibration_model, checked_graph, float_model, int8_model
from frugalseg.nets import NETS
from frugalseg.quant import QuantSpec
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor

SIDES = {"lite": (96, 128), "unet": (64, 96), "fcn": (64, 128)}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=sorted(NETS))
def model(request: pytest.FixtureRequest) -> tuple[str, torch.nn.Module, Artifact]:
    net = settled_net(request.param, n_classes=2)
    return request.param, net, packed_net(net, request.param)


def logits_of(content: bytes, name: str, seed: int = 3) -> tuple[np.ndarray, torch.Tensor]:
    x = normalised(image(*SIDES[name], seed))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": x.numpy()})[0], x


def test_weightless_graph_holds_no_weight_and_fits_in_a_few_kilobytes(model: tuple) -> None:
    _, net, artifact = model
    graph = checked_graph(artifact).graph
    assert not graph.initializer
    assert len(artifact.graph or b"") < 80_000
    read = {item for node in graph.node for item in node.input}
    tensors = {key for key, value in net.state_dict().items() if value.is_floating_point()}
    assert tensors <= read


def test_graph_with_weights_is_valid_and_computes_what_torch_computes(model: tuple) -> None:
    name, net, artifact = model
    content = float_model(artifact, artifact.members[0])
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    found, x = logits_of(content, name)
    with torch.no_grad():
        wanted = net(x).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()))


def test_other_sizes_than_the_traced_one(model: tuple) -> None:
    _, net, artifact = model
    x = normalised(image(net.stride, 3 * net.stride, 5), image(net.stride, 3 * net.stride, 6))
    session = onnxruntime.InferenceSession(float_model(artifact, artifact.members[0]))
    with torch.no_grad():
        wanted = net(x).numpy()
    np.testing.assert_allclose(session.run(None, {"image": x.numpy()})[0], wanted, atol=1e-4 * np.abs(wanted).max())


def test_int8_graph_is_valid_and_near(model: tuple) -> None:
    name, net, artifact = model
    ranges = observe(artifact, 0, [image(*SIDES[name], seed) for seed in (3, 4)], [99.99])[0]
    int8 = with_ranges(artifact, ranges)
    content, layers = int8_model(int8, int8.members[0])
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert len(layers) == sum(isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for m in net.modules())
    assert all(layer.relative_rmse < 0.03 for layer in layers)
    found, x = logits_of(content, name)
    with torch.no_grad():
        wanted = net(x).numpy()
    noise = np.sqrt(((found - wanted) ** 2).mean() / wanted.var())
    assert 0 < noise < 0.3  # a random network of dozens of layers; a wrong scale anywhere gives above 1


def test_a_unet_pools_bytes_and_makes_them_once() -> None:
    """A skip is pooled and joined with what comes from below: one conversion for both, and none after the pool."""
    artifact = packed_net(settled_net("unet"), "unet")
    ranges = observe(artifact, 0, [image(*SIDES["unet"], 3)], [100.0])[0]
    int8 = with_ranges(artifact, ranges)
    nodes = onnx.load_from_string(int8_model(int8, int8.members[0])[0]).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    pools = [node for node in nodes if node.op_type == "MaxPool"]
    assert len(pools) == 4
    assert {makers[node.input[0]] for node in pools} == {"DequantizeLinear"}
    made_bytes = [node.input[0] for node in nodes if node.op_type == "QuantizeLinear"]
    assert len(made_bytes) == len(set(made_bytes))
    assert not {node.output[0] for node in pools} & set(made_bytes)


def test_layers_without_ranges_stay_float(model: tuple) -> None:
    name, net, artifact = model
    ranges = observe(artifact, 0, [image(*SIDES[name], 3)], [100.0])[0]
    first = next(n for n in checked_graph(artifact).graph.node if n.op_type == "Conv")
    only = with_ranges(artifact, {first.input[0]: ranges[first.input[0]]})
    content, layers = int8_model(only, only.members[0])
    assert first.input[1] in [layer.name for layer in layers]
    assert len(layers) < 4
    found, x = logits_of(content, name)
    with torch.no_grad():
        wanted = net(x).numpy()
    assert np.sqrt(((found - wanted) ** 2).mean() / wanted.var()) < 0.1


@pytest.mark.parametrize("method", ["twn", "inq", "lsq", "dorefa"])
def test_codes_of_few_bit_weights_are_the_bytes_of_the_int8_graph(method: str) -> None:
    spec = QuantSpec.from_document({"method": method, "bits": {"twn": 2, "inq": 4, "lsq": 4, "dorefa": 3}[method]})
    net = settled_net("unet", spec=spec)
    if method == "inq":
        from frugalseg.quant.freezing import advance_portion

        advance_portion(net, 1.0)
    artifact = packed_net(net, "unet", spec)
    ranges = observe(artifact, 0, [image(64, 96, 3)], [100.0])[0]
    int8 = with_ranges(artifact, ranges)
    content, layers = int8_model(int8, int8.members[0])
    assert all(layer.exact_channels == layer.n_channels for layer in layers)
    tensors = {item.name: item for item in onnx.load_from_string(content).graph.initializer}
    name = layers[3].name
    stored = onnx.numpy_helper.to_array(tensors[f"{name}:bytes"])
    weights = artifact.members[0].quantized[name].dequantize()
    for ours, theirs in zip(stored.reshape(len(stored), -1), weights.reshape(len(weights), -1), strict=True):
        used = np.abs(theirs) > 0
        if used.any():
            ratio = theirs[used] / ours[used]
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)


def test_calibration_sees_the_inputs_of_all_convolutions(model: tuple) -> None:
    name, _, artifact = model
    content, names = calibration_model(artifact, artifact.members[0])
    graph = checked_graph(artifact).graph
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert {node.input[0] for node in convolutions} | {"image"} == {*names, "image"}
    session = onnxruntime.InferenceSession(content)
    x = normalised(image(*SIDES[name], 3)).numpy()
    found = dict(zip(names, session.run(names, {"image": x}), strict=True))
    ranges = observe(artifact, 0, [image(*SIDES[name], 3)], [100.0])[0]
    for key, values in found.items():
        assert ranges[key] == pytest.approx((values.min(), values.max()), rel=1e-3, abs=1e-3)


def altered(artifact: Artifact, change) -> Artifact:  # type: ignore[no-untyped-def]
    graph = onnx.load_from_string(artifact.graph)
    change(graph)
    return dataclasses.replace(artifact, graph=graph.SerializeToString())


def _external(model: onnx.ModelProto) -> None:
    tensor = TensorProto(dims=[1], data_type=1, name="x", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["secret"], value=tensor))


def _first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def _computed_weight(model: onnx.ModelProto) -> None:
    convolution = _first(model, "Conv")
    model.graph.node.insert(0, helper.make_node("Relu", [convolution.input[1]], ["computed"]))
    convolution.input[1] = "computed"


def _before_logits(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Let nodes that lead from `inner` to `logits` follow the last one."""
    next(node for node in model.graph.node if node.output[0] == "logits").output[0] = "inner"
    model.graph.node.extend(nodes)


def _enlarge(model: onnx.ModelProto) -> None:
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 1000, 1000], dtype=np.float32))
    _before_logits(
        model,
        helper.make_node("Constant", [], ["scales"], value=scales),
        helper.make_node("Resize", ["inner", "", "scales"], ["huge"], mode="nearest"),
        helper.make_node("MaxPool", ["huge"], ["logits"], kernel_shape=[1000, 1000], strides=[1000, 1000]),
    )


def _pool_logits(model: onnx.ModelProto) -> None:
    _before_logits(model, helper.make_node("MaxPool", ["inner"], ["logits"], kernel_shape=[2, 2], strides=[2, 2]))


def _sizes_of_the_file(model: onnx.ModelProto) -> None:
    """Shape inference knows no size behind this Resize, and all of them behind the pooling."""
    _before_logits(
        model,
        helper.make_node("Resize", ["inner", "", "head.bias"], ["huge"], mode="nearest"),
        helper.make_node("MaxPool", ["huge"], ["logits"], kernel_shape=[9, 9], strides=[9, 9]),
    )


ATTACKS = {
    "sizes of the file": (_sizes_of_the_file, "Resize whose sizes are no constants"),
    "a very long name": (lambda m: setattr(m.graph, "doc_string", "x" * 2**20), "limit 1,048,576"),
    "loop": (lambda m: m.graph.node.append(helper.make_node("Loop", [], ["x"])), "operator"),
    "foreign operator": (lambda m: m.graph.node.append(helper.make_node("Conv", [], ["x"], domain="evil")), "operator"),
    "external data": (_external, "lies elsewhere"),
    "unknown tensor": (lambda m: m.graph.node[0].input.append("nowhere"), "nothing in the file defines"),
    "another output": (lambda m: setattr(m.graph.output[0], "name", "other"), "does not lead"),
    "no descriptor": (lambda m: m.graph.node.remove(_first(m, "ReduceMean")), "does not define descriptor"),
    "weights inside": (lambda m: m.graph.initializer.add(name="x", dims=[1], data_type=1), "more than nodes"),
    "twice": (lambda m: m.graph.node.append(m.graph.node[0]), "twice"),
    "a function": (lambda m: m.functions.add(name="f"), "more than nodes"),
    "no weight": (lambda m: _first(m, "Conv").input.__delitem__(slice(1, None)), "ONNX refuses"),
    "a weight that is computed": (_computed_weight, "not tensors of the file"),
    "no outputs": (lambda m: _first(m, "Relu").output.__delitem__(slice(None)), "0 outputs"),
    "no version": (lambda m: m.opset_import.__delitem__(slice(None)), "ONNX refuses"),
    "other weights' shape": (lambda m: _first(m, "Conv").input.__setitem__(1, "head.weight"), "ONNX refuses"),
    "too large": (_enlarge, "makes '.*' of shape"),
    "other logits": (_pool_logits, "gives logits"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_graphs_that_no_network_needs_are_refused(attack: str) -> None:
    change, reason = ATTACKS[attack]
    artifact = packed_net(settled_net("unet"), "unet")
    with pytest.raises(FormatError, match=reason):
        checked_graph(altered(artifact, change))


@pytest.mark.parametrize("graph", [None, b"", b"\xff\xff\xff", b"not a graph at all"])
def test_no_graph_or_garbage(graph: bytes | None) -> None:
    artifact = dataclasses.replace(packed_net(settled_net("unet"), "unet"), graph=graph)
    with pytest.raises(FormatError):
        checked_graph(artifact)


def _with_tensor(artifact: Artifact, name: str, array: np.ndarray) -> Artifact:
    member = artifact.members[0]
    return dataclasses.replace(artifact, members=(dataclasses.replace(member, floats={**member.floats, name: array}),))


def test_a_tensor_that_fits_images_of_one_size_alone_is_refused() -> None:
    """Engines would fail at other sizes, or read memory that is not theirs."""
    plain = packed_net(settled_net("unet"), "unet")
    sides = (2 * plain.stride, 3 * plain.stride)
    artifact = _with_tensor(plain, "t", np.zeros((1, 1, *sides), dtype=np.float32))
    add = helper.make_node("Add", ["inner", "t"], ["logits"])
    with pytest.raises(FormatError, match="ONNX refuses"):
        checked_graph(altered(artifact, lambda model: _before_logits(model, add)))


def test_tensors_that_nothing_reads_are_not_decoded_and_too_many_are_refused() -> None:
    plain = packed_net(settled_net("unet"), "unet")
    plain = dataclasses.replace(plain, members=plain.members[:1])
    wanted = float_model(plain, plain.members[0])
    unread = _with_tensor(plain, "unread", np.full((7, 7), np.nan, dtype=np.float32))
    assert float_model(unread, unread.members[0]) == wanted
    huge = _with_tensor(plain, "huge", np.broadcast_to(np.zeros(1, dtype=np.float32), (2**14, 2**15)))
    with pytest.raises(FormatError, match="more than 268,435,456 weights"):
        checked_graph(huge)


def test_numbers_that_are_not_finite_are_refused_by_name() -> None:
    artifact = packed_net(settled_net("unet"), "unet")
    bad = _with_tensor(artifact, "head.bias", np.full_like(artifact.members[0].floats["head.bias"], np.inf))
    bad = with_ranges(bad, observe(artifact, 0, [image(64, 96)], [100.0])[0])
    for make in (float_model, int8_model):
        with pytest.raises(FormatError, match=r"tensor 'head\.bias' with values that are no finite numbers"):
            make(bad, bad.members[0])


def uniform_codes(array: np.ndarray) -> QuantizedTensor:
    """A vector as codes of 8 bits, evenly from its smallest value to its largest."""
    levels = np.linspace(array.min(), array.max() + 1e-3, 256, dtype=np.float32)
    codes = np.abs(levels[:, None] - array).argmin(axis=0).astype(np.uint8)
    layout = ChannelLayout(array.shape, array.shape, ())
    return QuantizedTensor(8, codes, levels, np.ones(layout.n_groups, dtype=np.float32), layout)


def test_biases_and_normalisations_may_be_codes() -> None:
    artifact = packed_net(settled_net("unet"), "unet")
    ranges = observe(artifact, 0, [image(64, 96, 3)], [100.0])[0]
    member = artifact.members[0]
    names = ["head.bias", next(name for name in member.floats if name.endswith("running_mean"))]
    coded = {name: uniform_codes(member.floats[name]) for name in names}
    floats = {name: array for name, array in member.floats.items() if name not in coded}
    members = (dataclasses.replace(member, quantized={**member.quantized, **coded}, floats=floats),)
    artifact = with_ranges(dataclasses.replace(artifact, members=members), ranges)
    x = normalised(image(64, 96, 3)).numpy()
    wanted, found = (
        onnxruntime.InferenceSession(each).run(None, {"image": x})[0]
        for each in (float_model(artifact, artifact.members[0]), int8_model(artifact, artifact.members[0])[0])
    )
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).mean()


def test_graph_and_ranges_survive_the_file() -> None:
    from frugalseg.artifact import parse_artifact

    artifact = with_ranges(packed_net(settled_net("unet"), "unet"), {"image": (-1.0, 1.0)})
    again = parse_artifact(artifact_bytes(artifact, "x"), "x")
    assert again.graph == artifact.graph
    assert dict(again.members[0].activations) == {"image": (-1.0, 1.0)}


def test_channels_without_weights_keep_their_bias_and_large_biases_do_not_overflow() -> None:
    """One convolution over a constant image; channels: all zero, nearly so, of normal size with a gain below 0."""
    from frugalseg.artifact import Member
    from frugalseg.graphs.int8 import _Writer
    from frugalseg.quant.int8 import int8_weights

    weights = np.stack([np.zeros((3, 1, 1)), np.full((3, 1, 1), 1e-9), np.full((3, 1, 1), 0.5)]).astype(np.float32)
    gain, bias = np.array([40.0, 3.0, -2.0], dtype=np.float32), np.array([0.7, -5.0, 0.25], dtype=np.float32)
    unit = 2.0**-7
    writer = _Writer(Member({}, {}))
    writer.affine("w", int8_weights(weights), gain, bias, unit, 0)
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in writer.tensors}
    sums = 64 * tensors["w:bytes"].astype(np.int64).sum(axis=(1, 2, 3)) + tensors["w:bias:sums"]
    found = sums * tensors["w:scale"] * unit
    np.testing.assert_allclose(found, gain * weights.sum(axis=(1, 2, 3)) * 0.5 + bias, rtol=1e-5)
    assert (abs(tensors["w:bias:sums"].astype(np.int64)) < 2**31 - 1).all()


def test_a_sign_that_cannot_be_turned_is_not_called_exact() -> None:
    from frugalseg.graphs.int8 import _fit_channels
    from frugalseg.quant.int8 import Int8Weights

    values = np.array([[-128, 3], [-127, 3]], dtype=np.int8)[:, :, None, None]
    weights = Int8Weights(values, np.ones(2, dtype=np.float32), np.ones(2, dtype=bool), 0.0)
    turned = _fit_channels(weights, np.array([-1.0, -1.0], dtype=np.float32), np.zeros(2, dtype=np.float32), 0.01, 0)
    assert turned.values[..., 0, 0].tolist() == [[127, -3], [127, -3]]
    assert turned.exact.tolist() == [False, True]


def test_what_two_convolutions_read_is_joined_once_and_shared_outputs_stay() -> None:
    """A hand-made graph: two convolutions over one concatenation; one of their outputs is read twice."""
    from frugalseg.artifact import Member

    nodes = [
        helper.make_node("Concat", ["image", "image"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "a"], ["left"]),
        helper.make_node("Conv", ["both", "b"], ["right"]),
        helper.make_node("BatchNormalization", ["left", "g", "h", "m", "v"], ["normed"]),
        helper.make_node("Add", ["left", "normed"], ["sum"]),
        helper.make_node("Add", ["sum", "right"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [None] * 4) for name in ("image", "logits")]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:])
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 1, (3, 6, 1, 1)).astype(np.float32) for name in "ab"}
    tensors |= {name: rng.uniform(0.5, 1, 3).astype(np.float32) for name in "ghmv"}
    member = Member({}, tensors, {"both": (-1.0, 1.0)})
    plain = packed_net(settled_net("unet"), "unet")
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    artifact = dataclasses.replace(plain, members=(member,), graph=content, stride=8)
    x = normalised(image(16, 24)).numpy()
    wanted, found = (
        onnxruntime.InferenceSession(each).run(None, {"image": x})[0]
        for each in (float_model(artifact, member), int8_model(artifact, member)[0])
    )
    np.testing.assert_allclose(found, wanted, atol=0.1)
