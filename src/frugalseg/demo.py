"""The whole job at once: data, training, prediction, scores, and a report of it all."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugalseg.arrays import Image, LabelMap
from frugalseg.atomic import write_json
from frugalseg.errors import InputError
from frugalseg.images import (
    Dataset,
    LoadedSample,
    Sample,
    image_stem,
    load_sample,
    open_dataset,
    read_label_map,
    split_validation,
    write_image,
)
from frugalseg.metrics import pool, score_image
from frugalseg.predict import Outputs, load_model, predict_files
from frugalseg.report.demo import DemoResult, ImageResult, write_demo_report
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train import TrainConfig
from frugalseg.train.folder import read_metrics
from frugalseg.train.plan import DataChoice
from frugalseg.train.run import train

log = logging.getLogger(__name__)

SEED = 1
N_TRAIN, N_TEST = 24, 10
STEPS = 200
PATCH_PX = 192
"""Two hundred steps with patches of this size take about a minute on two idle cores that have bf16."""
VALIDATION = 0.1
"""Share of the training images that only draw the validation curve."""
HELD_OUT = 0.2
"""Share of the user's images that are kept for scoring where the data names no test images."""

MARKER = "demo.json"
_PARTS = ("data", "run", "predictions", "inputs")


@dataclass(frozen=True)
class Roles:
    """Which annotated images train, which are scored, and how that was decided."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    reason: str


def run_demo(out: Path, *, data: Path | None = None, steps: int = STEPS) -> dict[str, Any]:
    """Train on some images, segment and score others, write ``report.html``.

    Parameters
    ----------
    out
        Folder for everything; what an earlier demo left in it is replaced.
    data
        Annotated images; synthetic glands are made if not given.
    steps
        Training steps.

    Returns
    -------
    dict
        ``report`` (its path), ``n_images``, the pooled figures, ``seconds`` by part.

    Raises
    ------
    InputError
        The data cannot be used or are too few, or `out` holds something that no demo made.
    """
    config = TrainConfig(
        steps=steps, patch_px=PATCH_PX, validation=VALIDATION, validate_every=max(1, steps // 8), seed=SEED
    )
    clock = _Clock()
    if data is not None:
        dataset = open_dataset(data)
        roles = choose_roles(dataset)
    _clear(out)
    if data is None:
        log.info("drawing %d synthetic images", N_TRAIN + N_TEST)
        write_synthetic_dataset(out / "data", N_TRAIN, N_TEST, SEED)
        dataset = open_dataset(out / "data")
        roles = choose_roles(dataset)
    clock.lap("data")
    train(config, DataChoice(dataset.root), out / "run", split=_names(roles, config))
    clock.lap("training")
    samples = [load_sample(dataset, sample) for sample in roles.test]
    results = _predict(out, dataset, roles.test, samples)
    clock.lap("prediction")
    pooled = pool([result.scores for result in results])
    result = DemoResult(
        synthetic=data is None,
        source=str(dataset.root),
        n_train=len(roles.train),
        roles=roles.reason,
        steps=steps,
        class_names=dataset.class_names,
        examples=tuple(_example(dataset, sample) for sample in roles.train[:6]),
        images=tuple(results),
        pooled=pooled,
        metrics=tuple(read_metrics(out / "run")),
        seconds=clock.seconds,
    )
    report = out / "report.html"
    write_demo_report(report, result)
    clock.lap("report")
    document = {
        "report": str(report),
        "run": str(out / "run"),
        "data": str(dataset.root),
        "n_train": len(roles.train),
        "n_test": len(roles.test),
        **{name: _finite(value) for name, value in pooled.as_dict().items()},
        "seconds": {name: round(value, 1) for name, value in clock.seconds.items()},
    }
    write_json(out / MARKER, document)
    return document


def choose_roles(dataset: Dataset) -> Roles:
    """Test images are the first other subset beside ``train`` that has masks; else a part is held out.

    Raises
    ------
    InputError
        Fewer than two annotated images, or all from one group (patient).
    """
    labelled = dataset.labelled
    train_set = tuple(sample for sample in labelled if sample.subset == "train")
    others = sorted({sample.subset for sample in labelled} - {"train"})
    if train_set and others:
        test = tuple(sample for sample in labelled if sample.subset == others[0])
        return Roles(train_set, test, f"the data's own subsets train and {others[0]}")
    train_set, test = (
        tuple(labelled[position] for position in side) for side in split_validation(labelled, HELD_OUT, seed=SEED)
    )
    if not train_set or not test:
        raise InputError(
            dataset.root,
            f"has {len(labelled)} annotated image{'' if len(labelled) == 1 else 's'}; a demo needs two at least,"
            " of different groups, one to train on and one to score",
        )
    kind = "whole groups (patients)" if dataset.grouped else "images"
    return Roles(train_set, test, f"{kind} held out at random; the data names no test images")


def _example(dataset: Dataset, sample: Sample) -> tuple[str, Image, LabelMap]:
    loaded = load_sample(dataset, sample)
    return loaded.name, loaded.image, loaded.labels


def _names(roles: Roles, config: TrainConfig) -> tuple[list[str], list[str]]:
    """Training and validation names: validation comes out of the training images, so that scores are of new ones."""
    train_set, aside = split_validation(roles.train, config.validation, seed=config.seed)
    if not train_set or not aside:
        return [sample.name for sample in roles.train], []
    return [roles.train[i].name for i in train_set], [roles.train[i].name for i in aside]


def _predict(
    out: Path, dataset: Dataset, samples: Sequence[Sample], loaded: Sequence[LoadedSample]
) -> list[ImageResult]:
    """Segment the test images with the trained network, as ``frugalseg predict`` does, and score each."""
    files = []
    for sample, content in zip(samples, loaded, strict=True):
        path = sample.image
        if sample.channels:  # one file a channel: predict reads single files
            path = out / "inputs" / f"{sample.name}.png"
            write_image(path, content.image)
        files.append(path)
    folder = out / "predictions"
    predict_files(load_model([out / "run"]), files, Outputs(folder), pixel_size_um=dataset.pixel_size_um)
    results = []
    for path, content in zip(files, loaded, strict=True):
        found = read_label_map(folder / f"{image_stem(path)}.png")
        results.append(
            ImageResult(content.name, content.image, content.labels, found, score_image(found, content.labels))
        )
    return results


def _clear(out: Path) -> None:
    """Remove what an earlier demo made; anything else in the folder is a reason to stop."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file, not a folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise InputError(out, "is not empty and holds no earlier demo; choose another folder with --out")
        for name in _PARTS:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
        (out / "report.html").unlink(missing_ok=True)
    # Written first, so that a demo that was interrupted can be repeated.
    write_json(out / MARKER, {"finished": False})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Clock:
    """Seconds spent on each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now
