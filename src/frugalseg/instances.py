"""Probability map to labelled objects."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from frugalseg.arrays import LabelMap, Mask, ProbabilityMap
from frugalseg.rejector import CANDIDATE_AREA, Rejector, object_features

EIGHT = np.ones((3, 3), dtype=bool)
"""Neighbourhood of connected components: sides and corners."""

DOUBTED = 5.0
"""Objects of this many times the debris size are kept however doubtful they are."""

CUT_FACTOR = 2.5
"""Objects that the image's edge cuts count as so many times larger than what is seen of them, where size matters."""

MAX_OPENING_PX = 16
"""Largest radius of an opening."""


@dataclass(frozen=True)
class InstanceSettings:
    """How probabilities become objects; lengths and areas in pixels of the network's scale.

    Parameters
    ----------
    threshold
        A pixel is foreground where its foreground probability exceeds this.
    border_weight
        How much the border probability counts against a pixel being in a core, 0 to 1; at 0 objects are connected
        components.
    core_threshold
        A core is a component of foreground probability times (1 - border_weight x border probability) above this.
    fragment_area, fragment_edge
        A piece that the watershed cut off and that is smaller than so many square pixels rejoins the neighbour that it
        shares the longest edge with, if the mean of the core map along that edge is above `fragment_edge`: a border
        that the network hardly saw does not make small objects. An area of 0 leaves all pieces apart.
    opening_radius
        Objects are opened by a disc of so many pixels: what is thinner than the disc and sticks out goes, and where two
        parts that are large enough hang together by such a neck, each is an object. Below 1 nothing is opened.
    min_area
        Objects smaller than this many square pixels are debris and removed; those that the image's edge cuts are
        measured as if they were :data:`CUT_FACTOR` times larger, here and below.
    min_confidence
        So are objects below `DOUBTED` times that area (of any area where it is 0) whose mean foreground probability is
        below this: small false objects are seen with doubt. Without a meaning where there is a rejector.
    rejector
        Judges every object instead, where there is one, down to a share of the debris size.
    """

    threshold: float = 0.5
    border_weight: float = 1.0
    core_threshold: float = 0.5
    min_area: float = 0.0
    min_confidence: float = 0.0
    rejector: Rejector | None = None
    fragment_area: float = 0.0
    fragment_edge: float = 0.0
    opening_radius: float = 0.0

    def __post_init__(self) -> None:
        for name in ("threshold", "core_threshold", "border_weight", "min_confidence", "fragment_edge"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        for name in ("min_area", "fragment_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if not 0 <= self.opening_radius <= MAX_OPENING_PX:
            raise ValueError(f"opening_radius must lie between 0 and {MAX_OPENING_PX}, not {self.opening_radius}")

    @property
    def debris_area(self) -> float:
        """Objects smaller than this are not even judged: of the debris size a share where there is a rejector."""
        return self.min_area if self.rejector is None else CANDIDATE_AREA * self.min_area

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> InstanceSettings:
        """What :meth:`to_document` gave; ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        settings = {**value}
        rejector = settings.pop("rejector", None)
        return cls(**settings, rejector=None if rejector is None else Rejector.from_document(rejector))

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "rejector": None if self.rejector is None else self.rejector.to_document()}


def foreground(probabilities: ProbabilityMap) -> NDArray[np.float32]:
    """Probability of any object class, shape (H, W)."""
    return np.asarray(1.0 - probabilities[0], dtype=np.float32)


def separate(probabilities: ProbabilityMap, settings: InstanceSettings) -> LabelMap:
    """Label the objects of a probability map, 1…n in reading order; no object gives zeros.

    Cores, where the network sees an object but no border, are grown over the foreground by a watershed on the same
    map (Vincent & Soille 1991; cores from a contour branch as in DCAN, Chen et al., CVPR 2016). A foreground
    component without a core is an object too. Small pieces that a weak border cut off rejoin their neighbours (ours).
    Holes are filled, thin spurs cut off; debris and what the network doubts is removed.
    """
    return separate_judged(probabilities, settings)[0]


def separate_judged(probabilities: ProbabilityMap, settings: InstanceSettings) -> tuple[LabelMap, dict[int, float]]:
    """The objects of :func:`separate`, and their probabilities as :func:`object_confidences` gives them."""
    front = foreground(probabilities)
    mask = front > settings.threshold
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32), {}
    whole, n_whole = _components(mask)
    labels = _divided(whole, n_whole, front, probabilities[-1], settings) if settings.border_weight else whole
    labels = tidy(labels, settings.debris_area, settings.opening_radius)
    if settings.rejector is not None:
        found = settings.rejector.probabilities(object_features(labels, probabilities))
        kept = found > settings.rejector.threshold
        return _keep(labels, np.append(False, kept)), _numbered(found[kept])
    labels = _confident(labels, front, settings)
    return labels, object_confidences(labels, probabilities)


def _divided(
    whole: LabelMap,
    n_whole: int,
    front: NDArray[np.float32],
    border: NDArray[np.float32],
    settings: InstanceSettings,
) -> LabelMap:
    """The components cut apart by their cores."""
    core_map = front * (1.0 - settings.border_weight * border)
    cores, n_cores = _large_components((core_map > settings.core_threshold) & (whole > 0), 0.25 * settings.min_area)
    return _split(whole, n_whole, cores, n_cores, core_map, settings)


def _numbered(values: NDArray[np.float64]) -> dict[int, float]:
    """Of the objects 1…n."""
    return {label: float(value) for label, value in enumerate(values, start=1)}


def _confident(labels: LabelMap, front: NDArray[np.float32], settings: InstanceSettings) -> LabelMap:
    """The objects that are large, or whose mean foreground probability is high enough, numbered anew."""
    if settings.min_confidence <= 0:
        return labels
    areas = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=front.ravel())
    sizes = areas * np.where(_cut(labels, len(areas)), CUT_FACTOR, 1.0)
    keep = sums >= settings.min_confidence * areas
    if settings.min_area > 0:
        keep |= sizes >= DOUBTED * settings.min_area
    return _keep(labels, keep)


def _keep(labels: LabelMap, keep: Mask) -> LabelMap:
    """The objects whose numbers are to be kept, numbered anew in the same order."""
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _cut(labels: LabelMap, n: int) -> Mask:
    """For each of `n` labels whether it touches the image's edge."""
    cut = np.zeros(n, dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        cut[side] = True
    return cut


def _components(mask: Mask) -> tuple[LabelMap, int]:
    """8-connected components of a mask, numbered from 1."""
    labels, n = ndimage.label(mask, EIGHT)
    return np.asarray(labels, dtype=np.int32), int(n)


def _large_components(mask: Mask, min_area: float) -> tuple[LabelMap, int]:
    """Connected components of at least `min_area` pixels, numbered from 1."""
    labels, n = _components(mask)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    keep = areas >= max(min_area, 1)
    kept = _keep(labels, keep)
    return kept, int(keep.sum())


def _split(
    whole: NDArray[np.int32],
    n_whole: int,
    cores: LabelMap,
    n_cores: int,
    core_map: NDArray[np.float32],
    settings: InstanceSettings,
) -> LabelMap:
    """Give each component to its core; flood only those components that hold several."""
    whole_of_core = np.zeros(n_cores + 1, dtype=np.intp)
    whole_of_core[cores] = whole  # all pixels of a core lie in one component; the background's entry means nothing
    n_inside = np.bincount(whole_of_core[1:], minlength=n_whole + 1)
    crowded = n_inside > 1
    crowded[0] = False
    # components without several cores keep a number of their own, above the cores' numbers
    labels = np.where(crowded[whole], 0, whole + n_cores).astype(np.int32)
    labels[whole == 0] = 0
    for index, box in enumerate(ndimage.find_objects(whole), start=1):
        if box is None or not crowded[index]:
            continue
        inside = whole[box] == index
        flooded = watershed(-core_map[box], np.where(inside, cores[box], 0), mask=inside, connectivity=EIGHT)
        flooded = _rejoined(flooded, core_map[box], settings)
        labels[box][inside] = flooded[inside]
    return labels


@dataclass(frozen=True)
class _Edge:
    """Where two pieces touch: pairs of neighbouring pixels, and the sum of the lower core values of each pair."""

    n_pairs: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n_pairs


def _rejoined(pieces: LabelMap, core_map: NDArray[np.float32], settings: InstanceSettings) -> LabelMap:
    """The pieces of one component, small ones joined with neighbours, longest edge first, until none is left to join.

    A joined piece has the number of the larger one.
    """
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    if not ((areas > 0) & (areas < settings.fragment_area)).any():
        return pieces
    neighbours = _edges(pieces, core_map)
    numbers = np.arange(len(areas))
    heap = [
        (-edge.n_pairs, low, high) for low, edges in neighbours.items() for high, edge in edges.items() if low < high
    ]
    heapq.heapify(heap)
    while heap:
        length, low, high = heapq.heappop(heap)
        joint = neighbours.get(low, {}).get(high)
        if joint is None or joint.n_pairs != -length or joint.mean <= settings.fragment_edge:
            continue  # of before one of them was joined with another piece, or a firm border
        small, large = sorted((low, high), key=lambda number: (areas[number], -number))
        if areas[small] >= settings.fragment_area:
            continue
        areas[large] += areas[small]
        numbers[numbers == small] = large
        for third, edge in neighbours.pop(small).items():
            del neighbours[third][small]
            if third != large:
                kept = neighbours[large].get(third, _Edge())
                both = _Edge(kept.n_pairs + edge.n_pairs, kept.total + edge.total)
                neighbours[large][third] = neighbours[third][large] = both
                heapq.heappush(heap, (-both.n_pairs, min(large, third), max(large, third)))
    return numbers[pieces].astype(np.int32)


def _edges(pieces: LabelMap, core_map: NDArray[np.float32]) -> dict[int, dict[int, _Edge]]:
    """For each piece its edges with the others, by 8-neighbourhood."""
    n = int(pieces.max()) + 1
    codes, values = [], []
    height, width = pieces.shape
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        near = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        far = slice(down, height), slice(max(0, right), width - max(0, -right))
        a, b = pieces[near].astype(np.int64), pieces[far].astype(np.int64)
        touch = (a != b) & (a > 0) & (b > 0)
        codes.append(np.minimum(a, b)[touch] * n + np.maximum(a, b)[touch])
        values.append(np.minimum(core_map[near], core_map[far])[touch])
    pairs, places = np.unique(np.concatenate(codes), return_inverse=True)
    counts = np.bincount(places, minlength=len(pairs))
    totals = np.bincount(places, weights=np.concatenate(values), minlength=len(pairs))
    found: dict[int, dict[int, _Edge]] = {}
    for pair, count, total in zip(pairs.tolist(), counts.tolist(), totals.tolist(), strict=True):
        low, high = divmod(pair, n)
        for one, other in ((low, high), (high, low)):
            found.setdefault(one, {})[other] = _Edge(count, total)
    return found


def tidy(labels: LabelMap, min_area: float, opening_radius: float = 0.0) -> LabelMap:
    """Fill each object's holes, open it, drop what is below `min_area` pixels, number the rest 1…n in reading order.

    Objects that the image's edge cuts may be :data:`CUT_FACTOR` times smaller.
    """
    result = np.zeros(labels.shape, dtype=np.int32)
    next_label = 1
    cut = _cut(labels, int(labels.max(initial=0)) + 1)
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        filled = ndimage.binary_fill_holes(labels[box] == index)
        least = max(min_area, 1) / (CUT_FACTOR if cut[index] else 1.0)
        for part in _opened(filled, opening_radius, box, labels.shape, least) if opening_radius >= 1 else [filled]:
            if part.sum() < least:
                continue
            free = result[box] == 0
            result[box][part & free & ((labels[box] == 0) | (labels[box] == index))] = next_label
            next_label += 1
    return in_reading_order(result)


def _opened(mask: Mask, radius: float, box: tuple[slice, ...], shape: tuple[int, ...], least: float) -> list[Mask]:
    """Parts of the opening of an object by a disc: the largest, and others of at least so many pixels.

    An object that is thinner than the disc stays as it is. At the edges of an image of this shape objects go on beyond,
    as far as the disc looks.
    """
    reach = math.floor(radius)
    distances = np.arange(-reach, reach + 1) ** 2
    disc = distances[:, None] + distances <= radius**2
    wide = np.pad(mask, reach)
    for axis, (side, length) in enumerate(zip(box, shape, strict=True)):
        lines = wide.swapaxes(0, axis)  # a view
        if side.start == 0:
            lines[:reach] = lines[reach]
        if side.stop == length:
            lines[len(lines) - reach :] = lines[len(lines) - reach - 1]
    parts, n = _components(ndimage.binary_opening(wide, disc)[reach:-reach, reach:-reach])
    if n == 0:
        return [mask]
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return [parts == number for number in range(1, n + 1) if areas[number] >= least or number == areas.argmax()]


def in_reading_order(labels: LabelMap) -> LabelMap:
    """The same objects numbered 1…n by their first pixel in row order."""
    first = np.full(int(labels.max(initial=0)) + 1, labels.size)
    first[labels.ravel()[::-1]] = np.arange(labels.size)[::-1]  # of several values for one place the last one stays
    first[0] = labels.size
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < labels.size)]
    lookup = np.zeros(len(first), dtype=np.int32)
    lookup[order] = np.arange(1, len(order) + 1)
    return lookup[labels]


def object_classes(labels: LabelMap, probabilities: ProbabilityMap) -> dict[int, int]:
    """Class (from 0) of each object: the one with the highest mean probability over its pixels."""
    return {label: int(np.argmax(means[:-1])) for label, means in _object_means(labels, probabilities).items()}


def object_confidences(
    labels: LabelMap, probabilities: ProbabilityMap, rejector: Rejector | None = None
) -> dict[int, float]:
    """Probability of each object, 0 to 1: that of the rejector, or the mean foreground probability over its pixels."""
    if rejector is not None:
        return _numbered(rejector.probabilities(object_features(labels, probabilities)))
    return {label: float(sum(means[:-1])) for label, means in _object_means(labels, probabilities).items()}


def _object_means(labels: LabelMap, probabilities: ProbabilityMap) -> dict[int, list[float]]:
    """For each object the means of all channels but the background."""
    areas = np.bincount(labels.ravel())
    sums = [np.bincount(labels.ravel(), weights=channel.ravel()) for channel in probabilities[1:]]
    return {int(i): [float(each[i] / areas[i]) for each in sums] for i in np.flatnonzero(areas) if i > 0}
