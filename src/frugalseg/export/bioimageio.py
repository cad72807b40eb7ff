"""A model as a bioimage.io package: ONNX, a description of its tensors, a test image, documentation, in one zip file.

Written with the project's own library (``bioimageio.spec``, extra ``bioimageio``), which also judges it.
"""

from __future__ import annotations

import importlib
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from frugalseg import __version__
from frugalseg.arrays import Image
from frugalseg.artifact import NOT_STATED, Artifact
from frugalseg.atomic import write_bytes
from frugalseg.errors import ConfigError, InputError
from frugalseg.instances import CUT_FACTOR, DOUBTED, InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.nets.onnx_graph import INPUT, OPSET, OUTPUT
from frugalseg.shipped import whole_terms
from frugalseg.stain import BRIGHTEST, DARK_GROUND, GLASS, LEAST_TISSUE, MOST_FACTOR, MOST_GROUND, MOST_POWER
from frugalseg.synthetic import synthetic_glands

PROBABILITIES = "probabilities"
N_STRIDES = (6, 8)
"""Size of the test image, in strides."""

CITATIONS = {
    "Xu et al., Quantization of Fully Convolutional Networks for Accurate Biomedical Image Segmentation, CVPR 2018": (
        "https://arxiv.org/abs/1803.04907"
    ),
}
METHODS = {
    "inq": ("Zhou et al., Incremental Network Quantization, ICLR 2017", "https://arxiv.org/abs/1702.03044"),
    "dorefa": ("Zhou et al., DoReFa-Net, 2016", "https://arxiv.org/abs/1606.06160"),
    "twn": ("Li et al., Ternary Weight Networks, 2016", "https://arxiv.org/abs/1605.04711"),
    "ttq": ("Zhu et al., Trained Ternary Quantization, ICLR 2017", "https://arxiv.org/abs/1612.01064"),
    "lsq": ("Esser et al., Learned Step Size Quantization, ICLR 2020", "https://arxiv.org/abs/1902.08153"),
}
"""What is cited for few-bit weights."""

GLAS = (
    "Sirinukunwattana et al., Gland segmentation in colon histology images: The GlaS challenge contest,"
    " Medical Image Analysis 35, 2017",
    "https://arxiv.org/abs/1603.00275",
)
"""Cited where the terms of the weights name the challenge's images."""


def write_package(out: Path, artifact: Artifact, network: bytes) -> int:
    """Write the package; its bytes.

    Parameters
    ----------
    out
        The zip file.
    artifact
        What the description comes from.
    network
        The first member as ONNX: normalised image to logits.

    Raises
    ------
    ConfigError
        The library is not installed.
    InputError
        The library refuses the package.
    """
    try:
        library: Any = importlib.import_module("bioimageio.spec")
    except ImportError:
        raise ConfigError("format", "bioimageio needs a library: pip install 'frugalseg[bioimageio]'") from None
    content = colours_to_probabilities(network, artifact.mean, artifact.divisor)
    image = _test_image(artifact)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        (folder / "network.onnx").write_bytes(content)
        (folder / "LICENSE.md").write_text(f"{whole_terms(artifact.licence)}\n", encoding="utf-8")
        (folder / "README.md").write_text(_documentation(artifact), encoding="utf-8")
        planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
        np.save(folder / "input.npy", planes)
        np.save(folder / "output.npy", _run(content, planes))
        _write_cover(folder / "cover.png", image)
        try:
            with library.ValidationContext(root=folder, warning_level=50):
                description = _describe(artifact, folder)
            package: Path = library.save_bioimageio_package(description, output_path=folder / "package.zip")
        except ValueError as error:
            raise InputError(out, f"bioimage.io's library refuses the package ({_reason(error)})") from None
        written = package.read_bytes()
    write_bytes(out, written)
    return len(written)


def colours_to_probabilities(network: bytes, mean: float, divisor: float) -> bytes:
    """The network as ONNX from colours 0-255 to probabilities.

    It normalises inside, so that no program can forget to, and ends in a softmax over background and classes and a
    sigmoid of the border instead of logits; the descriptor is left out.
    """
    model = onnx.load_from_string(network)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["normalised" if name == INPUT else name for name in node.input]
    constants: dict[str, NDArray[Any]] = {
        "mean": np.array(mean, dtype=np.float32),
        "divisor": np.array(divisor, dtype=np.float32),
        "first": np.array([0], dtype=np.int64),
        "last": np.array([-1], dtype=np.int64),
        "end": np.array([2**31 - 1], dtype=np.int64),
        "channels": np.array([1], dtype=np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    before = [
        helper.make_node("Sub", [INPUT, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "divisor"], ["normalised"]),
    ]
    after = [
        helper.make_node("Slice", [OUTPUT, "first", "last", "channels"], ["class_logits"]),
        helper.make_node("Slice", [OUTPUT, "last", "end", "channels"], ["border_logit"]),
        helper.make_node("Softmax", ["class_logits"], ["class_probabilities"], axis=1),
        helper.make_node("Sigmoid", ["border_logit"], ["border_probability"]),
        helper.make_node("Concat", ["class_probabilities", "border_probability"], [PROBABILITIES], axis=1),
    ]
    nodes = _needed([*before, *graph.node, *after])
    del graph.node[:]
    graph.node.extend(nodes)
    sizes = next(output for output in graph.output if output.name == OUTPUT).type.tensor_type.shape
    shape = [dim.dim_param or dim.dim_value for dim in sizes.dim]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _needed(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Those that the probabilities come from, in their order."""
    wanted = {PROBABILITIES}
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _citations(artifact: Artifact) -> list[tuple[str, str]]:
    """Texts and addresses of what the weights come from."""
    spec = artifact.card.quantization
    found = [*CITATIONS.items(), *([METHODS[spec.method]] if spec is not None else [])]
    return [*found, GLAS] if "GlaS" in artifact.licence else found


def _describe(artifact: Artifact, folder: Path) -> Any:
    v0_5: Any = importlib.import_module("bioimageio.spec.model.v0_5")
    card = artifact.card
    pixel = card.pixel_size_um / card.scale if card.pixel_size_um else None
    channels = ["background", *card.class_names, "border"]
    classes = " and ".join(card.class_names)

    def file(name: str) -> Any:
        return v0_5.FileDescr(source=folder / name)

    def space(axis: str) -> dict[str, Any]:
        return {"id": axis, "unit": "micrometer" if pixel else None, "scale": pixel or 1.0}

    size = v0_5.ParameterizedSize(min=2 * artifact.stride, step=artifact.stride)
    image = v0_5.InputTensorDescr(
        id=v0_5.TensorId(INPUT),
        description="colours 0-255, red, green, blue, at the network's scale",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=["red", "green", "blue"]),
            *(v0_5.SpaceInputAxis(**space(axis), size=size) for axis in "yx"),
        ],
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0, 255)),
        test_tensor=file("input.npy"),
    )
    maps = v0_5.OutputTensorDescr(
        id=v0_5.TensorId(PROBABILITIES),
        description="probabilities of background and classes, which add up to 1, and of an object's border",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=channels),
            *(
                v0_5.SpaceOutputAxis(**space(axis), size=v0_5.SizeReference(tensor_id=image.id, axis_id=axis))
                for axis in "yx"
            ),
        ],
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0, 1)),
        test_tensor=file("output.npy"),
    )
    bits = (
        ""
        if card.quantization is None
        else f", {card.quantization.bits}-bit {card.quantization.method.upper()} weights"
    )
    return v0_5.ModelDescr(
        name=re.sub(r"[^a-zA-Z0-9_+\- ()]", "", f"frugalseg {card.net} - {classes}")[:120],
        description=f"Segmentation of {classes} by the network {card.net}{bits}; made by frugalseg {__version__}",
        authors=[v0_5.Author(name="frugalseg")],
        cite=[v0_5.CiteEntry(text=text, url=url) for text, url in _citations(artifact)],
        license=file("LICENSE.md") if artifact.licence != NOT_STATED else None,
        documentation=file("README.md"),
        covers=[file("cover.png")],
        tags=["segmentation", "instance-segmentation", "2d", "histology", "quantization", "onnx"],
        inputs=[image],
        outputs=[maps],
        weights=v0_5.WeightsDescr(onnx=v0_5.OnnxWeightsDescr(source=folder / "network.onnx", opset_version=OPSET)),
        config=v0_5.Config(frugalseg=_settings(card)),
    )


def _stain_rules(card: ModelCard) -> str:
    if card.stain is None:
        return ""
    factor, power = f"{MOST_FACTOR:g}", f"between {1 / MOST_POWER:.2f} and {MOST_POWER:.2f}"
    return f"""
Stain: the density of a value v is -ln((v + 1) / 256). Tissue are pixels whose density, averaged over the colours, is
more than {GLASS:g} above that of the brightest {BRIGHTEST:.0%} (taken as {MOST_GROUND:g} at most). With m and s, mean
and standard deviation of ln(density) over tissue, every density d of that colour becomes exp(m + a + p (ln d - m)):
a = level - m, held between -ln {factor} and ln {factor}, and p = spread / s, held {power}.
Level and spread of red, green and blue are in rdf.yaml's config. Images with less than {LEAST_TISSUE:.0%} tissue, or of
which a quarter is denser than {DARK_GROUND:g}, stay as they are.

"""


def _settings(card: ModelCard) -> dict[str, Any]:
    """What `frugalseg predict` knows beside the weights."""
    stain = None if card.stain is None else {"level": [*card.stain.level], "spread": [*card.stain.spread]}
    return {"scale": card.scale, "instances": card.instances.to_document(), "stain": stain}


def _reason(error: ValueError) -> str:
    """The library's complaint in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join(lines[1:3] or lines)


def _test_image(artifact: Artifact) -> Image:
    """Drawn by a program, so that the package holds no image of anybody's."""
    height, width = (n * artifact.stride for n in N_STRIDES)
    return synthetic_glands(0, height=height, width=width).image


def _run(model: bytes, image: Any) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("format", "bioimageio needs a library: pip install 'frugalseg[bioimageio]'") from None
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {INPUT: image})[0]


def _write_cover(path: Path, image: Image) -> None:
    """The test image, cut to the 2:1 that covers have."""
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    rows = min(height, width // 2)
    Pillow.fromarray(np.ascontiguousarray(image[:rows, : 2 * rows])).save(path)


def _cores(settings: InstanceSettings) -> str:
    """How components of the foreground are cut apart."""
    if not settings.border_weight:
        return "; its 8-connected components"
    return f"""; cores where it times
(1 - {settings.border_weight:g} x border) is above {settings.core_threshold:g}, of at least
{0.25 * settings.min_area:g} square pixels, grown by a watershed; pieces below
{settings.fragment_area:g} square pixels rejoin the neighbour with which they share the longest edge, if the
mean of that product along it is above {settings.fragment_edge:g}"""


def _documentation(artifact: Artifact) -> str:
    card, settings = artifact.card, artifact.card.instances
    size = f"{card.pixel_size_um / card.scale:.3g} µm a pixel" if card.pixel_size_um else "the network's scale"
    classes = ", ".join(card.class_names)
    stained = "" if card.stain is None else ", and their stain is brought to that of the training images (below)"
    if settings.rejector is not None:
        judged = "the others are judged by the rejector in rdf.yaml's config"
    else:
        small = f" below {DOUBTED * settings.min_area:g} square pixels" if settings.min_area else ""
        judged = f"so are objects{small} whose mean foreground probability is below {settings.min_confidence:g}"
    return f"""# {card.net} for {classes}

Trained and packed with frugalseg {__version__}. The network gets colours at {size}: images like the training images are
first scaled by {card.scale:g}{stained}. It gives probabilities of background, {classes}, and of
the border of an object.

Objects: foreground probability (1 - background) above {settings.threshold:g}{_cores(settings)}.
Holes are filled, and each object is opened by a disc with a radius of {settings.opening_radius:g} pixels (below 1: not
at all; what is thinner throughout stays; objects go on beyond the image's edge); parts that are no debris are objects
each. Objects below
{settings.debris_area:g} square pixels are debris, {judged}.
For debris and doubt, objects that the image's edge cuts count as {CUT_FACTOR:g} times larger.
{_stain_rules(card)}`frugalseg predict` does this.

Licence of the weights: {artifact.licence}. Not a medical device.

## Validation

Compare with outlines of your own images: `frugalseg evaluate --pred DIR --truth DIR` computes object F1, object Dice
and object Hausdorff.
"""
