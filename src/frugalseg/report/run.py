"""Pictures of a training run: curves while it goes on, a gallery of what the trained network finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from frugalseg.atomic import write_bytes
from frugalseg.images import load_sample, write_image
from frugalseg.report.curves import curves_png
from frugalseg.report.pictures import contact_sheet, overlay
from frugalseg.segmentation import segment

CURVES = "curves.png"
GALLERY = "gallery.png"
N_IN_GALLERY = 6


def write_curves(run: Path) -> None:
    """Draw ``curves.png`` from the rows of ``metrics.jsonl`` so far."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    write_bytes(run / CURVES, curves_png([json.loads(line) for line in text.splitlines()]))


def write_gallery(run: Path) -> None:
    """Draw ``gallery.png``: objects found in up to six held-out images, the truth dashed; training images if none.

    Reads the images anew from where the run folder says they are.
    """
    from frugalseg.engines.torch import TorchEngine
    from frugalseg.train.folder import read_config
    from frugalseg.train.run import reopen_data
    from frugalseg.train.weights import load_net

    net, card = load_net(run)
    names = read_config(run)["data"]
    side = "validation" if names["validation"] else "train"
    chosen = names[side][:: max(1, len(names[side]) // N_IN_GALLERY)][:N_IN_GALLERY]
    dataset = reopen_data(run)
    by_name = {sample.name: sample for sample in dataset.labelled}
    pictures = []
    for name in chosen:
        sample = load_sample(dataset, by_name[name])
        found = segment([TorchEngine(net)], sample.image, scale=card.scale, settings=card.instances, stain=card.stain)
        pictures.append(overlay(sample.image, found.labels, truth=sample.labels))
    title = "held out" if side == "validation" else "trained on"
    sheet = contact_sheet(pictures, [f"{name} ({title})" for name in chosen], columns=3)
    write_image(run / GALLERY, np.asarray(sheet))
