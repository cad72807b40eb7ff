"""What strategies see: numbers of the unannotated images, and descriptors of the annotated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def _no_descriptors() -> NDArray[np.float32]:
    return np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Pool:
    """The images that may be suggested.

    Attributes
    ----------
    names
        One for each image, in a fixed order.
    descriptors
        Of each image, averaged over the ensemble, shape (n, D).
    uncertainty, entropy, bald
        Means over each image's pixels, shape (n,); see :class:`frugalseg.suggest.ImageScores`.
    foreground
        Share of each image that is predicted to be object, shape (n,).
    class_entropy
        Mean entropy over the pixels predicted as each class, background first, shape (n, C + 1); 0 where none are.
    labelled
        Descriptors of the annotated images, shape (m, D); may be empty.
    images
        The image that each belongs to, where they are windows; empty where each is an image of its own.
    """

    names: tuple[str, ...]
    descriptors: Floats
    uncertainty: Floats
    entropy: Floats
    bald: Floats
    foreground: Floats
    class_entropy: Floats
    labelled: Floats = field(default_factory=_no_descriptors)
    images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.names)
        for name in ("descriptors", "uncertainty", "entropy", "bald", "foreground", "class_entropy"):
            array = getattr(self, name)
            if len(array) != n:
                raise ValueError(f"{name} holds {len(array)} images, there are {n} names")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds a number that is not finite")
        if self.images and len(self.images) != n:
            raise ValueError(f"images holds {len(self.images)}, there are {n} names")
        if self.descriptors.ndim != 2 or self.class_entropy.ndim != 2:
            raise ValueError("descriptors and class_entropy must have two axes")
        if len(self.labelled) and self.labelled.shape[1:] != self.descriptors.shape[1:]:
            raise ValueError(f"descriptors of length {self.labelled.shape[1]} and {self.descriptors.shape[1]}")

    def without(self, places: Sequence[int], annotated: Sequence[int]) -> Pool:
        """The pool without some of its places; those in `annotated` count as annotated."""
        kept = np.setdiff1d(np.arange(len(self.names)), np.asarray(places, dtype=np.intp))
        more = self.descriptors[np.asarray(annotated, dtype=np.intp)]
        return Pool(
            names=tuple(self.names[place] for place in kept),
            descriptors=self.descriptors[kept],
            uncertainty=self.uncertainty[kept],
            entropy=self.entropy[kept],
            bald=self.bald[kept],
            foreground=self.foreground[kept],
            class_entropy=self.class_entropy[kept],
            labelled=np.concatenate([self.labelled, more]) if len(self.labelled) else more,
            images=tuple(self.images[place] for place in kept) if self.images else (),
        )


@dataclass(frozen=True)
class Ask:
    """How many images are wanted.

    Attributes
    ----------
    k
        Images to suggest; fewer where the pool holds fewer.
    n_candidates
        The most uncertain images among which ``suggestive`` chooses, K in the papers; twice k if not given, as there.
    round
        Number of the round, from 0; ``power`` draws less at random in later ones.
    seed
        Of everything random; with the round it decides alone.
    per_image
        At most so many windows of one image; any number if not given.
    """

    k: int = 8
    n_candidates: int | None = None
    round: int = 0
    seed: int = 0
    per_image: int | None = None

    def __post_init__(self) -> None:
        if self.per_image is not None and self.per_image < 1:
            raise ValueError(f"per_image must be at least 1, not {self.per_image}")
        if self.k < 1 or (self.n_candidates is not None and self.n_candidates < self.k):
            raise ValueError(f"k must be at least 1 and at most n_candidates, not {self.k} of {self.n_candidates}")
        if self.round < 0 or self.seed < 0:
            raise ValueError("round and seed must not be negative")

    def generator(self) -> np.random.Generator:
        """Random numbers of this round."""
        return np.random.default_rng([self.seed, self.round])
