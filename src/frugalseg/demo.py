"""The whole job at once: suggestion, annotation, few-bit training, prediction, scores, and a report of it all."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json
from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.errors import InputError
from frugalseg.executors import Executor, open_executor
from frugalseg.images import (
    Dataset,
    LoadedSample,
    Sample,
    image_stem,
    load_image,
    load_sample,
    open_dataset,
    read_label_map,
    split_validation,
    write_image,
)
from frugalseg.inspection import inspect_model
from frugalseg.metrics import pool, score_image
from frugalseg.predict import Outputs, load_model, predict_files
from frugalseg.project import Project
from frugalseg.project.round_files import round_folder
from frugalseg.report.demo import DemoResult, DemoRound, ImageResult, write_demo_report
from frugalseg.rounds.report import write_suggestions
from frugalseg.rounds.suggesting import Request, suggest_round
from frugalseg.rounds.training import ENSEMBLE, train_round
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train import TrainConfig

log = logging.getLogger(__name__)

SEED = 1
N_TRAIN, N_TEST = 24, 10
STEPS = 160
PATCH_PX = 192
MEMBERS, BITS = 3, 5
N_ROUNDS = 2
"""Three to four minutes of two idle cores that have bf16, all in all."""
LARGEST_ASK = 6
"""Images that are asked for in a round; fewer where there are few."""
HELD_OUT = 0.2
"""Share of the user's images that are kept for scoring where the data names no test images."""

MARKER = "demo.json"
_PARTS = ("data", "run", "project", "predictions", "inputs")


@dataclass(frozen=True)
class Roles:
    """Which annotated images may be asked for, which are scored at the end, and how that was decided."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    reason: str


def run_demo(out: Path, *, data: Path | None = None, steps: int = STEPS, executor: str = "processes") -> dict[str, Any]:
    """Suggest, annotate and train for two rounds, segment and score other images, write ``report.html``.

    The images' annotations are known, so they stand in for the annotator: each is shown when it has been asked for.

    Parameters
    ----------
    out
        Folder for everything; what an earlier demo left in it is replaced.
    data
        Annotated images; synthetic glands are made if not given.
    steps
        Training steps of the first round; the second goes on from there with half of them.
    executor
        What trains the networks; a key of :data:`frugalseg.executors.EXECUTORS`.

    Returns
    -------
    dict
        ``report`` (its path), numbers of images, the pooled figures, ``rounds``, ``seconds`` by part.

    Raises
    ------
    InputError
        The data cannot be used or are too few, or `out` holds something that no demo made.
    """
    clock = _Clock()
    if data is not None:
        if data.resolve().is_relative_to(out.resolve()):
            raise InputError(data, f"lies inside {out}, which the demo clears; choose another folder with --out")
        dataset = open_dataset(data)
        roles = choose_roles(dataset)
    _clear(out)
    if data is None:
        log.info("drawing %d synthetic images", N_TRAIN + N_TEST)
        write_synthetic_dataset(out / "data", N_TRAIN, N_TEST, SEED)
        dataset = open_dataset(out / "data")
        roles = choose_roles(dataset)
    project = _make_project(out, dataset, roles.train)
    clock.lap("data")
    config = TrainConfig(steps=steps, patch_px=PATCH_PX, validate_every=max(1, steps // 4), seed=SEED)
    with open_executor(executor) as workers:
        rounds = [_play_round(out, project, dataset, roles, config, workers, clock)]
        while len(rounds) < N_ROUNDS and project.pool():  # of three images nothing is left to ask for
            rounds.append(_play_round(out, project, dataset, roles, config, workers, clock))
    samples = [load_sample(dataset, sample) for sample in roles.test]
    model = round_folder(project.folder, len(rounds) - 1) / ENSEMBLE
    results = _predict(out, model, dataset, roles.test, samples)
    clock.lap("prediction")
    pooled = pool([result.scores for result in results])
    report = out / "report.html"
    result = DemoResult(
        synthetic=data is None,
        source=str(dataset.root),
        n_pool=len(roles.train),
        roles=roles.reason,
        steps=steps,
        class_names=dataset.class_names,
        rounds=tuple(rounds),
        images=tuple(results),
        pooled=pooled,
        model_bytes=model.stat().st_size,
        float_bytes=inspect_model(model)["totals"]["float32_bytes"],
        bits=BITS,
        members=MEMBERS,
        seconds=clock.seconds,
    )
    write_demo_report(report, result)
    clock.lap("report")
    document = {
        "report": str(report),
        "project": str(project.folder),
        "model": str(model),
        "data": str(dataset.root),
        "n_pool": len(roles.train),
        "n_annotated": rounds[-1].n_annotated,
        "n_validation": len(project.validation()),
        "n_test": len(roles.test),
        "rounds": [{"images": each.n_annotated, "validation_object_dice": each.dice} for each in rounds],
        **{name: _finite(value) for name, value in pooled.as_dict().items()},
        "seconds": {name: round(value, 1) for name, value in clock.seconds.items()},
    }
    write_json(out / MARKER, document)
    return document


def _make_project(out: Path, dataset: Dataset, samples: Sequence[Sample]) -> Project:
    """A project of the images, without their annotations."""
    project = Project.create(out / "project", dataset.class_names)
    sources: list[Sample | Path] = []
    for sample in samples:
        if sample.channels:  # one file a channel: a project keeps single files
            path = out / "inputs" / f"{sample.name}.png"
            write_image(path, load_image(sample))
            sources.append(dataclasses.replace(sample, image=path, channels=(), mask=None))
        else:
            sources.append(sample)
    project.add_images(sources, root=("data", dataset.root))
    return project


def _play_round(
    out: Path,
    project: Project,
    dataset: Dataset,
    roles: Roles,
    config: TrainConfig,
    workers: Executor,
    clock: _Clock,
) -> DemoRound:
    """Suggest, annotate what was asked for, train."""
    known = {image.name for image in project.images()}
    k = max(1, min(LARGEST_ASK, len(known) // 4))
    answer = suggest_round(project, Request(k=k, seed=SEED))
    page = out / f"suggestion-{answer.ask}.html"
    write_suggestions(page, project, answer)
    clock.lap(f"suggestion {answer.ask}")
    by_name = {sample.name: sample for sample in roles.train}
    for name in [*(pick.name for pick in answer.suggestions), *answer.set_aside]:
        shown = load_sample(dataset, by_name[name])
        project.annotate(name, shown.labels, True, "demo", object_classes=shown.object_classes)
    ensemble = EnsembleConfig(members=MEMBERS, bits=BITS, quantize_steps=max(4, config.steps // 5), shared_trunk=True)
    done = train_round(project, config, ensemble, workers, warm_steps=max(1, config.steps // 2))
    clock.lap(f"training {answer.ask}")
    chosen = [load_sample(dataset, by_name[pick.name]) for pick in answer.suggestions]
    return DemoRound(
        n_annotated=len(done.labelled),
        n_objects=project.cost().objects,
        strategy=answer.strategy,
        page=page.name,
        dice=done.metrics.get("object_dice"),
        interval=done.metrics.get("object_dice_interval"),
        n_validation=done.metrics["n_images"],
        picks=tuple((each.name, each.image, each.labels) for each in chosen),
    )


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


def _predict(
    out: Path, model: Path, dataset: Dataset, samples: Sequence[Sample], loaded: Sequence[LoadedSample]
) -> list[ImageResult]:
    """Segment the test images with the packed ensemble, as ``frugalseg predict`` does, and score each."""
    files = []
    for sample, content in zip(samples, loaded, strict=True):
        path = sample.image
        if sample.channels:  # one file a channel: predict reads single files
            path = out / "inputs" / f"{sample.name}.png"
            write_image(path, content.image)
        files.append(path)
    folder = out / "predictions"
    predict_files(load_model([model]), files, Outputs(folder), pixel_size_um=dataset.pixel_size_um)
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
        for page in (out / "report.html", *out.glob("suggestion-*.html")):
            page.unlink(missing_ok=True)
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
