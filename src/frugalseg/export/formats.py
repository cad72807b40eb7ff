"""One writer for each file format."""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from frugalseg import __version__
from frugalseg.artifact import Artifact, FormatError, read_artifact, write_artifact
from frugalseg.atomic import write_bytes
from frugalseg.errors import ConfigError, InputError
from frugalseg.export.calibration import Calibration, calibrate, calibration_images
from frugalseg.export.packing import member_folders, pack_runs, with_half_floats
from frugalseg.graphs import float_model, int8_model
from frugalseg.shipped import whole_terms
from frugalseg.train.folds import FittedRejector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path, n_bytes
        The file; with OpenVINO the ``.xml`` and the bytes of both files.
    calibration
        What calibrating found; None where none was done.
    """

    path: Path
    n_bytes: int
    calibration: Calibration | None


def export_model(
    runs: Sequence[Path],
    out: Path,
    file_format: str,
    *,
    int8: bool | None = None,
    images: Path | None = None,
    licence: str | None = None,
    rejector: Path | None = None,
    half_floats: bool = False,
    advance: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write finished runs as a file of another format.

    Parameters
    ----------
    runs
        Run folders, several only for ``fseg``, as an ensemble; or one packed file, for the other formats.
    out
        The file; an existing one is replaced.
    file_format
        A key of :data:`FORMATS`.
    int8
        Whether the file shall be able to run in INT8; None means: for ``fseg`` if there are images to calibrate on.
    images
        A folder of images to calibrate on; the training images of the first run by default.
    licence
        Of the weights; None for that of the weights which training began from, if those have one.
    rejector
        A cross-validation whose rejector of false objects goes into the file, or such a rejector's file.
    half_floats
        Store what is not codes (normalisations, biases) in 16 bits; ``fseg`` only.
    advance
        Told what is being done.

    Raises
    ------
    InputError, ConfigError
        A run or a folder cannot be used, or the format cannot hold what was asked for; nothing is written.
    """
    wants_int8 = bool(int8) or images is not None
    if file_format in ("torchscript", "bioimageio") and wants_int8:
        raise ConfigError("format", f"{file_format} holds float weights only; choose fseg, onnx or openvino for INT8")
    if int8 is False and images is not None:
        raise ConfigError("int8", "images to calibrate on are of no use without INT8")
    if half_floats and file_format != "fseg":
        raise ConfigError("half_floats", f"{file_format} holds floats of 32 bits; choose fseg")
    judge = None if rejector is None else FittedRejector.read(rejector)
    if out.is_dir():
        raise InputError(out, "is a folder, not a file to write")
    suffix = FORMATS[file_format].suffix
    if out.suffix != suffix:
        raise InputError(out, f"has another suffix than {suffix}, which {file_format} has")
    if len(runs) == 1 and runs[0].is_file() and file_format not in ("fseg", "torchscript"):
        if judge is not None:
            raise ConfigError("rejector", "goes with run folders; a packed file keeps what it was packed with")
        if licence is not None:
            raise ConfigError("licence", "goes with run folders; the weights of a packed file keep their own terms")
        return _export_packed(runs[0], out, file_format, wants_int8, images)
    folders = member_folders(runs)
    if file_format != "fseg" and len(folders) > 1:
        raise ConfigError("format", f"{file_format} holds one network; an ensemble goes into one fseg file")
    artifact = pack_runs(runs, licence=licence)
    if judge is not None:
        judge.check(artifact.card)
        if len(folders) > 1:
            log.warning("the rejector was fitted to single networks, not to an ensemble of %d", len(folders))
        instances = replace(artifact.card.instances, rejector=judge.rejector)
        artifact = replace(artifact, card=replace(artifact.card, instances=instances))
    if half_floats:
        artifact = with_half_floats(artifact)
    calibration = None
    if wants_int8 or (int8 is None and file_format == "fseg"):
        try:
            advance("reading images to calibrate on")
            found = calibration_images(folders[0], artifact, images)
            artifact, calibration = calibrate(artifact, found, advance=advance)
        except InputError as error:
            if wants_int8:
                raise
            log.warning("no ranges for INT8 in %s, it will run in bf16 or fp32: %s", out, error)
    out.parent.mkdir(parents=True, exist_ok=True)
    n_bytes = FORMATS[file_format].write(out, artifact, folders[0], calibration is not None)
    return Exported(out, n_bytes, calibration)


def _export_packed(source: Path, out: Path, file_format: str, int8: bool, images: Path | None) -> Exported:
    """Write the network of a packed file, which has its ranges for INT8 or has none."""
    artifact = read_artifact(source)
    if len(artifact.members) > 1:
        raise ConfigError("format", f"{file_format} holds one network; {source} holds {len(artifact.members)}")
    if images is not None:
        raise ConfigError("calibrate", "a packed file keeps its own ranges; calibrate when packing the run")
    if int8 and not artifact.members[0].activations:
        raise InputError(source, "has no ranges for INT8")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Exported(out, FORMATS[file_format].write(out, artifact, None, int8), None)
    except FormatError as fault:
        raise InputError(source, str(fault)) from None


def _write_fseg(out: Path, artifact: Artifact, run: Path | None, int8: bool) -> int:
    return write_artifact(out, artifact)


def _network(artifact: Artifact, int8: bool) -> bytes:
    member = artifact.members[0]
    return int8_model(artifact, member)[0] if int8 else float_model(artifact, member)


def describe(artifact: Artifact) -> dict[str, Any]:
    """What a program needs to use the network without this package: scale, classes, normalisation, instances."""
    return {
        "frugalseg": __version__,
        **asdict(artifact.card),
        "stride": artifact.stride,
        "halo_px": artifact.halo_px,
        "normalisation": {"mean": artifact.mean, "divisor": artifact.divisor},
        "licence": whole_terms(artifact.licence),
    }


def _write_onnx(out: Path, artifact: Artifact, run: Path | None, int8: bool) -> int:
    model = onnx.load_from_string(_network(artifact, int8))
    entry = model.metadata_props.add()
    entry.key, entry.value = "frugalseg", json.dumps(describe(artifact))
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    write_bytes(out, content)
    return len(content)


def _write_bioimageio(out: Path, artifact: Artifact, run: Path | None, int8: bool) -> int:
    from frugalseg.export.bioimageio import write_package

    return write_package(out, artifact, float_model(artifact, artifact.members[0]))


def _write_openvino(out: Path, artifact: Artifact, run: Path | None, int8: bool) -> int:
    """Both files of OpenVINO's form; an ``.xml`` never stands beside another model's weights."""
    import openvino

    from frugalseg.engines.openvino import runnable

    model = runnable(artifact, 0, "int8" if int8 else "fp32")
    model.set_rt_info(json.dumps(describe(artifact)), "frugalseg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        contents = {name: path.with_suffix(name).read_bytes() for name in (".bin", ".xml")}
    out.unlink(missing_ok=True)
    for suffix, content in contents.items():
        write_bytes(out.with_suffix(suffix), content)
    return sum(map(len, contents.values()))


def _write_torchscript(out: Path, artifact: Artifact, run: Path | None, int8: bool) -> int:
    import warnings

    import torch

    from frugalseg.quant.layers import bake
    from frugalseg.train.weights import load_net

    assert run is not None  # a packed file does not come here
    net = bake(load_net(run)[0]).eval()
    net.forward = lambda x: net.decode(net.encode(x))  # type: ignore[method-assign]
    size = 4 * net.stride
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, torch.zeros(1, 3, size, size + 2 * net.stride))
        stream = io.BytesIO()
        torch.jit.save(traced, stream, _extra_files={"frugalseg.json": json.dumps(describe(artifact))})
    write_bytes(out, stream.getvalue())
    return len(stream.getvalue())


@dataclass(frozen=True)
class Format:
    """A file format: its suffix, what it is for, and its writer."""

    suffix: str
    purpose: str
    write: Callable[[Path, Artifact, Path | None, bool], int]


FORMATS: Mapping[str, Format] = {
    "fseg": Format(".fseg", "packed few-bit model for 'frugalseg predict'", _write_fseg),
    "onnx": Format(".onnx", "normalised image (N, 3, H, W) to logits, for any program that runs ONNX", _write_onnx),
    "openvino": Format(".xml", "colours (N, H, W, 3) to probabilities, for OpenVINO", _write_openvino),
    "bioimageio": Format(".zip", "bioimage.io package: the network as ONNX, described and tested", _write_bioimageio),
    "torchscript": Format(".pt", "normalised image (N, 3, H, W) to logits, for LibTorch", _write_torchscript),
}
"""What ``frugalseg export`` writes, by name."""
