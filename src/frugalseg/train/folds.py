"""Cross-validation: one run for each fold, figures on images that no run has seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json
from frugalseg.engines.torch import TorchEngine
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import split_folds
from frugalseg.metrics import ImageScores, pool, score_image
from frugalseg.segmentation import segment
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CONFIG, holds_files
from frugalseg.train.plan import DataChoice, choose_place, load_samples, open_training_data
from frugalseg.train.run import load_net, train

log = logging.getLogger(__name__)

FOLDS = "folds.json"


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

    Returns
    -------
    The content of ``folds.json``: pooled figures, figures by category of tissue where it is known, and by fold.
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
    splits = split_folds(samples, n_folds, seed=config.seed, groups=True)
    scores: dict[str, ImageScores] = {}
    by_fold = []
    for index, (train_indices, held_out) in enumerate(splits):
        names = ([samples[i].name for i in train_indices], [samples[i].name for i in held_out])
        folder = out / f"fold-{index}"
        log.info("fold %d of %d: %d images to train on, %d held out", index + 1, n_folds, *map(len, names))
        going_on = resume and (folder / CONFIG).exists()
        train(config, choice, folder, split=names, resume=going_on, wait=wait, on_report=on_report)
        found = _score_fold(folder, config, [samples[i] for i in held_out], dataset)
        scores |= found
        by_fold.append(pool(list(found.values())).as_dict())
    categories = sorted({sample.category for sample in samples if sample.category})
    document = {
        "n_folds": n_folds,
        "pooled": pool(list(scores.values())).as_dict(),
        "by_category": {
            category: pool([scores[sample.name] for sample in samples if sample.category == category]).as_dict()
            for category in categories
        },
        "by_fold": by_fold,
    }
    write_json(out / FOLDS, document)
    return document


def _score_fold(folder: Path, config: TrainConfig, samples: list[Any], dataset: Any) -> dict[str, ImageScores]:
    """Scores of a fold's network on the images it has not seen, by name."""
    net, card = load_net(folder)
    place = choose_place(config)
    engine = TorchEngine(net.to(place.device), bf16=place.bf16)
    result = {}
    for sample in load_samples(dataset, samples):
        found = segment([engine], sample.image, scale=card.scale, settings=card.instances)
        result[sample.name] = score_image(found.labels, sample.labels)
    return result
