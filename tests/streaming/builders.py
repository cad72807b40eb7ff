"""Engines and slides for tests of streaming."""

from __future__ import annotations

import numpy as np

from frugalseg.engines.testing import DarknessEngine
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.slides import ArraySlide, SlideView
from frugalseg.streaming.objects import Objects, are_alone, are_debris, blocks_of, enclosed, objects_of_block
from frugalseg.streaming.plan import make_plan
from frugalseg.streaming.probabilities import run_network, stored_parts
from frugalseg.streaming.stitch import join
from frugalseg.streaming.store import ArrayStore
from frugalseg.streaming.timing import Clock

CARD = ModelCard("lite", ("gland",), 0.5, 0.5, 60.0, InstanceSettings(min_area=20))
"""Of a network that sees half the slide's pixels along a side."""


class HalfPrecision(DarknessEngine):
    """Reads probabilities off the colours: object from red, border from green; exact in half precision."""

    def __init__(self, n_classes=1):
        super().__init__()
        self.n_classes = n_classes

    def run(self, images):
        self.sizes.append(images.shape[1:3])
        front = images[..., 0].astype(np.float32) / 256
        border = images[..., 1].astype(np.float32) / 256
        if self.n_classes == 1:
            return np.stack([1 - front, front, border], axis=1)
        share = (images[..., 2] // 64).astype(np.float32) / 4
        return np.stack([1 - front, front * share, front - front * share, border], axis=1)


def field(height, width, seed, coarseness=6, level=0.5):
    """A picture whose red channel is a random smooth field of probabilities, with ridges of border in green."""
    rng = np.random.default_rng(seed)
    from scipy import ndimage

    def smooth(sigma):
        noise = ndimage.gaussian_filter(rng.normal(size=(height, width)), sigma, mode="wrap")
        return noise / max(noise.std(), 1e-9)

    front = np.clip((smooth(coarseness) * 0.35 + level) * 255, 0, 255)
    border = np.clip((smooth(coarseness / 2) * 0.4 + 0.2) * 255, 0, 255)
    return np.stack([front, border, rng.integers(0, 256, (height, width))], axis=2).astype(np.uint8)


def stream(image, folder, settings, *, core_px, cut_px=4096, n_classes=1, frame=None, batch=1, tissue=None):
    """Everything up to the objects, without the outputs: the plan, the components, and the objects."""
    engine = HalfPrecision(n_classes)
    height, width = image.shape[:2]
    plan = make_plan(
        slide_width=width, slide_height=height, width=width, height=height, stride=engine.stride, halo_px=8,
        core_px=core_px, cut_px=cut_px, frame=frame, batch=batch, tissue=tissue,
    )  # fmt: skip
    store = ArrayStore(folder, cache_bytes=2**26)
    run_network([engine], SlideView(ArraySlide(image), 1.0), plan, store, threshold=settings.threshold, clock=Clock())
    components = join(plan, stored_parts(plan, store))
    skip = enclosed(plan, store, components, settings) | are_debris(components, settings)
    blocks = blocks_of(components)
    found = []
    for block in np.unique(blocks[~skip], axis=0):
        chosen = np.flatnonzero(~skip & np.all(blocks == block, axis=1))
        found.append(objects_of_block(plan, store, components, chosen, settings))
    return plan, components, found


def painted(plan, found: list[Objects]):
    """Label map of a slide's objects, and how many pixels two objects claim."""
    labels = np.zeros((plan.height, plan.width), dtype=np.int32)
    n, twice = 0, 0
    for objects in found:
        for (left, top, right, bottom), mask in zip(objects.boxes.tolist(), objects.masks, strict=True):
            n += 1
            place = labels[top:bottom, left:right]
            twice += int((mask & (place > 0)).sum())
            place[mask] = n
    return labels, twice


__all__ = ["HalfPrecision", "InstanceSettings", "are_alone", "field", "painted", "stream"]


def discs(height=1500, width=2600):
    """Glass with dark discs, some of them across the tiles' borders."""
    image = np.full((height, width, 3), 240, dtype=np.uint8)
    yy, xx = np.mgrid[:height, :width]
    places = [(200, 300, 80), (1020, 640, 60), (1300, 2300, 100), (700, 2080, 50), (0, 1500, 40)]
    for y, x, radius in places:
        image[(yy - y) ** 2 + (xx - x) ** 2 < radius**2] = (70, 30, 60)
    return image, places
