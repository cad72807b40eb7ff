"""Cross-validation: one run for each fold, figures on images that no run has seen, and a rejector of false objects."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import LabelMap, ProbabilityMap
from frugalseg.atomic import write_json
from frugalseg.engines.torch import TorchEngine
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import Dataset, Sample, split_folds
from frugalseg.instances import InstanceSettings, separate
from frugalseg.metrics import ImageScores, pool, score_image, true_objects
from frugalseg.rejector import Candidates, Rejector, fit_rejector, object_features
from frugalseg.segmentation import segment, to_full_size
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CONFIG, holds_files
from frugalseg.train.plan import DataChoice, choose_place, load_samples, open_training_data
from frugalseg.train.run import load_net, train

log = logging.getLogger(__name__)

FOLDS = "folds.json"
REJECTOR = "rejector.json"
REJECTOR_FORMAT = 1


def fold_folders(folder: Path) -> list[Path]:
    """Run folders of a cross-validation, in order; none if `folder` is not one."""
    path = folder / FOLDS
    if not path.exists():
        return []
    try:
        n_folds = json.loads(path.read_text(encoding="utf-8"))["n_folds"]
        folders = [folder / f"fold-{index}" for index in range(n_folds)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"not a readable result of a cross-validation ({error})") from None
    missing = [each.name for each in folders if not each.is_dir()]
    if missing or not folders:
        raise InputError(path, f"speaks of folds that are not there ({missing[0] if missing else 'none at all'})")
    return folders


def read_rejector(path: Path) -> Rejector:
    """The rejector that a cross-validation left in its folder, or a file of that kind.

    Raises
    ------
    InputError
        There is none, or it cannot be read.
    """
    file = path / REJECTOR if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] != REJECTOR_FORMAT:
            raise InputError(file, f"has another format than {REJECTOR_FORMAT}, the one this version reads")
        return Rejector.from_document(document)
    except FileNotFoundError:
        raise InputError(file, "no such file; 'frugalseg train --folds' makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(file, f"not a readable rejector ({error})") from None


def train_folds(
    config: TrainConfig,
    choice: DataChoice,
    out: Path,
    n_folds: int,
    *,
    resume: bool = False,
    wait: bool = True,
    on_report: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Train a network on all folds but one, for each fold, and score them all on what they left out.

    Images of one group stay in one fold; without groups the split is by image, which a warning says. With `resume`,
    finished folds are kept.

    Objects of the held-out images teach a rejector, which is written to ``rejector.json`` where they are enough.

    Returns
    -------
    The content of ``folds.json``: pooled figures, figures by category of tissue where it is known, and by fold; under
    ``with_rejector`` the same, with each fold's objects judged by a rejector that the other folds have taught.
    """
    if n_folds < 2:
        raise ConfigError("folds", f"must be at least 2, not {n_folds}")
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file, not a folder for a cross-validation")
    if holds_files(out) and not (resume and (out / "fold-0" / CONFIG).exists()):
        raise InputError(out, "is not empty; choose another folder, or --resume a cross-validation")
    dataset = open_training_data(choice, config)
    for note in dataset.notes:
        log.warning("%s", note)
    samples = dataset.labelled
    fold_paths = [out / f"fold-{index}" for index in range(n_folds)]
    splits = split_folds(samples, n_folds, seed=config.seed, groups=True)
    held_out_by_fold = []
    found: list[dict[str, _Found]] = []
    for index, (train_indices, left_out) in enumerate(splits):
        names = ([samples[i].name for i in train_indices], [samples[i].name for i in left_out])
        folder = fold_paths[index]
        log.info("fold %d of %d: %d images to train on, %d held out", index + 1, n_folds, *map(len, names))
        going_on = resume and (folder / CONFIG).exists()
        train(config, choice, folder, split=names, resume=going_on, wait=wait, on_report=on_report)
        held_out_by_fold.append([samples[i] for i in left_out])
        found.append(_score_fold(folder, config, held_out_by_fold[-1], dataset))
    document: dict[str, Any] = {
        "n_folds": n_folds,
        **_figures(samples, [{name: each.scores for name, each in fold.items()} for fold in found]),
        "with_rejector": None,
    }
    (out / REJECTOR).unlink(missing_ok=True)
    try:
        candidates = [Candidates.joined([each.candidates for each in fold.values()]) for fold in found]
        others = [Candidates.joined([*candidates[:index], *candidates[index + 1 :]]) for index in range(n_folds)]
        rejectors = [fit_rejector(each) for each in others]
        rejector = fit_rejector(Candidates.joined(candidates))
    except ValueError as error:
        log.info("no rejector of false objects: the held-out images have %s", error)
    else:
        judged = [
            {name: each.scores for name, each in _score_fold(folder, config, fold, dataset, judge).items()}
            for folder, fold, judge in zip(fold_paths, held_out_by_fold, rejectors, strict=True)
        ]
        document["with_rejector"] = _figures(samples, judged)
        write_json(out / REJECTOR, {"format": REJECTOR_FORMAT, **rejector.to_document()})
    write_json(out / FOLDS, document)
    return document


def _figures(samples: Sequence[Sample], folds: Sequence[dict[str, ImageScores]]) -> dict[str, Any]:
    """Figures of all images pooled, of each category of tissue, and of each fold."""
    scores = {name: score for fold in folds for name, score in fold.items()}
    categories = sorted({sample.category for sample in samples if sample.category})
    return {
        "pooled": pool(list(scores.values())).as_dict(),
        "by_category": {
            category: pool([scores[sample.name] for sample in samples if sample.category == category]).as_dict()
            for category in categories
        },
        "by_fold": [pool(list(fold.values())).as_dict() for fold in folds],
    }


@dataclass(frozen=True, eq=False)
class _Found:
    """What a network found in an image it has not seen."""

    scores: ImageScores
    candidates: Candidates


def _score_fold(
    folder: Path, config: TrainConfig, samples: Sequence[Sample], dataset: Dataset, rejector: Rejector | None = None
) -> dict[str, _Found]:
    """Scores of a fold's network on the images it has not seen, by name, and the objects that teach a rejector."""
    net, card = load_net(folder)
    place = choose_place(config)
    engine = TorchEngine(net.to(place.device), bf16=place.bf16)
    all_kept = card.instances.candidates()
    settings = card.instances if rejector is None else card.instances.with_rejector(rejector)
    result = {}
    for sample in load_samples(dataset, samples):
        found = segment([engine], sample.image, scale=card.scale, settings=settings)
        scores = score_image(found.labels, sample.labels)
        result[sample.name] = _Found(scores, candidates_of(found.probabilities, sample.labels, all_kept))
    return result


def candidates_of(probabilities: ProbabilityMap, truth: LabelMap, settings: InstanceSettings) -> Candidates:
    """The objects of a held-out image, debris included as far as a rejector shall judge it."""
    labels = separate(probabilities, settings)
    full = to_full_size(labels, probabilities, truth.shape[0], truth.shape[1], settings)
    n = int(labels.max(initial=0))
    are_true, known, n_true = true_objects(full, truth)
    known = np.pad(known, (0, n - len(known)))  # objects that were lost at full size are not judged
    are_true = np.pad(are_true, (0, n - len(are_true)))
    return Candidates(object_features(labels, probabilities)[known], are_true[known], n_true)
