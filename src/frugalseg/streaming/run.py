"""A slide from start to end: tissue, network, stitching, objects, outputs; each stage goes on where it was stopped.

What a stage has done lies in the work folder as whole files, and everything that comes after is made from these files
alone. So a run that was killed and resumed writes the same bytes as one that was not.
"""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg import __version__
from frugalseg.arrays import Mask
from frugalseg.atomic import write_json
from frugalseg.engines import Engine
from frugalseg.errors import InputError
from frugalseg.executors import Executor, open_executor
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.processor import usable_cores
from frugalseg.slides import Slide, SlideView
from frugalseg.stain import Curves, curves_for
from frugalseg.streaming.label_tiles import ObjectIndex, paint
from frugalseg.streaming.looks import compare_with_training, tissue_cells
from frugalseg.streaming.objects import are_debris, blocks_of, enclosed, objects_of_block
from frugalseg.streaming.outputs import OUTPUTS, Findings
from frugalseg.streaming.plan import Rect, SlidePlan, halo_for, make_plan
from frugalseg.streaming.probabilities import run_network, stored_parts
from frugalseg.streaming.stitch import Components, join
from frugalseg.streaming.store import Arrays
from frugalseg.streaming.summary import SUMMARY, TIMES, summary_of, written_summary
from frugalseg.streaming.timing import Clock
from frugalseg.streaming.tissue import tissue_mask
from frugalseg.streaming.work import WorkFolder, slide_key

log = logging.getLogger(__name__)

Report = Callable[[str, int, int], None]
"""Told of every step: the stage, how many of its parts are done, how many there are."""

_FEW_BLOCKS = 32
_MOST_WORKERS = 4
_HEAVY_PX = 2048**2


@dataclass(frozen=True)
class StreamSettings:
    """How a slide is segmented.

    Parameters
    ----------
    formats
        Names of `OUTPUTS`.
    region
        Left, top, width, height in pixels of level 0; None for the whole slide.
    skip_glass
        Leave out tiles without tissue.
    batch
        Tiles that go through the network at once, at most.
    workers
        Processes that make objects; 0 for as many as there are cores, four at most. Results do not depend on it.
    """

    formats: tuple[str, ...] = tuple(OUTPUTS)
    region: tuple[int, int, int, int] | None = None
    skip_glass: bool = True
    batch: int = 1
    workers: int = 0


def segment_slide(
    engines: Sequence[Engine],
    card: ModelCard,
    slide: Slide,
    name: str,
    out: Path,
    settings: StreamSettings,
    *,
    pixel_size_um: float | None = None,
    model_key: Sequence[str] = (),
    resume: bool = False,
    report: Report = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Segment a slide, write what was found into `out`, and return the content of ``NAME.summary.json``.

    Parameters
    ----------
    engines, card, slide, name
        The model, whose engines are averaged; what to segment, and the stem of all files written.
    pixel_size_um
        Of level 0; what the slide says by default.
    model_key
        By what the model is known again when a run is resumed.
    resume
        Go on with what lies in the work folder, if anything.
    report
        Told of progress.

    Raises
    ------
    InputError
        The region lies outside the slide; unfinished work lies there and `resume` is false, or it was made with other
        settings, by another model or from another slide.
    """
    work = WorkFolder(out / f"{name}.work")
    size_um = pixel_size_um or slide.pixel_size_um
    made_for = _made_for(slide, card, settings, size_um, model_key)
    if resume and (done := _finished(work, out, name, made_for)) is not None:
        return done
    clock = Clock()
    view = SlideView(slide, 1 / card.scale_for(size_um))
    with clock.span("plan"):
        plan = _resumed_plan(work, made_for, resume) or _new_plan(work, view, engines, card, settings, made_for, report)
    with clock.span("network stage"):
        _network_stage(engines, view, plan, work, card, "zarr" in settings.formats, clock, report)
    with clock.span("stitching"):
        components = _stitching_stage(plan, work, card.instances, report)
    with clock.span("objects"):
        index = _object_stage(work, settings, report)
    with clock.span("label map"):
        paint(plan, index, work.objects, work.labels, advance=_counter(report, "label map", 0))
    found = Findings(name, out, slide, plan, size_um, card.class_names, index, work.objects, work.labels, work.tiles)
    _remove_earlier(out, name, settings.formats)
    _write_times(out, name, plan, clock)  # says that outputs of ours lie here, however far the rest comes
    _write_outputs(found, settings.formats, clock, report)
    summary = summary_of(name, plan, card, size_um, components, index, work.objects, made_for)
    summary |= compare_with_training(view, plan, card.familiarity, card.stain)
    _write_times(out, name, plan, clock)
    write_json(out / f"{name}{SUMMARY}", summary)
    work.remove()
    return summary


def _finished(work: WorkFolder, out: Path, name: str, made_for: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a complete run with these settings, if there is one."""
    done = written_summary(out, name)
    if done is None or {"stain": None, **done["made_for"]} != made_for or work.exists():
        return None
    if not all((out / f"{name}{OUTPUTS[each][0]}").exists() for each in made_for["formats"]):
        return None
    work.remove()  # a kill may have left some of it
    log.info("%s: nothing left to do", name)
    return done


def _remove_earlier(out: Path, name: str, formats: Sequence[str]) -> None:
    """Take away the summary of an earlier run, and those of its outputs that this one does not replace."""
    if not any((out / f"{name}{suffix}").exists() for suffix in (SUMMARY, TIMES)):
        return
    for suffix in (suffix for each, (suffix, _) in OUTPUTS.items() if each not in formats):
        path = out / f"{name}{suffix}"
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (out / f"{name}{SUMMARY}").unlink(missing_ok=True)


def _write_times(out: Path, name: str, plan: SlidePlan, clock: Clock) -> None:
    write_json(out / f"{name}{TIMES}", {"seconds": clock.seconds(), "tiles": len(plan.tiles)})


def _write_outputs(found: Findings, formats: Sequence[str], clock: Clock, report: Report) -> None:
    """Write every output beside its place and move it there."""
    for number, format_name in enumerate(formats, 1):
        suffix, write = OUTPUTS[format_name]
        with clock.span(f"write {format_name}"):
            write(replace(found, path=found.path / f"{found.name}{suffix}"))
        report("outputs", number, len(formats))


def _made_for(
    slide: Slide, card: ModelCard, settings: StreamSettings, size_um: float | None, model_key: Sequence[str]
) -> dict[str, Any]:
    """All that the results depend on."""
    return {
        "frugalseg": __version__,
        "slide": slide_key(slide),
        "pixel_size_um": size_um,
        "model": list(model_key),
        "scale": card.scale_for(size_um),
        "instances": card.instances.to_document(),
        "class_names": list(card.class_names),
        "region": None if settings.region is None else list(settings.region),
        "skip_glass": settings.skip_glass,
        "batch": settings.batch,
        "formats": list(settings.formats),
        "stain": None if card.stain is None else [[*card.stain.level], [*card.stain.spread]],
    }


def _resumed_plan(work: WorkFolder, made_for: dict[str, Any], resume: bool) -> SlidePlan | None:
    if not work.exists():
        return None
    if not resume:
        raise InputError(work.folder, "holds unfinished work; go on with it by --resume, or delete the folder")
    plan, _, before = work.read_plan()
    different = sorted(key for key in made_for if before.get(key) != made_for[key])
    if different:
        raise InputError(work.folder, f"was made with other settings ({', '.join(different)}); choose another folder")
    return plan


def _new_plan(
    work: WorkFolder,
    view: SlideView,
    engines: Sequence[Engine],
    card: ModelCard,
    settings: StreamSettings,
    made_for: dict[str, Any],
    report: Report,
) -> SlidePlan:
    work.remove()
    report("tissue", 0, 1)
    level = view.slide.levels[0]
    frame = None if settings.region is None else _frame(view, settings.region)
    mask = tissue_mask(view.slide, view.factor) if settings.skip_glass or card.stain is not None else None
    _curves(view, card, work, mask)
    plan = make_plan(
        slide_width=level.width,
        slide_height=level.height,
        width=view.width,
        height=view.height,
        stride=max(engine.stride for engine in engines),
        halo_px=halo_for(max(engine.halo_px for engine in engines), card.net),
        tissue=mask if settings.skip_glass else None,
        frame=frame,
        batch=settings.batch,
    )
    work.write_plan(plan, card.instances, made_for)
    report("tissue", 1, 1)
    return plan


def _curves(view: SlideView, card: ModelCard, work: WorkFolder, tissue: Mask | None = None) -> Curves | None:
    """What brings the slide to the model's stain, measured once and kept with the work; None leaves it."""
    if card.stain is None:
        return None
    arrays = work.stitched.get("curves")
    if arrays is None:
        mask = tissue_mask(view.slide, view.factor) if tissue is None else tissue
        found = curves_for(card.stain, tissue_cells(view, mask))
        arrays = {"curves": np.zeros((0, 256), np.uint8) if found is None else found}
        work.stitched.put("curves", arrays)
    return arrays["curves"] if len(arrays["curves"]) else None


def _frame(view: SlideView, region: tuple[int, int, int, int]) -> Rect:
    """A region of level 0 in the view; every pixel that it touches."""
    level = view.slide.levels[0]
    left, top, width, height = region
    asked = Rect(left, top, left + width, top + height).overlap(Rect(0, 0, level.width, level.height))
    if asked.empty:
        raise InputError("--region", f"{','.join(map(str, region))} lies outside {view.slide.path.name}"
                         f" ({level.width} x {level.height} pixels)")  # fmt: skip
    across, down = view.width / level.width, view.height / level.height
    return Rect(
        int(asked.left * across),
        int(asked.top * down),
        -int(-asked.right * across // 1),
        -int(-asked.bottom * down // 1),
    )


def _network_stage(
    engines: Sequence[Engine],
    view: SlideView,
    plan: SlidePlan,
    work: WorkFolder,
    card: ModelCard,
    keep_images: bool,
    clock: Clock,
    report: Report,
) -> None:
    run_network(
        engines,
        view,
        plan,
        work.tiles,
        threshold=card.instances.threshold,
        clock=clock,
        curves=_curves(view, card, work),
        keep_images=keep_images,
        advance=_counter(report, "network", len(plan.tiles)),
    )
    for engine in engines:
        engine.release()  # what comes next has workers of its own


def _counter(report: Report, stage: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        report(stage, done, max(total, done))

    return advance


def _stitching_stage(plan: SlidePlan, work: WorkFolder, instances: InstanceSettings, report: Report) -> Components:
    """Components of the slide, kept with what is left out: debris, and what another component encloses."""
    arrays = work.stitched.get("components")
    if arrays is None:
        report("stitching", 0, 1)
        components = join(plan, stored_parts(plan, work.tiles))
        skip = are_debris(components, instances) | enclosed(plan, work.tiles, components, instances)
        arrays = {
            "boxes": components.boxes,
            "first": components.first,
            "pieces": components.pieces,
            "cut": components.cut,
            "skip": skip,
        }
        work.stitched.put("components", arrays)
        report("stitching", 1, 1)
    return _components(arrays)


def _components(arrays: Arrays) -> Components:
    return Components(arrays["boxes"], arrays["first"], arrays["pieces"], arrays["cut"])


def _object_stage(work: WorkFolder, settings: StreamSettings, report: Report) -> ObjectIndex:
    _context.cache_clear()  # a folder of this name may have held another slide's work
    arrays = work.stitched.get("components")
    assert arrays is not None  # written by the stage before
    components = _components(arrays)
    blocks = blocks_of(components)
    names = tuple(map(_block_name, np.unique(blocks[~arrays["skip"]], axis=0).tolist()))
    there = work.objects.names()
    sides = components.boxes[:, 2:] - components.boxes[:, :2]
    is_heavy = ~arrays["skip"] & (sides[:, 0] * sides[:, 1] > _HEAVY_PX)
    heavy = {_block_name(block) for block in blocks[is_heavy].tolist()}
    light = [name for name in names if name not in there and name not in heavy]
    workers = settings.workers or min(usable_cores(), _MOST_WORKERS)
    advance = _counter(report, "objects", len(names))
    advance(len(there.intersection(names)))
    # one large component takes up to 1.7 GB: those come one at a time, when the workers' memory is free again
    for todo, n in ((light, workers), ([name for name in names if name in heavy - there], 1)):
        alone = n == 1 or len(todo) <= _FEW_BLOCKS
        executor: Executor
        with open_executor("serial" if alone else "processes", 1 if alone else n) as executor:
            tasks = [f"{work.folder}\n{name}" for name in todo]
            for _ in executor.map(make_block, tasks, label=lambda task: task.replace("\n", ": block ")):
                advance(1)
    return _index(work, names)


def _block_name(place: Sequence[int]) -> str:
    """Of a block's file, from its row and column."""
    return f"{place[0]:05d}_{place[1]:05d}"


def make_block(task: str) -> None:
    """Make the objects of a block: a work folder and the block's name, divided by a line break."""
    folder, _, name = task.partition("\n")
    work, plan, instances, components, skip = _context(folder)
    row, column = map(int, name.split("_"))
    here = np.all(blocks_of(components) == (row, column), axis=1)
    objects = objects_of_block(plan, work.tiles, components, np.flatnonzero(here & ~skip), instances)
    work.objects.put(name, objects.to_arrays())


@functools.lru_cache(maxsize=1)
def _context(folder: str) -> tuple[WorkFolder, SlidePlan, InstanceSettings, Components, Any]:
    """What all blocks of a slide share; read once a process."""
    work = WorkFolder(Path(folder))
    plan, instances, _ = work.read_plan()
    arrays = work.stitched.get("components")
    assert arrays is not None  # written before any block is made
    return work, plan, instances, _components(arrays), arrays["skip"]


def _index(work: WorkFolder, names: tuple[str, ...]) -> ObjectIndex:
    boxes = [np.zeros((0, 4), dtype=np.int64)]
    for name in names:
        arrays = work.objects.get(name)
        if arrays is None:
            path = work.objects.folder / f"{name}.zst"
            raise InputError(path, "is damaged; delete it and go on by --resume")
        boxes.append(arrays["boxes"])
    counts = [len(each) for each in boxes[1:]]
    part = np.repeat(np.arange(len(names)), counts)
    place = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(count) for count in counts)])
    return ObjectIndex(names, part, place, np.concatenate(boxes))
