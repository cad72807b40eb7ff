"""How a slide looks: its stain is brought to the training images', and one unlike them is told."""

import dataclasses
import json
import os

import numpy as np
import pytest
import tifffile

from frugalseg.engines.testing import DarknessEngine
from frugalseg.familiarity import appearance, learn_familiarity
from frugalseg.slides import ArraySlide
from frugalseg.stain import Stain, measure_stain
from frugalseg.streaming.run import StreamSettings, segment_slide
from frugalseg.streaming.tissue import tissue_of
from frugalseg.synthetic import synthetic_glands

from .builders import CARD, discs


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def run(image, out, settings=None, card=CARD, **more):
    slide = ArraySlide(np.ascontiguousarray(image), 0.5)
    return segment_slide([DarknessEngine()], card, slide, "x", out, settings or StreamSettings(workers=1), **more)


def test_a_slide_of_another_stain_is_seen_in_the_training_images(tmp_path):
    """Darkness is all that this engine sees: pale dye hides every object from it, until the stain is brought back."""
    image, places = discs()
    pale = (255 * (image / 255) ** 0.4).round().astype(np.uint8)
    settings = StreamSettings(formats=("tiff",), workers=1)
    stained = dataclasses.replace(CARD, stain=measure_stain([image[::2, ::2]]))
    assert stained.stain is not None
    assert run(pale, tmp_path / "as it is", settings)["n_objects"] == 0
    out = tmp_path / "brought back"
    found = run(pale, out, settings, stained)
    assert found["n_objects"] == len(places)
    again = run(pale, out, settings, stained, resume=True)
    assert again == found
    other = dataclasses.replace(stained, stain=dataclasses.replace(stained.stain, level=(0.0, 0.0, 0.0)))
    assert run(pale, out, settings, other, resume=True) != found


def test_a_slide_has_one_stain_whatever_part_of_it_is_segmented(tmp_path):
    """Pale discs left, dark ones right: a region, or glass with the tissue, changes nothing of an object."""
    image, _ = discs()
    image[:, :1300] = (255 * (image[:, :1300] / 255) ** 0.7).round().astype(np.uint8)
    card = dataclasses.replace(CARD, stain=Stain((0.2, 0.2, 0.2), (0.2, 0.2, 0.2)))
    found = {}
    for name, more in {"all": {}, "glass": {"skip_glass": False}, "region": {"region": (1000, 500, 400, 400)}}.items():
        settings = StreamSettings(formats=("tiff",), workers=1, **more)
        run(image, tmp_path / name, settings, card)
        found[name] = tifffile.imread(tmp_path / name / "x.labels.ome.tif") > 0
    assert found["all"].any()
    np.testing.assert_array_equal(found["glass"], found["all"])
    inside = (slice(260, 440), slice(510, 690))
    np.testing.assert_array_equal(found["region"][inside], found["all"][inside])


def test_results_of_a_version_without_stains_stand(tmp_path):
    image, _ = discs()
    summary = run(image, tmp_path)
    assert summary["made_for"].pop("stain") is None
    (tmp_path / "x.summary.json").write_text(json.dumps(summary))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert run(image, tmp_path, resume=True) == summary
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_slide_unlike_the_training_images_is_told(tmp_path):
    image, _ = discs(1024, 1024)
    tissue = [synthetic_glands(seed, height=512, width=512).image for seed in range(12)]
    card = dataclasses.replace(CARD, familiarity=learn_familiarity([appearance(each[::2, ::2]) for each in tissue]))
    glands = np.concatenate([np.concatenate(tissue[:4], axis=1), np.concatenate(tissue[4:8], axis=1)])
    found = {}
    for name, pixels in {"discs": image, "glands": glands}.items():
        settings = StreamSettings(formats=("tiff",), workers=1)
        found[name] = run(pixels, tmp_path / name, settings, card)
    assert found["glands"]["distance"] < found["discs"]["distance"]
    assert found["discs"]["distance"] > 1
    assert "less fine detail" in found["discs"]["unlike"]
    assert (found["glands"]["unlike"] == "") == (found["glands"]["distance"] <= 1)


def test_tissue():
    rng = np.random.default_rng(0)
    glass = rng.integers(236, 246, (80, 90, 3)).astype(np.uint8)
    assert not tissue_of(glass).any()
    tissue = np.clip(rng.normal((190, 120, 170), 25, (80, 90, 3)), 0, 215).astype(np.uint8)
    assert tissue_of(tissue).mean() > 0.99
    both = glass.copy()
    both[20:40, 30:60] = tissue[20:40, 30:60]
    assert tissue_of(both)[20:40, 30:60].mean() > 0.99
    assert tissue_of(both).sum() <= 1.01 * 600
    assert tissue_of(both, margin=2)[18, 28]
    faint = glass.copy()
    faint[20:40, 30:60] = (235, 205, 225)
    assert tissue_of(faint)[20:40, 30:60].all()
    faint[:, :15] = 3
    assert not tissue_of(faint)[:, :15].any(), "padding"
    assert tissue_of(np.minimum(faint, 190))[:, :15].all(), "a dark ground may be tissue"


def test_padding_of_a_slide_holds_no_objects(tmp_path):
    """To an engine that sees darkness, black is an object; discs that touch the padding keep their own pixels."""
    image, places = discs()
    height = image.shape[0]
    padded = np.concatenate([np.zeros((height, 600, 3), np.uint8), image], axis=1)
    stained = dataclasses.replace(CARD, stain=measure_stain([image[::2, ::2]]))
    settings = StreamSettings(formats=("tiff",), workers=1)
    assert run(padded, tmp_path / "without a stain", settings)["n_objects"] != len(places)
    found = run(padded, tmp_path / "padded", settings, stained)
    assert found["n_objects"] == len(places)
    assert not tifffile.imread(tmp_path / "padded" / "x.labels.ome.tif")[:, :300].any(), "at half the size"
    known = learn_familiarity([appearance(image[y : y + 400, ::2]) for y in range(0, 1200, 100)])
    for name, pixels in {"plain": image, "as padding": padded}.items():
        card = dataclasses.replace(stained, familiarity=known)
        found = run(pixels, tmp_path / name, settings, card)
        assert found["distance"] < 2, "black is no look of the tissue"
    everywhere = StreamSettings(formats=("tiff",), workers=1, skip_glass=False)
    assert run(padded, tmp_path / "glass too", everywhere, stained)["n_objects"] == len(places)
