"""Segment image files with a trained model, and write what was found."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save as serialise
from skimage.measure import regionprops

from frugalseg.arrays import Image
from frugalseg.artifact import Artifact, parse_artifact, read_content
from frugalseg.atomic import write_bytes
from frugalseg.engines import Engine
from frugalseg.errors import ConfigError, InputError, Problem
from frugalseg.familiarity import appearance
from frugalseg.images import (
    image_stem,
    read_header,
    read_image,
    write_image,
    write_label_map,
)
from frugalseg.images.inputs import find_images as find_images
from frugalseg.model_files import ModelCard, check_members, check_sizes, joint_card
from frugalseg.processor import Precision, usable_threads
from frugalseg.report import overlay
from frugalseg.results_folder import OVERLAYS, PROBABILITIES, ResultsFolder
from frugalseg.segmentation import Segmented, resize_image, segment
from frugalseg.shipped import MODELS, resolve_model
from frugalseg.stain import without_padding

log = logging.getLogger(__name__)

EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]

N_NAMED = 3
"""Images that a warning names."""


LARGEST_PNG_LABEL = 65535
"""Images with more objects than this get a TIFF of 32 bits whatever format was asked for."""


@dataclass(frozen=True)
class Model:
    """A model ready to run: one engine for each member, the card they share, and the terms of packed weights."""

    engines: tuple[Engine, ...]
    card: ModelCard
    licences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What to write beside the label maps, and in which format."""

    folder: Path
    suffix: str = ".png"
    overlays: bool = True
    probabilities: bool = False


def load_model(
    paths: Sequence[Path],
    *,
    engine: EngineName = "auto",
    precision: Precision | Literal["auto"] = "auto",
    device: str = "auto",
    threads: int = 0,
) -> Model:
    """Load one packed file or run folder, or several as an ensemble whose probabilities are averaged.

    A folder that ``frugalseg train --folds`` made stands for its folds' runs, a packed file for all its members.

    Parameters
    ----------
    paths
        Files and folders; ``Path("glands")`` names the shipped model.
    engine
        ``auto`` is OpenVINO for packed files, which then need no torch, and torch for run folders.
    precision, device, threads
        Arithmetic of the convolutions; where to run; 0 means all cores.

    Raises
    ------
    InputError
        A path holds no finished model, or the members do not fit together.
    ConfigError
        The engine cannot do what was asked for, or is not installed.
    """
    paths = [resolve_model(Path(path)) for path in paths]
    known = f" (the shipped ones are {', '.join(MODELS)})"
    problems = [Problem(str(path), f"no such model{known}") for path in paths if not path.exists()]
    if problems:
        raise InputError.of(problems)
    models = [
        _load_packed(path, engine, precision, device, threads)
        if path.is_file()
        else _load_runs(path, engine, precision, device, threads)
        for path in paths
    ]
    check_members(paths, [model.card for model in models])
    return Model(
        tuple(each for model in models for each in model.engines),
        joint_card([model.card for model in models]),
        tuple(dict.fromkeys(text for model in models for text in model.licences)),
    )


def _load_packed(path: Path, engine: EngineName, precision: Any, device: str, threads: int) -> Model:
    if path.suffix != ".fseg":
        raise InputError(path, "is neither a run folder nor a packed model (.fseg)")
    content = read_content(path)
    artifact = parse_artifact(content, str(path))
    if device == "cuda" and engine not in ("auto", "torch"):
        raise ConfigError("device", f"cuda needs the engine torch, not {engine}")
    if engine == "torch" or device == "cuda":
        return Model(_torch_members(artifact, path, precision, device, threads), artifact.card, (artifact.licence,))
    from frugalseg.engines.packed import packed_engines

    digest = hashlib.sha256(content).hexdigest()  # of the very bytes that were parsed
    del content
    engines = packed_engines(
        artifact,
        str(path),
        engine="openvino" if engine == "auto" else engine,
        precision=precision,
        threads=threads,
        digest=digest,
    )
    return Model(engines, artifact.card, (artifact.licence,))


def _torch_members(artifact: Artifact, path: Path, precision: str, device: str, threads: int) -> tuple[Engine, ...]:
    """Engines over this package's own network with a packed file's weights."""
    from frugalseg.train.weights import packed_net

    engines = [
        _torch_engine(packed_net(artifact, member, path), precision, device, threads) for member in artifact.members
    ]
    return tuple(engines)


def _load_runs(path: Path, engine: EngineName, precision: str, device: str, threads: int) -> Model:
    if engine not in ("auto", "torch"):
        raise ConfigError("engine", f"{engine} runs packed models; write one with 'frugalseg export {path} --out FILE'")
    from frugalseg.quant.layers import bake
    from frugalseg.train.folds import fold_folders
    from frugalseg.train.weights import licence_of, load_net

    engines, cards = [], []
    folders = fold_folders(path) or [path]
    for folder in folders:
        net, card = load_net(folder)
        if card.quantization is not None:
            net = bake(net)  # the few-bit weights once, not at every run
        engines.append(_torch_engine(net, precision, device, threads))
        cards.append(card)
    check_members(folders, cards)
    return Model(tuple(engines), joint_card(cards), tuple(dict.fromkeys(map(licence_of, folders))))


def _torch_engine(net: Any, precision: str, device_name: str, threads: int) -> Engine:
    import torch

    from frugalseg.engines.torch import TorchEngine, has_bf16

    if precision == "int8":
        raise ConfigError("precision", "int8 needs a packed model (frugalseg export) and OpenVINO or ONNX Runtime")
    torch.set_num_threads(threads or usable_threads())
    cuda = torch.cuda.is_available()
    if device_name == "cuda" and not cuda:
        raise ConfigError("device", "cuda asked for, but torch finds no CUDA device")
    device = torch.device("cuda" if cuda and device_name != "cpu" else "cpu")
    bf16 = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return TorchEngine(net.to(device, memory_format=torch.channels_last), bf16=bf16)


def segment_image(model: Model, image: Image, *, pixel_size_um: float | None = None, tta: bool = False) -> Segmented:
    """Segment one image in memory, as ``frugalseg predict`` does those in files.

    Parameters
    ----------
    image
        Colours, ``uint8`` of shape (H, W, 3); of any size.
    pixel_size_um
        Size of its pixels in µm; that of the training images if not given.
    tta
        Average over turns, mirrored turns and three scales.

    Returns
    -------
    Segmented
        Among others `labels`, the label map (H, W): 0 for background, objects 1…n.

    Raises
    ------
    InputError
        The pixel size cannot be right, or the array is no such image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError("image", f"must be uint8 of shape (H, W, 3), is {image.dtype} of shape {image.shape}")
    card = model.card
    check_sizes(card, [Path("image")], [pixel_size_um], flag=False)
    scale = card.scale_for(pixel_size_um)
    return segment(model.engines, image, scale=scale, settings=card.instances, stain=card.stain, tta=tta)


def predict_files(
    model: Model,
    files: Sequence[Path],
    outputs: Outputs,
    *,
    tta: bool = False,
    pixel_size_um: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Segment files one after the other and write label maps, overlays and the object table.

    Parameters
    ----------
    model, files, outputs
        What runs, on what, and where results go. A label map carries its image's stem.
    tta
        Average over turns, mirrored turns and three scales.
    pixel_size_um
        Size of the images' pixels, where the files do not say it or say it wrongly.
    advance
        Called after each image.

    Returns
    -------
    One summary for each image: name, number of objects, area share, pixel size in µm or None, the factor by which the
    network saw it; and, where the model knows how its training images
    look, how far the image lies from them (`distance`; above 1 it looks unlike them) and what is different (`unlike`).

    Raises
    ------
    InputError
        Before any work, pixel sizes that cannot be right, or label maps in the way that are no earlier results; after
        the other images were done, those that could not be decoded.
    """
    sizes = [pixel_size_um or read_header(path).pixel_size_um for path in files]
    check_sizes(model.card, files, sizes, pixel_size_um)
    _warn_of_unknown_sizes(model.card, files, sizes)
    folder = ResultsFolder(outputs.folder, map(image_stem, files))
    rows: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for path, size_um in zip(files, sizes, strict=True):
        try:
            image = read_image(path)
        except InputError as error:
            problems += error.problems
            continue
        card = model.card
        scale = card.scale_for(size_um)
        found = segment_image(model, image, pixel_size_um=size_um, tta=tta)
        name = image_stem(path)
        folder.clear(name, _write(outputs, name, image, found))
        objects = list(object_rows(name, found, card, size_um))
        rows += objects
        summary = {
            "image": name,
            "n_objects": len(objects),
            "foreground": round(float((found.labels > 0).mean()), 6),
            "pixel_size_um": size_um,
            "scale": round(scale, 6),
        }
        summaries.append(summary | compare_with_training(card, image, scale))
        advance()
    folder.finish(rows, summaries)
    if problems:
        raise InputError.of(problems)
    return summaries


def _warn_of_unknown_sizes(card: ModelCard, files: Sequence[Path], sizes: Sequence[float | None]) -> None:
    unknown = [path for path, size in zip(files, sizes, strict=True) if size is None]
    if unknown and card.pixel_size_um is not None:
        log.warning("%d of %d images say no pixel size (%s); taken for %g µm, as the training images had"
                    " (--pixel-size UM corrects it)",
                    len(unknown), len(files), _first_names(unknown), card.pixel_size_um)  # fmt: skip


def _first_names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:N_NAMED]) + (", …" if len(paths) > N_NAMED else "")


def compare_with_training(card: ModelCard, image: Image, scale: float) -> dict[str, Any]:
    """`distance` of an image from the training images and `unlike`, what is different where that is above 1.

    Empty where the model does not know how its training images look.
    """
    if card.familiarity is None:
        return {}
    numbers = appearance(without_padding(resize_image(image, scale), card.stain))
    distance = card.familiarity.distance(numbers)
    return {
        "distance": round(distance, 3),
        "unlike": card.familiarity.difference(numbers) if distance > 1 else "",
    }


def warn_of_unlike(summaries: Sequence[dict[str, Any]]) -> None:
    """One line of warning that names the images that look unlike the training images."""
    strange = [f"{summary['image']} ({summary['unlike']})" for summary in summaries if summary.get("unlike")]
    if strange:
        more = f" and {len(strange) - N_NAMED} more" if len(strange) > N_NAMED else ""
        log.warning("%d of %d images look unlike the training images, look at their results: %s%s",
                    len(strange), len(summaries), ", ".join(strange[:N_NAMED]), more)  # fmt: skip


def _write(outputs: Outputs, name: str, image: Any, found: Segmented) -> list[Path]:
    """Files of one image."""
    suffix = ".tiff" if found.labels.max(initial=0) > LARGEST_PNG_LABEL else outputs.suffix
    written = [outputs.folder / f"{name}{suffix}"]
    write_label_map(written[0], found.labels)
    if outputs.overlays:
        written.append(outputs.folder / OVERLAYS / f"{name}.png")
        write_image(written[-1], np.asarray(overlay(image, found.labels)))
    if outputs.probabilities:
        content = serialise({"probabilities": np.ascontiguousarray(found.probabilities)})
        written.append(outputs.folder / PROBABILITIES / f"{name}.safetensors")
        write_bytes(written[-1], content)
    return written


def object_rows(
    name: str, found: Segmented, card: ModelCard, pixel_size_um: float | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of the object table: label, class, area, centroid, perimeter, confidence; µm where the size is known."""
    for region in regionprops(found.labels):
        label = int(region.label)
        row: dict[str, Any] = {
            "image": name,
            "label": label,
            "class": card.class_names[found.classes.get(label, 0)],
            "confidence": round(found.confidences.get(label, 0.0), 4),
            "area_px": int(region.area),
            "centroid_x_px": round(float(region.centroid[1]), 2),
            "centroid_y_px": round(float(region.centroid[0]), 2),
            "perimeter_px": round(float(region.perimeter), 2),
        }
        if pixel_size_um is not None:
            row["area_um2"] = round(row["area_px"] * pixel_size_um**2, 3)
            row["perimeter_um"] = round(row["perimeter_px"] * pixel_size_um, 3)
        yield row
