"""Segmenting files with a packed model: images unlike the training images are told, and the terms of the weights."""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_nets import packed_net, settled_net
from PIL import Image as Pillow
from safetensors.numpy import load_file

from frugalseg.artifact import Artifact, write_artifact
from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.familiarity import appearance, learn_familiarity
from frugalseg.images import write_image
from frugalseg.predict import Outputs, find_images, load_model, predict_files, warn_of_unlike
from frugalseg.segmentation import resize_image
from frugalseg.shipped import STATE_VARIABLE
from frugalseg.stain import Stain, measure_stain
from frugalseg.synthetic import synthetic_glands


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that knows how ten synthetic images look at its scale."""
    artifact = packed_net(settled_net("lite"), "lite")
    images = [synthetic_glands(seed, height=160, width=192).image for seed in range(10)]
    known = learn_familiarity([appearance(resize_image(image, artifact.card.scale)) for image in images])
    path = tmp_path_factory.mktemp("model") / "net.fseg"
    write_artifact(path, replace_card(artifact, familiarity=known))
    return path


def replace_card(artifact: Artifact, **changes: Any) -> Artifact:
    return dataclasses.replace(artifact, card=dataclasses.replace(artifact.card, **changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image of the kind that the network was trained on, and one of noise."""
    write_image(tmp_path / "images" / "glands.png", synthetic_glands(3, height=160, width=192).image)
    noise = np.random.default_rng(0).integers(0, 255, (160, 192, 3)).astype(np.uint8)
    write_image(tmp_path / "images" / "noise.png", noise)
    return tmp_path / "images"


def test_an_image_unlike_the_training_images_is_told(
    model_file: Path, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model([model_file], precision="fp32", threads=1)
    summaries = predict_files(model, find_images([folder]), Outputs(tmp_path / "out", overlays=False))
    glands, noise = summaries
    assert glands["distance"] <= 1 < noise["distance"]
    assert glands["unlike"] == ""
    assert "detail" in noise["unlike"]
    with (tmp_path / "out" / "images.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["unlike"]) for row in rows] == [("glands", ""), ("noise", noise["unlike"])]
    assert int(rows[1]["n_objects"]) == noise["n_objects"]
    with caplog.at_level(logging.WARNING):
        warn_of_unlike(summaries)
    (message,) = caplog.messages
    assert message.startswith("1 of 2 images look unlike the training images")
    assert "noise (" in message
    assert "glands (" not in message


def test_a_model_that_knows_no_images_says_nothing_of_them(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.fseg"
    write_artifact(path, packed_net(settled_net("lite"), "lite"))
    model = load_model([path], precision="fp32", threads=1)
    summaries = predict_files(model, find_images([folder]), Outputs(tmp_path / "out", overlays=False))
    assert [set(summary) for summary in summaries] == [
        {"image", "n_objects", "foreground", "pixel_size_um", "scale"}
    ] * 2


def test_pixel_sizes_that_files_do_not_say_are_told(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = packed_net(settled_net("lite"), "lite")
    path = tmp_path / "net.fseg"
    write_artifact(path, replace_card(artifact, pixel_size_um=0.5, scale=0.8))
    image = Pillow.fromarray(synthetic_glands(3, height=160, width=192).image)
    image.save(folder / "sized.png", dpi=(25400, 25400))  # 1 µm
    model = load_model([path], precision="fp32", threads=1)
    with caplog.at_level(logging.WARNING):
        found = predict_files(model, find_images([folder]), Outputs(tmp_path / "out", overlays=False))
    assert [(each["pixel_size_um"], each["scale"]) for each in found] == [(None, 0.8), (None, 0.8), (1.0, 1.6)]
    (message,) = caplog.messages
    assert message.startswith("2 of 3 images say no pixel size (glands.png, noise.png); taken for 0.5 µm")
    with (tmp_path / "out" / "images.csv").open(encoding="utf-8") as stream:
        assert [(row["pixel_size_um"], row["scale"]) for row in csv.DictReader(stream)][1:] == [
            ("", "0.8"),
            ("1.0", "1.6"),
        ]
    caplog.clear()
    predict_files(model, find_images([folder]), Outputs(tmp_path / "again", overlays=False), pixel_size_um=0.5)
    assert not caplog.messages
    with pytest.raises(InputError, match=r"--pixel-size: pixels of 3 µm, .* would be enlarged 4.8 times, 4 at most$"):
        predict_files(model, find_images([folder]), Outputs(tmp_path / "more", overlays=False), pixel_size_um=3)


def test_a_named_file_that_only_looks_like_a_mask_is_an_image(folder: Path) -> None:
    named = (folder / "noise.png").rename(folder / "tumour_Label.png")
    assert [path.name for path in find_images([folder])] == ["glands.png"]
    assert find_images([named]) == [named]
    shutil.copy(folder / "glands.png", folder / "tumour.png")
    assert [path.name for path in find_images([named, folder / "tumour.png"])] == ["tumour.png"]


def test_another_stain_changes_little_unless_it_is_kept(tmp_path: Path) -> None:
    artifact = packed_net(settled_net("lite"), "lite")
    image = synthetic_glands(3, height=160, width=192).image
    stain = measure_stain([resize_image(image, artifact.card.scale)])
    write_artifact(tmp_path / "net.fseg", replace_card(artifact, stain=stain))
    write_image(tmp_path / "images" / "known.png", image)
    other = (255 * (image / 255) ** [1.5, 0.6, 1.4]).round().astype(np.uint8)
    write_image(tmp_path / "images" / "other.png", other)
    command = ["predict", tmp_path / "net.fseg", tmp_path / "images", "--probabilities", "--precision", "fp32"]

    def difference(name: str, *flags: str) -> float:
        assert main([*map(str, command), "--out", str(tmp_path / name), *flags]) == 0
        folder = tmp_path / name / "probabilities"
        known, found = (load_file(folder / f"{each}.safetensors") for each in ("known", "other"))
        return float(np.mean([np.abs(known[key] - found[key]).mean() for key in known]))

    assert difference("matched") < difference("kept", "--no-stain-matching") / 3


def test_an_ensemble_has_the_middle_of_its_members_stains(
    model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = packed_net(settled_net("lite"), "lite")
    stains = [Stain((0.0, 0.5, 1.0), (0.5, 0.5, 0.5)), Stain((0.5, 0.5, 0.0), (1.0, 0.5, 0.5))]
    paths = [tmp_path / "a.fseg", tmp_path / "b.fseg"]
    for path, stain in zip(paths, stains, strict=True):
        write_artifact(path, replace_card(artifact, stain=stain))
    for order in (paths, paths[::-1]):
        assert load_model(order, threads=1).card.stain == Stain((0.25, 0.5, 0.5), (0.75, 0.5, 0.5))
    assert load_model(paths[:1] * 2, threads=1).card.stain == stains[0]
    assert not caplog.messages
    assert load_model([*paths, model_file], threads=1).card.stain is None
    assert "own stain" in caplog.text


def test_the_terms_of_the_weights_are_shown_at_the_first_use(
    model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))
    command = [
        "predict",
        str(model_file),
        str(folder),
        "--no-overlays",
        "--precision",
        "fp32",
        "--threads",
        "1",
        "--out",
    ]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert "terms of these weights: CC0-1.0\n" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "b")]) == 0
    assert "terms" not in capsys.readouterr().err


class TestRefusals:
    """Nothing is segmented, and nothing is overwritten."""

    def check(self, message: str, capsys: pytest.CaptureFixture[str], *words: Path | str) -> None:
        assert main(["predict", *map(str, words)]) == 2
        assert message in capsys.readouterr().err

    def test_results_over_the_images(
        self, model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        (tmp_path / "links").mkdir()
        (tmp_path / "links" / "a.png").symlink_to(folder / "glands.png")
        self.check("results would overwrite them", capsys, model_file, tmp_path / "links", "--out", tmp_path / "links")
        (tmp_path / "out").mkdir()
        overlays = folder.rename(tmp_path / "out" / "overlays")
        self.check("results would overwrite them", capsys, model_file, overlays, "--out", tmp_path / "out")
        assert {path.name: path.read_bytes() for path in overlays.iterdir()} == before
        assert (tmp_path / "links" / "a.png").is_symlink()

    def test_masks_that_predict_did_not_write(
        self, model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "masks"
        out.mkdir()
        (out / "glands.png").write_bytes(b"drawn by hand")
        self.check("glands.png: is no result of predict", capsys, model_file, folder, "--out", out)
        assert [path.name for path in out.iterdir()] == ["glands.png"]
        assert (out / "glands.png").read_bytes() == b"drawn by hand"
        assert main(["predict", str(model_file), str(folder), "--out", str(tmp_path / "new")]) == 0
        assert main(["predict", str(model_file), str(folder), "--out", str(tmp_path / "new")]) == 0, "its own, again"

    def test_a_name_that_is_no_text(self, model_file: Path, folder: Path, tmp_path: Path) -> None:
        (folder / "glands.png").rename(folder / os.fsdecode(b"bad\xff.png"))
        for words in (["predict", model_file, folder, "--out", tmp_path / "out"], ["data", "check", folder]):
            done = subprocess.run(
                [sys.executable, "-m", "frugalseg", *map(str, words)], capture_output=True, check=False
            )
            assert done.returncode == 2
            assert b"bad\\udcff.png: has a name that is not UTF-8 text" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_channels_of_one_case(
        self, model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cases = folder.rename(tmp_path / "imagesTr")
        (cases / "glands.png").rename(cases / "a_0000.png")
        (cases / "noise.png").rename(cases / "a_0001.png")
        self.check("is one channel of a;", capsys, model_file, cases, "--out", tmp_path / "out")


def test_a_broken_image_hides_no_broken_slide(
    model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((folder / "noise.png").read_bytes())
    content[len(content) // 2] ^= 255  # the header stays good: found only on decoding
    (folder / "noise.png").write_bytes(content)
    (folder / "slide.svs").write_bytes(b"no slide")
    assert main(["predict", str(model_file), str(folder), "--out", str(tmp_path / "out"), "--no-overlays"]) == 2
    told = capsys.readouterr().err
    assert "noise.png" in told
    assert "slide.svs" in told
    assert (tmp_path / "out" / "glands.png").exists()
