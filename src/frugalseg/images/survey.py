"""A survey of a data set: every file decoded, every object counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from frugalseg.errors import InputError, Problem
from frugalseg.images.objects import object_diameters
from frugalseg.images.samples import Dataset, load_sample


def survey(dataset: Dataset) -> dict[str, Any]:
    """Decode all of a data set, one image at a time, and describe it.

    Returns
    -------
    dict
        Numbers, texts, and dicts of counts, fit for JSON; what is unknown, or undefined without objects, is None.

    Raises
    ------
    InputError
        With every file that cannot be decoded.
    """
    problems: list[Problem] = []
    notes = list(dataset.notes)
    per_image: list[int] = []
    diameters = [np.zeros(0)]
    classes: Counter[str] = Counter(dict.fromkeys(dataset.class_names, 0))
    unknown = pixels = 0
    for sample in dataset.samples:
        try:
            loaded = load_sample(dataset, sample)
        except InputError as error:
            problems += error.problems
            continue
        notes += loaded.notes
        if sample.labelled:
            per_image.append(len(loaded.object_classes))
            diameters.append(object_diameters(loaded.labels))
            classes.update(dataset.class_names[index] for index in loaded.object_classes.values())
            unknown += int(np.count_nonzero(loaded.labels < 0))
            pixels += loaded.labels.size
    if problems:
        raise InputError.of(problems)
    every = np.concatenate(diameters)
    samples = dataset.samples
    return {
        "root": str(dataset.root),
        "layout": dataset.layout,
        "images": len(samples),
        "with_mask": len(dataset.labelled),
        "without_mask": len(dataset.unlabelled),
        "subsets": dataset.subsets,
        "sizes": _counts(f"{sample.size[1]} x {sample.size[0]}" for sample in samples),
        "bit_depths": _counts(str(sample.bits) for sample in samples),
        "groups": len({sample.group for sample in samples} - {None}),
        "categories": _counts(sample.category for sample in samples if sample.category),
        "pixel_size_um": dataset.pixel_size_um,
        "objects": {
            "total": sum(per_image),
            "fewest_per_image": min(per_image, default=None),
            "median_per_image": float(np.median(per_image)) if per_image else None,
            "most_per_image": max(per_image, default=None),
            "median_diameter_px": float(np.median(every)) if every.size else None,
        },
        "classes": dict(classes),
        "unknown_share": unknown / pixels if pixels else None,
        "content_sha256": dataset.content_hash(),
        "notes": notes,
    }


def _counts(values: Any) -> dict[str, int]:
    """How often each value occurs, the commonest first, ties by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
