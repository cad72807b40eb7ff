"""What an ensemble says of a pool of images: uncertainty, descriptors; one image in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import Image
from frugalseg.engines import Engine
from frugalseg.images import Sample, WindowReader
from frugalseg.segmentation import described_map, network_image
from frugalseg.stain import Stain
from frugalseg.suggest import ImageScores, Pool, score_maps

NO_MAP = np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Scored:
    """One image of the pool: its scores, and its descriptor averaged over the members, shape (D,)."""

    sample: Sample
    scores: ImageScores
    descriptor: NDArray[np.float32]


def score_images(
    engines: Sequence[Engine],
    samples: Sequence[Sample],
    scale: Callable[[Sample], float],
    *,
    stain: Stain | None = None,
    advance: Callable[[], None] = lambda: None,
    load: Callable[[Sample], Image] | None = None,
) -> Iterator[Scored]:
    """Score images one after the other, without keeping their maps; masks, should there be any, are not read.

    Parameters
    ----------
    engines
        One for each member.
    samples
        Images or windows of them.
    scale
        Factor from an image's pixels to the networks'.
    stain
        What images' stain is brought to, as the networks' card has it.
    advance
        Called after each image.
    load
        Gives an image's pixels; from the files, each decoded once where windows of one image follow each other.
    """
    load = load or WindowReader().load
    for sample in samples:
        found = score_one(engines, sample, load(sample), scale(sample), stain)
        yield replace(found, scores=replace(found.scores, uncertainty_map=NO_MAP))
        advance()


def score_one(
    engines: Sequence[Engine], sample: Sample, image: Image, scale: float, stain: Stain | None = None
) -> Scored:
    """Score one decoded image."""
    small = network_image(image, scale, stain)
    descriptors: list[NDArray[np.float32]] = []

    def maps() -> Iterator[NDArray[np.float32]]:
        for engine in engines:
            found, descriptor = described_map(engine, small)
            descriptors.append(descriptor)
            yield found

    scores = score_maps(maps())
    return Scored(sample, scores, np.stack(descriptors).mean(axis=0, dtype=np.float64).astype(np.float32))


def as_pool(scored: Sequence[Scored], labelled: Sequence[NDArray[np.float32]] = ()) -> Pool:
    """What strategies see of scored images; `labelled` are descriptors of the annotated ones."""
    descriptors = [each.descriptor for each in scored]
    return Pool(
        names=tuple(each.sample.name for each in scored),
        descriptors=np.stack(descriptors) if descriptors else np.zeros((0, 0), np.float32),
        uncertainty=np.array([each.scores.uncertainty for each in scored]),
        entropy=np.array([each.scores.entropy for each in scored]),
        bald=np.array([each.scores.bald for each in scored]),
        foreground=np.array([each.scores.foreground for each in scored]),
        class_entropy=np.stack([each.scores.class_entropy for each in scored]) if scored else np.zeros((0, 1)),
        labelled=np.stack(labelled) if len(labelled) else np.zeros((0, 0), np.float32),
        images=tuple(str(each.sample.image) for each in scored),
    )
