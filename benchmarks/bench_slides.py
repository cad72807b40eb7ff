"""Whole slides: our command against the network alone and against a plain torch loop over tiles; memory; linearity.

    python benchmarks/bench_slides.py [--nets lite,unet] [--size 8192x6144] [--tissue 0.3] [--large] [--scratch DIR]

A synthetic Aperio slide at 0.25 µm a pixel, networks of random weights, whose objects are sponges that take long to
outline, or trained ones (`--model lite=models/glands-lite-5bit.fseg --model unet=FILE`), which is fairer. Ours is the
command `frugalseg predict` in a process of its own, from start to written outputs; its memory is that of all its
processes. The network alone is our engine on the very tiles of the run, read before, and the same without halo. The
loop reads one tile after the other, runs the float network in torch on the same tiles, keeps all probabilities in
memory, and makes objects and outlines by the functions that ours uses. `--large` runs 20,000 x 20,000, 40,000 x
30,000 and 100,000 x 80,000 pixels for memory, and half of the large one for linearity. Prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from bench_inference import _packed

from frugalseg.artifact import write_artifact
from frugalseg.engines.torch import TorchEngine
from frugalseg.instances import foreground, object_classes, object_confidences, separate
from frugalseg.predict import Model, load_model
from frugalseg.slides import SlideView, open_slide
from frugalseg.streaming.outlines import outline, polygons
from frugalseg.streaming.pixels import CachedView
from frugalseg.streaming.plan import SlidePlan, Tile, halo_for, make_plan
from frugalseg.streaming.probabilities import read_tile
from frugalseg.streaming.tissue import tissue_mask
from frugalseg.synthetic import write_synthetic_slide

PIXEL_UM = 0.25
SHARE_GOALS = {"lite": 0.30, "unet": 0.60}
SPEED_GOALS = {"lite": 2.5, "unet": 4.0}
MEMORY_GOAL_MIB = 2048


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    seconds: float
    peak_mib: float
    breakdown: dict[str, float]
    n_objects: int
    n_tiles: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="lite,unet", help="networks, with commas")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a trained packed model instead of random ones",
    )
    parser.add_argument("--size", default="8192x6144", help="width and height of the slide, or none")
    parser.add_argument("--tissue", type=float, default=0.3, help="share of the slide that shows tissue")
    parser.add_argument("--formats", default="geojson,parquet,overview", help="what ours writes")
    parser.add_argument("--large", action="store_true", help="the sizes of the promises; takes long")
    parser.add_argument("--scratch", type=Path, help="where slides are kept, and results go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        scratch = Path(folder)
        models = {name: Path(file) for name, _, file in (words.partition("=") for words in args.model)}
        for name in args.nets.split(",") if not models else ():
            models[name] = scratch / f"{name}.fseg"
            write_artifact(models[name], _packed(name, None)[1])
        slides = args.scratch or scratch
        if args.size != "none":
            width, height = map(int, args.size.split("x"))
            slide = _slide(slides, width, height, args.tissue)
            print(f"Slide {width} x {height}, {torch.get_num_threads()} threads\n")
            for name, model in models.items():
                _bench_speed(name, model, slide, scratch, args.formats)
        if args.large:
            _bench_large(next(iter(models.values())), slides, scratch, args.formats)


def _slide(scratch: Path, width: int, height: int, tissue: float) -> Path:
    path = scratch / f"{width}x{height}-{tissue:g}.svs"
    if not path.exists():
        write_synthetic_slide(path, width, height, seed=1, pixel_size_um=PIXEL_UM, tissue=tissue)
    return path


def _command(model: Path, slide: Path, out: Path, formats: str, region: tuple[int, ...] = ()) -> Run:
    """Time and largest memory of the command with all its processes."""
    words = [sys.executable, "-m", "frugalseg", "predict", str(model), str(slide), "--out", str(out)]
    words += ["--region", ",".join(map(str, region))] if region else []
    begun = time.perf_counter()
    process = subprocess.Popen([*words, "--formats", formats], stdout=subprocess.DEVNULL)
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - begun
    watcher.join()
    if code:
        raise SystemExit(f"frugalseg predict ended with {code}")
    summary = json.loads((out / f"{slide.stem}.summary.json").read_text())
    timing = json.loads((out / f"{slide.stem}.timing.json").read_text())
    return Run(seconds, peak[0], timing["seconds"], summary["n_objects"], summary["n_tiles"])


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        total = 0
        try:
            mine = psutil.Process(process.pid)
            for each in (mine, *mine.children(recursive=True)):
                total += each.memory_info().rss
        except psutil.NoSuchProcess:
            pass
        peak[0] = max(peak[0], total / 2**20)
        time.sleep(0.1)


def _bench_speed(name: str, path: Path, slide: Path, scratch: Path, formats: str) -> None:
    model = load_model([path])
    with open_slide(slide) as opened:
        view = SlideView(opened, 1 / model.card.scale_for(PIXEL_UM))
        plan = _plan(view, model)
        alone, without_halo = _network_alone(model, view, plan)
        loop, n_loop = _plain_loop(path, view, plan)
    ours = _command(path, slide, scratch / f"out-{name}", formats)
    area = sum(kept.width * kept.height for kept in plan.kept) / 1e6
    print(f"## {name}\n\n{len(plan.tiles)} tiles, {area:.1f} megapixels at the network's scale, halo {plan.halo_px}.\n")
    print("| | seconds | |\n| --- | --- | --- |")
    print(f"| network alone, on the run's tiles | {alone:.2f} | |")
    print(f"| network alone, without halo | {without_halo:.2f} | |")
    print(f"| ours, from start to files | {ours.seconds:.2f} | {ours.n_objects} objects, {ours.peak_mib:.0f} MiB |")
    print(f"| plain torch loop, without files | {loop:.2f} | {n_loop} objects |\n")
    print(f"Share of the network's speed: {alone / ours.seconds:.2f}, without halo {without_halo / ours.seconds:.2f}"
          f" (goal {SHARE_GOALS.get(name, 0):g}); times the loop's: {loop / ours.seconds:.2f}"
          f" (goal {SPEED_GOALS.get(name, 0):g}).\n")  # fmt: skip
    _print_breakdown(ours)


def _print_breakdown(run: Run) -> None:
    print("| stage | seconds |\n| --- | --- |")
    for stage, seconds in run.breakdown.items():
        print(f"| {stage} | {seconds:.2f} |")
    print()


def _plan(view: SlideView, model: Model) -> SlidePlan:
    level, engine = view.slide.levels[0], model.engines[0]
    return make_plan(
        slide_width=level.width,
        slide_height=level.height,
        width=view.width,
        height=view.height,
        stride=engine.stride,
        halo_px=halo_for(engine.halo_px, model.card.net),
        tissue=tissue_mask(view.slide, view.factor),
    )


def _network_alone(model: Model, view: SlideView, plan: SlidePlan) -> tuple[float, float]:
    """Seconds of our engine on all tiles, each size warm, and on what is kept of them alone."""
    engine = model.engines[0]
    with_halo = without = 0.0
    warm: set[tuple[int, ...]] = set()
    for tile in plan.tiles:
        pixels = read_tile(CachedView(view), plan, tile)
        kept = plan.kept_of(tile)
        sizes = [-side % plan.stride for side in (kept.height, kept.width)]
        core = np.pad(pixels[: kept.height, : kept.width], [(0, sizes[0]), (0, sizes[1]), (0, 0)], mode="edge")
        for image in (pixels, core):
            if image.shape not in warm:
                engine.run(image[None])
                warm.add(image.shape)
        begun = time.perf_counter()
        engine.run(pixels[None])
        with_halo += time.perf_counter() - begun
        begun = time.perf_counter()
        engine.run(core[None])
        without += time.perf_counter() - begun
    return with_halo, without


def _plain_loop(path: Path, view: SlideView, plan: SlidePlan) -> tuple[float, int]:
    """What one would write first: tile after tile in torch, all probabilities in memory, then the same objects."""
    loaded = load_model([path], engine="torch", precision="fp32")
    engine, settings = loaded.engines[0], loaded.card.instances
    assert isinstance(engine, TorchEngine)
    begun = time.perf_counter()
    maps = np.zeros((len(loaded.card.class_names) + 2, plan.height, plan.width), dtype=np.float32)
    maps[0] = 1
    for tile in plan.tiles:
        kept = plan.kept_of(tile)
        found = engine.run(_straight(view, plan, tile)[None])[0]
        maps[:, kept.top : kept.bottom, kept.left : kept.right] = found[(slice(None), *kept.within(plan.reading(tile)))]
    labels = separate(maps, settings)
    object_classes(labels, maps), object_confidences(labels, maps)
    front = np.pad(foreground(maps), 1)
    outlines = []
    for number, (rows, columns) in enumerate(_boxes(labels), 1):
        near = front[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
        mask = labels[rows, columns] == number
        outlines.append(outline(mask, near, settings.threshold, left=columns.start, top=rows.start))
    polygons(outlines, plan.steps, plan.slide_width, plan.slide_height)
    return time.perf_counter() - begun, len(outlines)


def _straight(view: SlideView, plan: SlidePlan, tile: Tile) -> np.ndarray:
    """A tile with its halo, read at once."""
    return read_tile(CachedView(view, cache_bytes=0), plan, tile)


def _boxes(labels: np.ndarray) -> list[tuple[slice, slice]]:
    from scipy import ndimage

    return ndimage.find_objects(labels)


def _bench_large(model: Path, slides: Path, scratch: Path, formats: str) -> None:
    tissue_px = 0.1 * 100_000 * 80_000
    small = _slide(slides, 20_000, 20_000, 0.25)
    medium = _slide(slides, 40_000, 30_000, 0.3)
    large = _slide(slides, 100_000, 80_000, 0.1)
    sparse = _slide(slides, 100_000, 80_000, tissue_px / 2 / (100_000 * 80_000))
    runs = {}
    for what, slide, region in (
        ("20,000 x 20,000", small, ()),
        ("40,000 x 30,000", medium, ()),
        ("100,000 x 80,000", large, ()),
        ("its left half", large, left := (0, 0, 50_000, 80_000)),
        ("its right half", large, right := (50_000, 0, 50_000, 80_000)),
        ("100,000 x 80,000 with half of the tissue, in smaller islands", sparse, ()),
    ):
        run = runs[what] = _command(model, slide, scratch / f"out-{len(runs)}", formats, region)
        tissue = _tissue_mm2(slide, region)
        print(f"## {what}: {tissue:.1f} mm² of tissue\n")
        print(f"{run.seconds:.1f} s, {run.seconds / tissue:.2f} s/mm², {run.n_tiles} tiles, {run.n_objects} objects, "
              f"peak {run.peak_mib:.0f} MiB (goal {MEMORY_GOAL_MIB}).\n")  # fmt: skip
        _print_breakdown(run)
    whole = runs["100,000 x 80,000"]
    for what in ("20,000 x 20,000", "40,000 x 30,000"):
        print(f"Memory above that of {what}: {100 * (whole.peak_mib / runs[what].peak_mib - 1):.1f} % (goal 10).")
    halves = {each: runs[f"its {each} half"].seconds for each in ("left", "right")}
    print(f"Time of the whole slide against that of its halves together: {whole.seconds / sum(halves.values()):.3f}"
          " (goal 1 within .15).")  # fmt: skip
    ratio = halves["left"] / halves["right"] / (_tissue_mm2(large, left) / _tissue_mm2(large, right))
    print(f"Time for one tissue, left half against right half: {ratio:.3f} (goal 1 within .15).")


def _tissue_mm2(path: Path, region: tuple[int, ...]) -> float:
    """Area of tissue in a slide or a part of it (left, top, width, height of level 0), seen at 16 µm a pixel."""
    with open_slide(path) as slide:
        mask = tissue_mask(slide, 4, margin_px=0)
        across, down = mask.shape[1] / slide.levels[0].width, mask.shape[0] / slide.levels[0].height
    if region:
        left, top, width, height = region
        mask = mask[
            round(top * down) : round((top + height) * down), round(left * across) : round((left + width) * across)
        ]
    return float(mask.sum()) * (PIXEL_UM / across) * (PIXEL_UM / down) / 1e6


if __name__ == "__main__":
    main()
