"""A slide from start to end: files that other programs read, resumed runs, regions, refusals."""

import dataclasses
import gzip
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import shapely
import tifffile
from shapely.geometry import shape

import frugalseg.streaming.run as run_module
from frugalseg.cli import main
from frugalseg.engines.testing import DarknessEngine
from frugalseg.errors import FrugalsegError, InputError
from frugalseg.images import write_image
from frugalseg.instances import InstanceSettings
from frugalseg.segmentation import segment
from frugalseg.slides import ArraySlide
from frugalseg.stain import Stain
from frugalseg.streaming.outputs import OUTPUTS
from frugalseg.streaming.run import StreamSettings, segment_slide

from .builders import CARD, discs

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra wsi")
zarr = pytest.importorskip("zarr", reason="needs zarr, of the extra wsi")

DONE = [suffix for suffix, _ in OUTPUTS.values()]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def contents(folder, name="x"):
    """Digest of every file of a run but the times."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != f"{name}.timing.json"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(image, out, settings=None, **more):
    slide = ArraySlide(image, 0.5)
    return segment_slide([DarknessEngine()], CARD, slide, "x", out, settings or StreamSettings(workers=1), **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One complete run: the image, where the discs lie, the folder, the summary."""
    image, places = discs()
    out = tmp_path_factory.mktemp("whole")
    return image, places, out, run(image, out)


def test_summary_and_files(whole):
    _, places, out, summary = whole
    assert summary["n_objects"] == len(places)
    assert summary["n_by_class"] == {"gland": len(places)}
    assert summary["cut_objects"] == []
    expected = sum(np.pi * radius**2 * (0.5 if y == 0 else 1) for y, _, radius in places)
    assert summary["area_px"] == pytest.approx(expected, rel=0.03)
    assert summary["area_um2"] == pytest.approx(summary["area_px"] * 0.25, rel=1e-6)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"x{suffix}" for suffix in [*DONE, ".summary.json", ".timing.json"]]
    )


def test_objects_are_those_of_segment(whole):
    image, _, out, _ = whole
    found = segment([DarknessEngine()], image, scale=0.5, settings=CARD.instances)
    labels = tifffile.imread(out / "x.labels.ome.tif")
    small = found.labels[::2, ::2] > 0
    assert ((labels > 0) != small).sum() < 0.02 * small.sum()  # outlines at full size are interpolated


def test_geojson_is_valid_and_says_what_the_label_map_says(whole):
    _, _, out, summary = whole
    with gzip.open(out / "x.geojson.gz") as stream:
        document = json.load(stream)
    labels = tifffile.imread(out / "x.labels.ome.tif")
    shapes = [shape(feature["geometry"]) for feature in document["features"]]
    assert len(shapes) == summary["n_objects"]
    assert all(each.is_valid and not each.is_empty for each in shapes)
    frame = shapely.box(0, 0, 2600, 1500)
    for feature, each in zip(document["features"], shapes, strict=True):
        assert frame.covers(each)
        assert feature["properties"]["classification"]["name"] == "gland"
        number = feature["properties"]["measurements"]["Label"]
        assert each.area == pytest.approx(4 * (labels == number).sum(), rel=0.03)
        rows, columns = np.nonzero(labels == number)
        assert each.centroid.x == pytest.approx(2 * columns.mean() + 1, abs=1)
        assert each.centroid.y == pytest.approx(2 * rows.mean() + 1, abs=1)
    assert (out / "x.geojson.gz").read_bytes()[4:8] == bytes(4)  # no time


def test_outlines_of_discs_are_round(whole):
    _, places, out, _ = whole
    with gzip.open(out / "x.geojson.gz") as stream:
        shapes = [shape(feature["geometry"]) for feature in json.load(stream)["features"]]
    for y, x, radius in places:
        if y == 0:
            continue
        mine = next(each for each in shapes if each.contains(shapely.Point(x, y)))
        far = shapely.hausdorff_distance(mine, shapely.Point(x + 0.5, y + 0.5).buffer(radius, 64))
        assert far < 2.5  # of level 0, where the network's pixel is 2


def test_table(whole):
    _, places, out, _ = whole
    table = parquet.read_table(out / "x.objects.parquet").to_pydict()
    assert table["label"] == list(range(1, len(places) + 1))
    for y, x, radius in places:
        if y == 0:
            continue
        row = min(
            range(len(places)), key=lambda i: abs(table["centroid_x_px"][i] - x) + abs(table["centroid_y_px"][i] - y)
        )
        assert table["centroid_x_px"][row] == pytest.approx(x + 0.5, abs=1)
        assert table["centroid_y_um"][row] == pytest.approx((y + 0.5) / 2, abs=0.5)
        assert table["area_um2"][row] == pytest.approx(np.pi * radius**2 / 4, rel=0.03)
        assert table["perimeter_um"][row] == pytest.approx(np.pi * radius, rel=0.03)
        assert table["major_axis_px"][row] == pytest.approx(2 * radius, rel=0.03)
        assert table["minor_axis_px"][row] == pytest.approx(2 * radius, rel=0.03)
        assert table["circularity"][row] > 0.95
        assert table["solidity"][row] > 0.97


def test_label_map_is_a_pyramid_that_says_its_pixel_size(whole):
    _, _, out, _ = whole
    with tifffile.TiffFile(out / "x.labels.ome.tif") as tiff:
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(750, 1300), (375, 650)]
        assert tiff.is_ome
        assert 'PhysicalSizeX="1"' in tiff.ome_metadata
        np.testing.assert_array_equal(levels[1].asarray(), levels[0].asarray()[::2, ::2])


def test_zarr_holds_labels_beside_the_image(whole):
    _, _, out, _ = whole
    group = zarr.open_group(out / "x.ome.zarr", mode="r")
    labels = np.asarray(group["labels/objects/0"])
    np.testing.assert_array_equal(labels[0], tifffile.imread(out / "x.labels.ome.tif"))
    assert group["labels"].attrs["labels"] == ["objects"]
    pixels = np.asarray(group["0"])
    assert pixels.shape == (3, 750, 1300)
    inside = pixels[:, labels[0] > 0].astype(float)
    np.testing.assert_allclose(inside.mean(axis=1), (70, 30, 60), atol=6)
    scale = group.attrs["multiscales"][0]["datasets"][1]["coordinateTransformations"][0]["scale"]
    assert scale == [1.0, 2.0, 2.0]


def test_zarr_by_another_reader(whole):
    models = pytest.importorskip("ome_zarr_models.v04", reason="needs ome-zarr-models")
    group = zarr.open_group(whole[2] / "x.ome.zarr", mode="r")
    assert models.Image.from_zarr(group).attributes.multiscales[0].axes
    models.ImageLabel.from_zarr(group["labels/objects"])


class StoppedHere(BaseException):
    """Stands for Ctrl-C or a kill."""


@pytest.mark.parametrize("after", [0, 1, 3, 4, 6, 8, 10, 13, 15])
def test_a_resumed_run_writes_the_same_bytes(whole, tmp_path, after):
    image, _, out, summary = whole
    steps = 0

    def stop(stage, done, total):
        nonlocal steps
        if steps == after:
            raise StoppedHere
        steps += 1

    with pytest.raises(StoppedHere):
        run(image, tmp_path, report=stop)
    if (tmp_path / "x.work" / "plan.json").exists():
        with pytest.raises(InputError, match="--resume"):
            run(image, tmp_path)
    assert run(image, tmp_path, resume=True) == summary
    assert contents(tmp_path) == contents(out)
    assert run(image, tmp_path, resume=True) == summary  # nothing left to do


def test_an_output_that_is_gone_is_made_again(whole, tmp_path):
    image, _, out, summary = whole
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "x.geojson.gz").unlink()
    assert run(image, tmp_path / "copy", resume=True) == summary
    assert contents(tmp_path / "copy") == contents(out)


def test_an_earlier_summary_does_not_speak_for_other_outputs(whole, tmp_path, monkeypatch):
    """Killed between its outputs, a second run has replaced some of the first one's; its work folder is thrown away."""
    image, _, out, summary = whole
    folder = shutil.copytree(out, tmp_path / "copy")
    other = dataclasses.replace(CARD, instances=InstanceSettings(min_area=9000))

    def killed(*_):
        raise StoppedHere

    monkeypatch.setattr(run_module, "summary_of", killed)
    with pytest.raises(StoppedHere):
        segment_slide([DarknessEngine()], other, ArraySlide(image, 0.5), "x", folder, StreamSettings(workers=1))
    monkeypatch.undo()
    shutil.rmtree(folder / "x.work")
    assert run(image, folder, resume=True) == summary
    assert contents(folder) == contents(out)


@pytest.mark.parametrize("stage", ["objects", "label map"])
def test_a_damaged_file_of_the_work_is_named_or_made_again(whole, tmp_path, stage):
    image, _, out, summary = whole

    def stop(now, done, total):
        if now == stage and done >= min(2, total - 1):
            raise StoppedHere

    with pytest.raises(StoppedHere):
        run(image, tmp_path, report=stop)
    work = tmp_path / "x.work"
    if stage == "objects":
        damaged = [path for path in (work / "tiles").iterdir() if path.stat().st_size > 3000]
        kept = {path: path.read_bytes() for path in damaged}
        for path in damaged:
            path.write_bytes(b"junk")
        shutil.rmtree(work / "objects", ignore_errors=True)
        with pytest.raises(FrugalsegError, match=r"tiles.*\.zst: is damaged, or gone; delete it"):
            run(image, tmp_path, resume=True)
        for path in kept:
            path.unlink()
    else:
        painted = list((work / "labels").iterdir())
        assert painted
        for path in painted:
            path.write_bytes(b"junk")
    assert run(image, tmp_path, resume=True) == summary
    assert contents(tmp_path) == contents(out)


def test_workers_do_not_change_the_bytes(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "_FEW_BLOCKS", 0)
    run(whole[0], tmp_path, StreamSettings(workers=2))
    assert contents(tmp_path) == contents(whole[2])


def test_other_settings_are_refused(whole, tmp_path):
    image = whole[0]

    def stop(stage, done, total):
        if stage == "stitching":
            raise StoppedHere

    with pytest.raises(StoppedHere):
        run(image, tmp_path, report=stop)
    with pytest.raises(InputError, match="skip_glass"):
        run(image, tmp_path, StreamSettings(workers=1, skip_glass=False), resume=True)
    other = image.copy()
    with pytest.raises(InputError, match="slide"):
        segment_slide(
            [DarknessEngine()], CARD, ArraySlide(other[:-9], 0.5), "x", tmp_path, StreamSettings(), resume=True
        )


def test_another_stain_is_another_setting(whole, tmp_path):
    matched = dataclasses.replace(CARD, stain=Stain((0.2, 0.3, 0.2), (0.6, 0.6, 0.6)))

    def stop(stage, done, total):
        if stage == "stitching":
            raise StoppedHere

    def go(card, **more):
        slide = ArraySlide(whole[0], 0.5)
        return segment_slide([DarknessEngine()], card, slide, "x", tmp_path, StreamSettings(workers=1), **more)

    with pytest.raises(StoppedHere):
        go(matched, report=stop)
    with pytest.raises(InputError, match=r"other settings \(stain\)"):
        go(CARD, resume=True)


def test_outputs_of_an_earlier_run_do_not_stay_beside_new_ones(whole, tmp_path):
    """They would have other objects under the same numbers."""
    folder = shutil.copytree(whole[2], tmp_path / "copy")
    (folder / "x.notes.txt").write_text("mine")
    summary = run(whole[0], folder, StreamSettings(workers=1, formats=("geojson",)))
    assert summary["n_objects"] == whole[3]["n_objects"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "x.geojson.gz", "x.notes.txt", "x.summary.json", "x.timing.json",
    ]  # fmt: skip


def test_outputs_of_a_run_that_was_killed_do_not_stay_either(whole, tmp_path):
    def stop(stage, done, total):
        if stage == "outputs" and done == 2:
            raise StoppedHere

    with pytest.raises(StoppedHere):
        run(whole[0], tmp_path, report=stop)
    shutil.rmtree(tmp_path / "x.work")
    run(whole[0], tmp_path, StreamSettings(workers=1, formats=("geojson",)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.geojson.gz", "x.summary.json", "x.timing.json"]


def test_region_gives_what_the_slide_gives_there(whole, tmp_path):
    image, _, out, _ = whole
    summary = run(image, tmp_path, StreamSettings(workers=1, region=(500, 800, 500, 400)))
    assert summary["n_objects"] == 1
    labels = tifffile.imread(tmp_path / "x.labels.ome.tif")
    everything = tifffile.imread(out / "x.labels.ome.tif")
    inside = (slice(400, 600), slice(250, 500))
    np.testing.assert_array_equal(labels[inside] > 0, everything[inside] > 0)
    assert (labels > 0).sum() == (labels[inside] > 0).sum()
    with pytest.raises(InputError, match="outside"):
        run(image, tmp_path / "no", StreamSettings(region=(5000, 0, 10, 10)))


def test_glass_alone_gives_empty_files(tmp_path):
    summary = run(np.full((700, 900, 3), 238, dtype=np.uint8), tmp_path)
    assert (summary["n_objects"], summary["n_tiles"]) == (0, 0)
    assert parquet.read_table(tmp_path / "x.objects.parquet").num_rows == 0
    with gzip.open(tmp_path / "x.geojson.gz") as stream:
        assert json.load(stream)["features"] == []
    assert not tifffile.imread(tmp_path / "x.labels.ome.tif").any()


def test_command(tmp_path, capsys):
    """A folder with a slide, a broken slide and a picture: the broken one costs itself alone."""
    image, _ = discs()
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        shared = {"photometric": "rgb", "tile": (256, 256)}
        writer.write(image, resolution=(20000, 20000), resolutionunit="CENTIMETER", **shared)
        writer.write(image[::4, ::4], subfiletype=1, **shared)
    (tmp_path / "bad.svs").write_bytes(b"II*\0nothing")
    write_image(tmp_path / "small.png", image[:400, :600])
    out = tmp_path / "out"
    assert main(["predict", "glands", str(tmp_path), "--out", str(out), "--formats", "geojson,parquet"]) == 2
    told = capsys.readouterr().err
    assert "bad.svs" in told
    assert "Traceback" not in told
    assert (out / "small.png").exists()
    summary = json.loads((out / "a.summary.json").read_text())
    assert (summary["pixel_size_um"], summary["width_px"]) == (0.5, 2600)
    assert sorted(path.name for path in out.glob("a.*")) == [
        "a.geojson.gz", "a.objects.parquet", "a.summary.json", "a.timing.json"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--formats svg", "'svg' is unknown"),
        ("--region 1,2,3", "four whole numbers"),
        ("--region 1,2,0,9", "above 0"),
        ("--region 9000,0,9,9", "outside"),
        ("--tta", "not for whole slides"),
        ("--no-overlays", "not for whole slides"),
        ("--format tiff", "not for whole slides"),
        ("--pixel-size 90", "times apart"),
    ],
)
def test_refused_arguments(tmp_path, capsys, flags, reason):
    slide = tmp_path / "a.tif"
    tifffile.imwrite(slide, np.full((600, 500, 3), 240, np.uint8), tile=(256, 256), photometric="rgb")
    tifffile.imwrite(slide, np.full((150, 125, 3), 240, np.uint8), tile=(128, 128), photometric="rgb", append=True,
                     subfiletype=1)  # fmt: skip
    assert main(["predict", "glands", str(slide), "--out", str(tmp_path / "out"), *flags.split()]) == 2
    assert reason in capsys.readouterr().err


def test_flags_of_slides_need_a_slide(tmp_path, capsys):
    write_image(tmp_path / "small.png", np.full((60, 50, 3), 240, np.uint8))
    names = [str(tmp_path / "small.png"), "--out", str(tmp_path / "out")]
    assert main(["predict", "glands", *names, "--region", "0,0,9,9"]) == 2
    assert "--region" in capsys.readouterr().err
