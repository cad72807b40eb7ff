"""Exports judged by the programs they are for: bioimage.io's own test, and onnxruntime without this package."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from packed_nets import image, normalised, packed_net, settled_net
from PIL import Image

from frugalseg.artifact import read_artifact, write_artifact
from frugalseg.cli import main
from frugalseg.export.bioimageio import colours_to_probabilities
from frugalseg.graphs import float_model
from frugalseg.images import write_image
from frugalseg.stain import GLASS, Stain

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_in_ten_lines.py"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed network that nobody trained."""
    path = tmp_path_factory.mktemp("packed") / "net.fseg"
    write_artifact(path, packed_net(settled_net("lite", n_classes=2), "lite"))
    return path


def test_bioimage_io_accepts_its_package(packed: Path, tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed")
    out = tmp_path / "net.zip"
    assert main(["export", str(packed), "--format", "bioimageio", "--out", str(out)]) == 0
    summary = core.test_description(out, expected_type="model")
    assert summary.status == "passed", summary.format()
    description = core.load_description(out)
    assert description.inputs[0].axes[1].channel_names == ["red", "green", "blue"]
    assert description.outputs[0].axes[1].channel_names == ["background", "class 0", "class 1", "border"]


def test_the_package_says_how_images_are_stained(packed: Path, tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="bioimageio.core is not installed")
    artifact = read_artifact(packed)
    stain = Stain((-1.5, -0.25, -1.25), (0.75, 0.5, 0.5))
    card = dataclasses.replace(artifact.card, stain=stain)
    write_artifact(tmp_path / "net.fseg", dataclasses.replace(artifact, card=card))
    for name, path in (("with", tmp_path / "net.fseg"), ("without", packed)):
        assert main(["export", str(path), "--format", "bioimageio", "--out", str(tmp_path / f"{name}.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "with.zip") as package:
        said = package.read("README.md").decode()
    told = core.load_description(tmp_path / "with.zip").config.model_dump()["frugalseg"]["stain"]
    assert told == {"level": [-1.5, -0.25, -1.25], "spread": [0.75, 0.5, 0.5]}
    assert f"more than {GLASS:g} above that of the brightest 1%" in said
    with zipfile.ZipFile(tmp_path / "without.zip") as package:
        assert "tain" not in package.read("README.md").decode()
    assert main(["export", str(tmp_path / "net.fseg"), "--format", "onnx", "--out", str(tmp_path / "net.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map["frugalseg"])
    assert facts["stain"] == told


def test_the_packages_network_gives_the_probabilities_of_ours() -> None:
    net = settled_net("lite", n_classes=2)
    artifact = packed_net(net, "lite")
    colours = image(128, 160)
    model = colours_to_probabilities(float_model(artifact, artifact.members[0]), artifact.mean, artifact.divisor)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"image": colours.transpose(2, 0, 1)[None].astype(np.float32)})
    logits = net(normalised(colours)).detach()
    assert np.abs(maps[:, :3] - logits[:, :3].softmax(dim=1).numpy()).max() < 1e-4
    assert np.abs(maps[:, 3] - logits[:, 3].sigmoid().numpy()).max() < 1e-4
    assert [output.name for output in session.get_outputs()] == ["probabilities"]


def test_the_example_needs_nothing_of_this_package(packed: Path, tmp_path: Path) -> None:
    model, picture, out = tmp_path / "net.onnx", tmp_path / "tissue.png", tmp_path / "found.png"
    assert main(["export", str(packed), "--format", "onnx", "--out", str(model)]) == 0
    write_image(picture, image(150, 210))
    without = (
        f"import sys, runpy; sys.modules['frugalseg'] = None; sys.argv = {['x', *map(str, (model, picture, out))]}; "
    )
    subprocess.run([sys.executable, "-c", f"{without}runpy.run_path({str(EXAMPLE)!r})"], check=True)
    found = np.asarray(Image.open(out))
    assert found.shape == (150, 210)
    assert set(np.unique(found)) <= {0, 255}
    net = settled_net("lite", n_classes=2)
    small = np.asarray(Image.open(picture).resize((105, 75), Image.Resampling.BILINEAR))  # at the scale 0.5
    padded = np.pad(small, [(0, 96 - 75), (0, 128 - 105), (0, 0)], mode="edge")  # to strides of 32
    logits = net(normalised(padded))[0].detach().numpy()[:, :75, :105]
    expected = Image.fromarray(np.uint8(255) * (logits[1:-1].max(axis=0) > logits[0]))
    assert (found == np.asarray(expected.resize((210, 150), Image.Resampling.NEAREST))).mean() > 0.999


def test_an_ensemble_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    single = packed_net(settled_net("lite"), "lite")
    path = tmp_path / "two.fseg"
    write_artifact(path, dataclasses.replace(single, members=single.members * 2))
    assert main(["export", str(path), "--format", "bioimageio", "--out", str(tmp_path / "x.zip")]) == 2
    assert "holds one network" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()


def test_a_missing_library_is_named(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    assert main(["export", str(packed), "--format", "bioimageio", "--out", str(tmp_path / "x.zip")]) == 2
    assert "pip install 'frugalseg[bioimageio]'" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()
