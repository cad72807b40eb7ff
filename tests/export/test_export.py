"""From a finished run to files of other formats, and from the packed one to objects, without torch."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from narrow_nets import narrow_unet
from packed_nets import card, image, normalised, settled_net
from PIL import Image

from frugalseg.artifact import read_artifact, write_artifact
from frugalseg.cli import main
from frugalseg.engines.cache import CACHE_VARIABLE
from frugalseg.errors import InputError
from frugalseg.export.calibration import calibration_images
from frugalseg.images import write_image
from frugalseg.model_files import read_card
from frugalseg.nets import SegmentationNet, unet
from frugalseg.quant import QuantSpec
from frugalseg.quant.freezing import advance_portion
from frugalseg.quant.layers import effective_weights
from frugalseg.rejector import Rejector
from frugalseg.train.folder import finish

INQ = QuantSpec.from_document({"method": "inq", "bits": 5})

WIDE = unet.CHANNELS


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    """A `unet` that is soon packed and compiled."""
    with narrow_unet((8, 16, 32, 64, 512)):
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def run_folder(folder: Path, name: str = "unet", spec: QuantSpec | None = INQ, seed: int = 0) -> SegmentationNet:
    """A finished run folder of a network that nobody trained."""
    net = settled_net(name, spec=spec, seed=seed)
    if spec is not None and spec.method == "inq":
        advance_portion(net, 1.0)
    folder.mkdir(parents=True)
    finish(folder, net, card(name, 1, spec), steps=1)
    return net


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tissue")
    for seed in range(3):
        write_image(folder / f"tissue {seed}.png", image(150, 200, seed))
    return folder


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentationNet]:
    """A run of a network in INQ-5, and the network; for reading only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, run_folder(folder)


@pytest.fixture(scope="module")
def packed(quantized: tuple[Path, SegmentationNet], images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a packed file that runs in INT8."""
    out = tmp_path_factory.mktemp("packed") / "model.fseg"
    command = ["export", str(quantized[0]), "--out", str(out), "--calibrate", str(images), "--licence", "CC0-1.0"]
    assert main(command) == 0
    return out


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()]


class TestPacked:
    def test_weights_come_back_bit_for_bit(self, quantized: tuple[Path, SegmentationNet], packed: Path) -> None:
        net = quantized[1]
        member = read_artifact(packed).members[0]
        wanted = effective_weights(net)
        assert set(member.quantized) == set(wanted)
        for name, weights in wanted.items():
            assert member.quantized[name].dequantize().tobytes() == weights.numpy().tobytes()
        for name, value in member.floats.items():
            assert value.tobytes() == net.state_dict()[name].numpy().tobytes()

    def test_inspect_tells_bytes_and_bits(self, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", str(packed), "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["file"]["bytes"] == packed.stat().st_size
        assert document["file"]["licence"] == "CC0-1.0"
        assert document["file"]["int8"]["exact_channels"] > 0
        assert document["totals"]["mean_bits"] == pytest.approx(5, abs=0.1)
        assert document["file"]["ratio_to_float32"] > document["totals"]["ratio_to_float32"] * 0.98
        assert main(["inspect", str(packed)]) == 0
        assert "INT8" in capsys.readouterr().out

    def test_a_licence_is_text_not_markup(
        self, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_folder(tmp_path / "run")
        out, licence = str(tmp_path / "m.fseg"), "[/link] [bold]mine[/bold] \x1b[2J"
        command = ["export", str(tmp_path / "run"), "--out", out, "--no-int8", "--licence", licence]
        assert main(command) == 0
        capsys.readouterr()
        assert main(["inspect", out]) == 0
        told = capsys.readouterr().out
        assert "[/link] [bold]mine[/bold]" in told
        assert "\x1b[2J" not in told

    def test_calibration_sees_images_at_the_scale_of_their_pixels(self, packed: Path, tmp_path: Path) -> None:
        artifact = read_artifact(packed)
        artifact = dataclasses.replace(
            artifact, card=dataclasses.replace(artifact.card, scale=0.5, pixel_size_um=0.5, stain=None)
        )
        write_image(tmp_path / "finer.png", image(256, 384, 0), pixel_size_um=0.25)
        (found,) = calibration_images(tmp_path, artifact, tmp_path)
        assert found.shape == (64, 96, 3)
        write_image(tmp_path / "wrong.png", image(256, 384, 0), pixel_size_um=9.9)
        with pytest.raises(InputError, match=r"more than 16 times apart$"):
            calibration_images(tmp_path, artifact, tmp_path)

    @pytest.mark.parametrize("precision", ["auto", "int8", "fp32"])
    def test_predict_imports_no_torch(self, packed: Path, images: Path, tmp_path: Path, precision: str) -> None:
        program = (
            "import sys; sys.modules['torch'] = None\n"  # an import of torch raises
            "from frugalseg.cli import main\n"
            "code = main(sys.argv[1:])\n"
            "assert not any(name.split('.')[0] == 'torch' and sys.modules[name] for name in sys.modules)\n"
            "sys.exit(code)"
        )
        out = tmp_path / "out"
        command = [sys.executable, "-c", program, "predict", str(packed), str(images), "--out", str(out)]
        done = subprocess.run([*command, "--precision", precision], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in out.glob("*.png")} == {f"tissue {seed}.png" for seed in range(3)}
        assert np.asarray(Image.open(out / "tissue 0.png")).shape == (150, 200)

    def test_fp32_gives_the_run_folders_objects(
        self, quantized: tuple[Path, SegmentationNet], packed: Path, images: Path, tmp_path: Path
    ) -> None:
        for model, out, flags in ((quantized[0], "a", []), (packed, "b", []), (packed, "c", ["--engine", "torch"])):
            command = ["predict", str(model), str(images), "--out", str(tmp_path / out), "--precision", "fp32"]
            assert main([*command, *flags]) == 0
        for seed in range(3):
            a, b, c = (np.asarray(Image.open(tmp_path / out / f"tissue {seed}.png")) for out in "abc")
            assert ((a > 0) == (b > 0)).mean() >= 0.9999
            np.testing.assert_array_equal(a, c)

    def test_half_floats_take_half_the_bytes_and_leave_the_codes(
        self, quantized: tuple[Path, SegmentationNet], packed: Path, images: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "half.fseg"
        command = ["export", str(quantized[0]), "--calibrate", str(images)]
        assert main([*command, "--out", str(out), "--half-floats"]) == 0
        half, whole = (read_artifact(path).members[0] for path in (out, packed))
        for name, tensor in whole.quantized.items():
            assert half.quantized[name].dequantize().tobytes() == tensor.dequantize().tobytes()
        n_floats = sum(array.size for array in whole.floats.values())
        assert packed.stat().st_size - out.stat().st_size > 1.9 * n_floats
        for name, array in whole.floats.items():
            np.testing.assert_allclose(half.floats[name], array, rtol=1e-3, atol=1e-6)
        for model, name in ((packed, "whole"), (out, "half")):
            command = ["predict", str(model), str(images), "--out", str(tmp_path / name), "--precision"]
            assert main([*command, "fp32"]) == 0
        for seed in range(3):
            a, b = (np.asarray(Image.open(tmp_path / name / f"tissue {seed}.png")) for name in ("whole", "half"))
            assert ((a > 0) == (b > 0)).mean() >= 0.99
        command = ["predict", str(out), str(images), "--out", str(tmp_path / "int8"), "--precision", "int8"]
        assert main(command) == 0
        onnx = ["export", str(quantized[0]), "--format", "onnx", "--out", str(tmp_path / "m.onnx"), "--half-floats"]
        assert main(onnx) == 2

    def test_a_rejector_goes_into_the_file(
        self, quantized: tuple[Path, SegmentationNet], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Every object gets the probability that it gives, and one that believes nothing leaves nothing."""
        model = read_card(quantized[0])
        kind = {"net": model.net, "class_names": list(model.class_names), "scale": 1.1 * model.scale}
        written = {"all": 3.0, "none": -3.0}
        for name, bias in written.items():
            rejector = {"format": 1, "weights": [0] * 7, "bias": bias, "threshold": 0.4, **kind}
            (tmp_path / f"{name}.json").write_text(json.dumps(rejector))
            out = tmp_path / f"{name}.fseg"
            assert main(["export", str(quantized[0]), "--out", str(out), "--no-int8", "--rejector",
                         str(tmp_path / f"{name}.json")]) == 0  # fmt: skip
            judged = dataclasses.replace(model.instances, rejector=Rejector((0.0,) * 7, bias, 0.4))
            assert read_artifact(out).card.instances == judged
            assert main(["predict", str(out), str(images), "--out", str(tmp_path / name), "--precision", "fp32"]) == 0
        rows = (tmp_path / "all" / "objects.csv").read_text().splitlines()
        place = rows[0].split(",").index("confidence")
        assert len(rows) > 1
        assert {row.split(",")[place] for row in rows[1:]} == {str(round(1 / (1 + math.exp(-3)), 4))}
        assert len((tmp_path / "none" / "objects.csv").read_text().splitlines()) == 1
        command = ["predict", str(tmp_path / "none.fseg"), str(images), "--out", str(tmp_path / "tta"), "--tta"]
        assert main(command) == 0
        assert len((tmp_path / "tta" / "objects.csv").read_text().splitlines()) > 1, "averaged maps are not for it"
        capsys.readouterr()
        command = ["export", tmp_path / "all.fseg", "--format", "onnx", "--out", tmp_path / "m.onnx"]
        assert main([*map(str, command), "--rejector", str(tmp_path / "all.json")]) == 2
        assert "keeps what it was packed with" in capsys.readouterr().err
        assert main([*map(str, command), "--rejector", str(tmp_path)]) == 2
        assert "rejector.json: no such file" in capsys.readouterr().err
        others = {"net": "lite"}, {"class_names": ["cell"]}, {"scale": 2 * model.scale}
        for other, reason in zip(others, ("of a lite of", "'cell'", "at the scale"), strict=True):
            (tmp_path / "other.json").write_text(json.dumps({**rejector, **other}))
            command = ["export", quantized[0], "--no-int8", "--rejector", tmp_path / "other.json"]
            assert main([*map(str, command), "--out", str(tmp_path / "other.fseg")]) == 2
            assert reason in capsys.readouterr().err
        assert not (tmp_path / "other.fseg").exists()

    def test_an_ensemble_is_one_file(self, images: Path, tmp_path: Path) -> None:
        for seed in (0, 1):
            run_folder(tmp_path / f"run{seed}", seed=seed)
        runs, out = [str(tmp_path / f"run{seed}") for seed in (0, 1)], tmp_path / "both.fseg"
        assert main(["export", *runs, "--out", str(out), "--no-int8"]) == 0
        assert len(read_artifact(out).members) == 2
        common = [str(images), "--precision", "fp32", "--probabilities"]
        assert main(["predict", str(out), *common, "--out", str(tmp_path / "a")]) == 0
        assert main(["predict", runs[0], "--member", runs[1], *common, "--out", str(tmp_path / "b")]) == 0
        from safetensors.numpy import load_file

        ours, theirs = (
            load_file(tmp_path / side / "probabilities" / "tissue 0.safetensors")["probabilities"] for side in "ab"
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def test_without_images_it_still_runs(
        self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        run_folder(tmp_path / "run")
        out = tmp_path / "model.fseg"
        assert main(["export", str(tmp_path / "run"), "--out", str(out)]) == 0
        assert any("no ranges for INT8" in record.message for record in caplog.records)
        assert main(["predict", str(out), str(images), "--out", str(tmp_path / "p")]) == 0
        capsys.readouterr()
        assert main(["predict", str(out), str(images), "--out", str(tmp_path / "q"), "--precision", "int8"]) == 2
        assert "calibrate" in errors(capsys)[-1]
        assert not (tmp_path / "q").exists()


class TestOtherFormats:
    def test_onnx_with_plain_onnxruntime(self, tmp_path: Path) -> None:
        net = run_folder(tmp_path / "run", "lite", None)
        out = tmp_path / "model.onnx"
        assert main(["export", str(tmp_path / "run"), "--format", "onnx", "--out", str(out)]) == 0
        session = onnxruntime.InferenceSession(out)
        x = normalised(image(96, 128))
        with torch.no_grad():
            wanted = net(x).numpy()
        np.testing.assert_allclose(session.run(None, {"image": x.numpy()})[0], wanted, atol=1e-3)
        facts = json.loads(session.get_modelmeta().custom_metadata_map["frugalseg"])
        assert (facts["scale"], facts["normalisation"]["mean"], facts["stride"]) == (0.5, 127.0, 32)

    def test_int8_onnx_is_four_times_smaller(
        self, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("frugalseg.nets.unet.CHANNELS", WIDE)  # the graph itself counts in a small network
        run_folder(tmp_path / "run")
        sizes = []
        for flags in ([], ["--int8", "--calibrate", str(images)]):
            out = tmp_path / f"model{len(flags)}.onnx"
            assert main(["export", str(tmp_path / "run"), "--format", "onnx", "--out", str(out), *flags]) == 0
            assert onnxruntime.InferenceSession(out).get_inputs()[0].name == "image"
            sizes.append(out.stat().st_size)
        assert sizes[0] / sizes[1] > 3.8

    def test_openvino_goes_from_colours_to_probabilities(self, tmp_path: Path) -> None:
        net = run_folder(tmp_path / "run", "unet", None)
        out = tmp_path / "model.xml"
        assert main(["export", str(tmp_path / "run"), "--format", "openvino", "--out", str(out)]) == 0
        compiled = openvino.Core().compile_model(out, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        from frugalseg.engines.torch import TorchEngine

        batch = image(64, 96)[None]
        np.testing.assert_allclose(compiled([batch])[0], TorchEngine(net).run(batch), atol=1e-4)

    def test_torchscript_takes_any_multiple_of_the_stride(self, tmp_path: Path) -> None:
        net = run_folder(tmp_path / "run", "lite", None)
        out = tmp_path / "model.pt"
        assert main(["export", str(tmp_path / "run"), "--format", "torchscript", "--out", str(out)]) == 0
        extra = {"frugalseg.json": ""}
        traced = torch.jit.load(out, _extra_files=extra)
        x = normalised(image(96, 160))
        with torch.no_grad():
            torch.testing.assert_close(traced(x), net(x), atol=1e-4, rtol=1e-4)
        assert json.loads(extra["frugalseg.json"])["net"] == "lite"


class TestRefusals:
    def refused(self, capsys: pytest.CaptureFixture[str], *command: object) -> str:
        capsys.readouterr()
        assert main([*map(str, command)]) == 2
        lines = errors(capsys)
        assert len(lines) == 1, lines
        return lines[0]

    def test_what_cannot_be_exported(
        self, packed: Path, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_folder(tmp_path / "run")
        run_folder(tmp_path / "lite", "lite", None)
        out = tmp_path / "m.fseg"
        assert "no such folder" in self.refused(capsys, "export", tmp_path / "nothing", "--out", out)
        assert "model.json" in self.refused(capsys, "export", images, "--out", out)
        assert "keep their own terms" in self.refused(
            capsys, "export", "glands", "--licence", "MIT", "--format", "onnx", "--out", tmp_path / "m.onnx"
        )
        assert "differs" in self.refused(capsys, "export", tmp_path / "run", tmp_path / "lite", "--out", out)
        assert "one network" in self.refused(
            capsys, "export", tmp_path / "run", tmp_path / "run", "--format", "onnx", "--out", tmp_path / "m.onnx"
        )
        assert ".onnx" in self.refused(capsys, "export", tmp_path / "run", "--format", "onnx", "--out", out)
        assert "a folder" in self.refused(capsys, "export", tmp_path / "run", "--out", images)
        assert "no image" in self.refused(capsys, "export", tmp_path / "run", "--out", out, "--calibrate", tmp_path)
        assert "no run" in self.refused(capsys, "export", tmp_path / "run", "--out", out, "--int8")
        common = ["export", tmp_path / "run", "--calibrate", images]
        assert "of no use" in self.refused(capsys, *common, "--no-int8", "--out", out)
        assert "float weights only" in self.refused(
            capsys, *common, "--format", "torchscript", "--out", tmp_path / "m.pt"
        )
        assert "float weights only" in self.refused(
            capsys, "export", tmp_path / "run", "--format", "torchscript", "--int8", "--out", tmp_path / "m.pt"
        )
        artifact = read_artifact(packed)
        for graph, reason in ((None, "no graph"), (b"junk", "cannot be parsed")):
            write_artifact(tmp_path / "bad.fseg", dataclasses.replace(artifact, graph=graph))
            for name in ("m.onnx", "m.xml", "m.zip"):
                file_format = {"m.xml": "openvino", "m.zip": "bioimageio"}.get(name, "onnx")
                command = ("export", tmp_path / "bad.fseg", "--format", file_format, "--out", tmp_path / name)
                assert reason in self.refused(capsys, *command)
        assert not list(tmp_path.glob("m.*"))

    def test_what_cannot_be_one_ensemble(
        self, tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The same runs are refused as an export, as members of a prediction and as folds of a cross-validation."""
        one = card("unet")
        others = {
            "classes": card("unet", 2),
            "network": card("lite"),
            "image scale": dataclasses.replace(one, scale=one.scale * 1.5),
        }
        for index, (reason, other) in enumerate(others.items()):
            folds = tmp_path / f"folds{index}"
            for fold, each in enumerate((one, other)):
                (folds / f"fold-{fold}").mkdir(parents=True)
                finish(folds / f"fold-{fold}", settled_net(each.net, n_classes=len(each.class_names)), each, steps=1)
            (folds / "folds.json").write_text('{"n_folds": 2}')
            first, second, out = folds / "fold-0", folds / "fold-1", tmp_path / "out.fseg"
            for command in (
                ["export", first, second, "--out", out],
                ["predict", first, images, "--out", out, "--member", second],
                ["predict", folds, images, "--out", out],
            ):
                line = self.refused(capsys, *command)
                assert line.startswith(f"frugalseg: {second}: ")
                assert reason in line
            assert not out.exists()

    def test_what_cannot_be_predicted_with(
        self,
        tmp_path: Path,
        quantized: tuple[Path, SegmentationNet],
        packed: Path,
        images: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run, out = quantized[0], ["--out", tmp_path / "p"]
        assert "no such model" in self.refused(capsys, "predict", tmp_path / "no.fseg", images, *out)
        assert "neither" in self.refused(capsys, "predict", images / "tissue 0.png", images, *out)
        damaged = tmp_path / "damaged.fseg"
        damaged.write_bytes(packed.read_bytes()[:-7])
        assert "damaged.fseg" in self.refused(capsys, "predict", damaged, images, *out)
        assert "frugalseg export" in self.refused(capsys, "predict", run, images, *out, "--engine", "openvino")
        assert "int8" in self.refused(capsys, "predict", run, images, *out, "--precision", "int8")
        assert "engine torch" in self.refused(
            capsys, "predict", packed, images, *out, "--device", "cuda", "--engine", "openvino"
        )
        assert "bf16" in self.refused(
            capsys, "predict", packed, images, *out, "--engine", "onnxruntime", "--precision", "bf16"
        )
        assert not (tmp_path / "p").exists()
