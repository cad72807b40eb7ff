"""What was found on a slide, in one small file: counts, areas, what was cut, and what the run was made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.model_files import ModelCard
from frugalseg.streaming.label_tiles import ObjectIndex
from frugalseg.streaming.plan import SlidePlan
from frugalseg.streaming.shapes import SHAPES
from frugalseg.streaming.stitch import Components
from frugalseg.streaming.store import ArrayStore

SUMMARY = ".summary.json"
TIMES = ".timing.json"


def summary_of(
    name: str,
    plan: SlidePlan,
    card: ModelCard,
    pixel_size_um: float | None,
    components: Components,
    index: ObjectIndex,
    objects: ArrayStore,
    made_for: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``NAME.summary.json``; no times in it, so that it is the same for a resumed run."""
    counts = np.zeros(len(card.class_names), dtype=np.int64)
    area = 0.0
    for part in index.names:
        arrays = objects.get(part)
        assert arrays is not None  # the index was made from it
        counts += np.bincount(arrays["classes"], minlength=len(counts))
        area += float(arrays["shapes"][:, SHAPES.index("area_px")].sum())
    across, down = plan.steps
    return {
        "image": name,
        "width_px": plan.slide_width,
        "height_px": plan.slide_height,
        "pixel_size_um": pixel_size_um,
        "network_pixel_px": round((across + down) / 2, 6),
        "n_tiles": len(plan.tiles),
        "n_grid_tiles": len(tuple(plan.tiles_of(plan.frame))),
        "n_objects": len(index),
        "n_by_class": dict(zip(card.class_names, counts.tolist(), strict=True)),
        "area_px": round(area, 2),
        **({} if pixel_size_um is None else {"area_um2": round(area * pixel_size_um**2, 2)}),
        "cut_objects": [
            {
                "x_px": round(left * across, 2),
                "y_px": round(top * down, 2),
                "width_px": round((right - left) * across, 2),
                "height_px": round((bottom - top) * down, 2),
            }
            for left, top, right, bottom in components.cut.tolist()
        ],
        "made_for": made_for,
    }


def written_summary(out: Path, name: str) -> dict[str, Any] | None:
    """The summary of an earlier, complete run; None where there is none that can be read."""
    try:
        document = json.loads((out / f"{name}{SUMMARY}").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "made_for" in document else None
