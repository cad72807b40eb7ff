"""Cross-validation: one run for each fold, figures on images that no run has seen, and a rejector of false objects."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from frugalseg.model_files import ModelCard, read_card
from frugalseg.rejector import KEEP_ALL, Candidates, Rejector, TooFewObjectsError, fit_rejector, object_features
from frugalseg.segmentation import segment, to_full_size
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CONFIG, holds_files
from frugalseg.train.plan import DataChoice, choose_place, load_samples, log_notes, open_training_data
from frugalseg.train.run import train
from frugalseg.train.weights import load_net

log = logging.getLogger(__name__)

FOLDS = "folds.json"
REJECTOR = "rejector.json"
REJECTOR_FORMAT = 1
SCALE_TOLERANCE = 0.25
"""How far the scales of a rejector's networks and of a model may lie apart."""


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


@dataclass(frozen=True)
class FittedRejector:
    """A rejector, and the kind of network to whose objects it was fitted.

    Attributes
    ----------
    path
        The file it lies in.
    scale
        Factor from image pixels to the network's.
    rules
        How objects were cut apart; empty for rejectors of older versions.
    """

    path: Path
    rejector: Rejector
    net: str
    class_names: tuple[str, ...]
    scale: float
    rules: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, rejector: Rejector, card: ModelCard) -> FittedRejector:
        """One fitted to objects of networks with this card."""
        return cls(path, rejector, card.net, card.class_names, card.scale, _rules(card.instances))

    @classmethod
    def read(cls, path: Path) -> FittedRejector:
        """That of a cross-validation's folder, or a file of that kind.

        Raises
        ------
        InputError
            There is none, or it cannot be read.
        """
        file = path / REJECTOR if path.is_dir() else path
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            if type(value["format"]) is not int or value["format"] != REJECTOR_FORMAT:
                raise InputError(file, f"has another format than {REJECTOR_FORMAT}, the one this version reads")
            names = tuple(map(str, value["class_names"]))
            rules = {str(name): float(number) for name, number in value.get("rules", {}).items()}
            return cls(file, Rejector.from_document(value), str(value["net"]), names, float(value["scale"]), rules)
        except FileNotFoundError:
            reason = "no such file; 'frugalseg train --folds' makes one where it finds enough objects"
            raise InputError(file, reason) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(file, f"not a readable rejector ({type(error).__name__}: {error})") from None

    def write(self) -> None:
        """Write the file."""
        kind = {
            "net": self.net,
            "class_names": list(self.class_names),
            "scale": self.scale,
            "rules": dict(self.rules),
        }
        write_json(self.path, {"format": REJECTOR_FORMAT, **kind, **self.rejector.to_document()})

    def check(self, card: ModelCard) -> None:
        """Refuse a model whose objects are of another kind: another network, other classes, another scale, other rules.

        Raises
        ------
        InputError
            Names the difference.
        """
        if (self.net, self.class_names) != (card.net, card.class_names):
            kinds = f"a {self.net} of {self.class_names}, not of a {card.net} of {card.class_names}"
            raise InputError(self.path, f"was fitted to objects of {kinds}")
        if not math.isclose(self.scale, card.scale, rel_tol=SCALE_TOLERANCE):
            raise InputError(
                self.path, f"was fitted at the scale {self.scale:.3g}, the model works at {card.scale:.3g}"
            )
        now = _rules(card.instances)
        if other := [name for name, value in self.rules.items() if now.get(name) != value]:
            told = ", ".join(f"{name} {self.rules[name]:g} and not {now.get(name, math.nan):g}" for name in other)
            raise InputError(self.path, f"was fitted to objects cut apart by other rules: {told}")


RULES = ("threshold", "border_weight", "core_threshold", "fragment_edge", "opening_radius")
"""Settings of objects that do not go with their size."""


def _rules(settings: InstanceSettings) -> dict[str, float]:
    return {name: float(getattr(settings, name)) for name in RULES}


def train_folds(
    config: TrainConfig,
    choice: DataChoice,
    out: Path,
    n_folds: int,
    *,
    resume: bool = False,
    wait: bool = True,
    start: Path | None = None,
    on_report: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Train a network on all folds but one, for each fold, and score them all on what they left out.

    Images of one group stay in one fold; without groups the split is by image, which a warning says. With `resume`,
    finished folds are kept. With `start`, networks begin from that model's weights, as in
    :func:`frugalseg.train.run.train`; where it has seen these images, figures are too good.

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
    log_notes(dataset, divided=True)
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
        train(config, choice, folder, split=names, resume=going_on, wait=wait, start=start, on_report=on_report)
        held_out_by_fold.append([samples[i] for i in left_out])
        found.append(_score_fold(folder, config, held_out_by_fold[-1], dataset))
    document: dict[str, Any] = {
        "n_folds": n_folds,
        **_figures(samples, [{name: each.scores for name, each in fold.items()} for fold in found]),
        "with_rejector": None,
    }
    (out / REJECTOR).unlink(missing_ok=True)
    candidates = [Candidates.joined([each.candidates for each in fold.values()]) for fold in found]
    others = [Candidates.joined([*candidates[:index], *candidates[index + 1 :]]) for index in range(n_folds)]
    try:
        card = read_card(fold_paths[0])
        rejector = fit_rejector(Candidates.joined(candidates))
        FittedRejector.of(out / REJECTOR, rejector, card).write()
        judged = [
            {name: each.scores for name, each in _score_fold(folder, config, fold, dataset, judge).items()}
            for folder, fold, judge in zip(fold_paths, held_out_by_fold, map(fit_rejector, others), strict=True)
        ]
        document["with_rejector"] = _figures(samples, judged)
    except TooFewObjectsError as error:
        what = "says nothing of its figures" if (out / REJECTOR).exists() else "leaves no rejector of false objects"
        log.info("the cross-validation %s: %s", what, error)
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
    settings = card.instances if rejector is None else dataclasses.replace(card.instances, rejector=rejector)
    result = {}
    for sample in load_samples(dataset, samples):
        found = segment([engine], sample.image, scale=card.scale, settings=settings, stain=card.stain)
        scores = score_image(found.labels, sample.labels)
        candidates = candidates_of(found.probabilities, sample.labels, card.instances)
        result[sample.name] = _Found(scores, candidates)
    return result


def candidates_of(probabilities: ProbabilityMap, truth: LabelMap, settings: InstanceSettings) -> Candidates:
    """The objects of a held-out image that a rejector would judge, by the image's probability map and its true objects.

    Those of which less than half is annotated are left out; so are true objects that only they cover.
    """
    labels = separate(probabilities, dataclasses.replace(settings, rejector=KEEP_ALL))
    full = to_full_size(labels, probabilities, truth.shape[0], truth.shape[1], settings)
    n = int(labels.max(initial=0))
    are_true, known, n_true = true_objects(full, truth)
    known = np.pad(known, (0, n - len(known)))  # objects that were lost at full size are not judged
    are_true = np.pad(are_true, (0, n - len(are_true)))
    n_true -= int(np.count_nonzero(are_true & ~known))
    return Candidates(object_features(labels, probabilities)[known], are_true[known], n_true)
