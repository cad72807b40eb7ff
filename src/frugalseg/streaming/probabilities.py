"""Probabilities of a slide: made tile by tile, kept on disk, read back by the window; never whole in memory.

Kept are half-precision numbers of all channels but the last class, which is what the others leave. Everything after
works on these numbers, so that what a resumed run finds does not depend on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import Image, ProbabilityMap
from frugalseg.engines import Engine
from frugalseg.errors import InputError
from frugalseg.instances import foreground
from frugalseg.slides import SlideView
from frugalseg.stain import Curves, clear_black, recolour
from frugalseg.streaming.pixels import CachedView
from frugalseg.streaming.plan import Rect, SlidePlan, Tile
from frugalseg.streaming.stitch import Parts, parts_of
from frugalseg.streaming.store import Arrays, ArrayStore
from frugalseg.streaming.timing import Clock

AHEAD = 2
"""Batches that are read before the network asks for them."""

MAPS, IMAGE = "maps", "image"


def run_network(
    engines: Sequence[Engine],
    view: SlideView,
    plan: SlidePlan,
    store: ArrayStore,
    *,
    threshold: float,
    clock: Clock,
    curves: Curves | None = None,
    keep_images: bool = False,
    advance: Callable[[int], None] = lambda n: None,
) -> None:
    """Fill the store with every tile of the plan that it lacks.

    One thread reads ahead, this one runs the network, another one stores. A batch of which a tile is missing is run
    whole, so that each tile has the company that the plan gives it.

    Parameters
    ----------
    threshold
        Of the foreground, for the components of each tile.
    curves
        What the network sees instead of each value of each colour; None for the values themselves.
    keep_images
        Store the tiles' pixels too, as the slide has them.
    advance
        Called with the number of tiles done, those found in the store first.
    """
    there = store.names()
    todo = [batch for batch in plan.batches if not all(tile.name in there for tile in batch)]
    advance(len(plan.tiles) - sum(map(len, todo)))
    with ExitStack() as stack:
        reader, writer = (stack.enter_context(_single_thread(name)) for name in ("reading", "storing"))
        images = stack.enter_context(closing(_read_ahead(reader, CachedView(view), plan, todo, clock)))
        written: list[Future[None]] = []
        for batch, content in images:
            with clock.span("network"):
                maps = mean_of(engines, recolour(content, curves))
                clear_black(maps, content, curves)
            if written:
                written.pop().result()
            pixels = content if keep_images else None
            written.append(writer.submit(_store_batch, plan, store, batch, maps, pixels, threshold, clock))
            del maps  # with the batch that is written now, two of the largest arrays of all
            advance(len(batch))
        for each in written:
            each.result()


def _single_thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"frugalseg-{name}")


def _read_ahead(
    reader: ThreadPoolExecutor, view: CachedView, plan: SlidePlan, todo: Sequence[tuple[Tile, ...]], clock: Clock
) -> Generator[tuple[tuple[Tile, ...], NDArray[np.uint8]]]:
    """Batches with their pixels, in order; the next ones are read meanwhile."""
    waiting: list[Future[NDArray[np.uint8]]] = []
    following = iter(todo)
    try:
        for batch in todo:
            while len(waiting) < AHEAD and (ahead := next(following, None)) is not None:
                waiting.append(reader.submit(_read_batch, view, plan, ahead, clock))
            with clock.span("waiting for pixels"):
                content = waiting.pop(0).result()
            yield batch, content
    finally:
        for each in waiting:  # an error or Ctrl-C: what has not begun shall not begin
            each.cancel()


def _read_batch(view: CachedView, plan: SlidePlan, batch: tuple[Tile, ...], clock: Clock) -> NDArray[np.uint8]:
    with clock.span("read"):
        return np.stack([read_tile(view, plan, tile) for tile in batch])


def read_tile(view: CachedView, plan: SlidePlan, tile: Tile) -> Image:
    """Pixels of a tile with its halo; beyond the view its last pixels are repeated, to the network's stride."""
    asked = plan.reading(tile)
    seen = asked.overlap(Rect(0, 0, plan.width, plan.height))
    pixels = view.read(seen)
    below, beside = asked.height - seen.height, asked.width - seen.width
    return np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="edge") if below or beside else pixels


def mean_of(engines: Sequence[Engine], images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability maps (N, C + 2, H, W) of a batch, averaged over the engines."""
    total = engines[0].run(images)
    for engine in engines[1:]:
        total = total + engine.run(images)
    return total / np.float32(len(engines)) if len(engines) > 1 else total


def _kept(plan: SlidePlan, tile: Tile, maps: ProbabilityMap) -> NDArray[np.float16]:
    """Of a tile's probabilities what is stored: without halo and last class."""
    rows, columns = plan.kept_of(tile).within(plan.reading(tile))
    return np.concatenate([maps[:-2, rows, columns], maps[-1:, rows, columns]], dtype=np.float16, casting="same_kind")


def _store_batch(
    plan: SlidePlan,
    store: ArrayStore,
    batch: tuple[Tile, ...],
    maps: NDArray[np.float32],
    pixels: NDArray[np.uint8] | None,
    threshold: float,
    clock: Clock,
) -> None:
    with clock.span("store"):
        for index, tile in enumerate(batch):
            core, area = plan.core(tile), plan.kept_of(tile)
            kept = _kept(plan, tile, maps[index])
            inside = area.overlap(plan.frame)
            seen = kept[(slice(0, 1), *inside.within(area))].astype(np.float32)
            mask = np.zeros((core.height, core.width), dtype=bool)
            mask[inside.within(core)] = foreground(seen) > threshold
            arrays: Arrays = {MAPS: kept, **parts_of(mask, core)._asdict()}
            if pixels is not None:
                rows, columns = area.within(plan.reading(tile))
                arrays[IMAGE] = pixels[index, rows, columns]
            store.put(tile.name, arrays)


def stored_parts(plan: SlidePlan, store: ArrayStore) -> Iterator[tuple[Tile, Parts]]:
    """Each tile with its components, in reading order."""
    for tile in plan.tiles:
        arrays = store.get(tile.name)
        if arrays is None:
            raise _damaged(store, tile)
        yield tile, Parts(*(arrays[name] for name in Parts._fields))


def _damaged(store: ArrayStore, tile: Tile) -> InputError:
    return InputError(store.path(tile.name), "is damaged, or gone; delete it and go on by --resume")


def window_maps(plan: SlidePlan, store: ArrayStore, window: Rect) -> ProbabilityMap:
    """Probability map (C + 2, H, W) of a window; background where nothing was run, and outside the frame.

    Raises
    ------
    InputError
        A tile of the plan is gone, or damaged.
    """
    result: ProbabilityMap | None = None
    for tile in filter(plan.runs, plan.tiles_of(window)):
        arrays = store.get(tile.name)
        if arrays is None:
            raise _damaged(store, tile)
        kept = arrays[MAPS]
        if result is None:
            result = np.zeros((len(kept) + 1, window.height, window.width), dtype=np.float32)
            result[0] = 1
        area = plan.kept_of(tile)
        shared = area.overlap(window).overlap(plan.frame)
        if not shared.empty:
            source, target = shared.within(area), shared.within(window)
            result[(slice(None, -2), *target)] = kept[(slice(None, -1), *source)]
            result[(-1, *target)] = kept[(-1, *source)]
    assert result is not None  # a window is asked for because something was found in it
    result[-2] = np.maximum(1 - result[:-2].sum(axis=0), 0)
    return result
