"""Score a folder of predicted label maps against a folder of true ones."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError, Problem
from frugalseg.images.labels import read_label_map
from frugalseg.images.names import image_stem, is_image_name, is_mask_name, masked_stem, subfolder_hint, tabled_name
from frugalseg.images.objects import doubt_of, is_binary, split_components
from frugalseg.images.tables import label_number, read_columns
from frugalseg.metrics import ImageScores, image_means, pool, score_image

_log = logging.getLogger(__name__)

_PRED_TABLE, _TRUTH_TABLE = "objects.csv", "classes.csv"
_CLASS_COLUMNS = ("image", "label", "class")
_MASK_FOLDERS = ("masks", "labels", "labelsTr")
_NO_LABELS = frozenset({".jpg", ".jpeg", ".jpe"})  # JPEG changes values: such a file is a picture, not a label map

Classes = dict[str, dict[int, str]]
"""Class of each label of each image (by stem)."""


@dataclass(frozen=True)
class FolderScores:
    """Statistics of every image, overall and by class: what figures and resampling start from."""

    images: dict[str, ImageScores]
    """By stem, sorted."""
    by_class: dict[str, dict[str, ImageScores]]
    """The same for each class, both sides restricted to its objects; empty where the folders name no classes."""
    extra_predictions: tuple[str, ...]
    """Stems of predictions that have no truth; they are not scored."""


@dataclass(frozen=True)
class _Pair:
    """Files of one image."""

    stem: str
    pred: Path
    truth: Path


def evaluate_folders(
    pred_dir: Path,
    truth_dir: Path,
    *,
    ignore_value: int | None = None,
    connected_components: bool = False,
    match: str | None = None,
    predicted_only: bool = False,
) -> dict[str, Any]:
    """Score the predictions in one folder against the truths in another.

    Parameters
    ----------
    pred_dir, truth_dir, ignore_value, connected_components, match, predicted_only
        As for :func:`score_folders`.

    Returns
    -------
    dict
        Ready for JSON. On top the pooled figures and counts of :class:`frugalseg.metrics.Scores`; `mean` has the means
        over images of the per-image figures; `per_image` has the figures and counts of each image by its stem;
        `classes`, where the folders name classes, the pooled figures and `mean` of each; `n_extra_predictions`.

    Raises
    ------
    InputError
        As :func:`score_folders`.
    """
    scores = score_folders(
        pred_dir,
        truth_dir,
        ignore_value=ignore_value,
        connected_components=connected_components,
        match=match,
        predicted_only=predicted_only,
    )
    document = _figures(scores.images.values())
    document["per_image"] = {stem: pool([image]).as_dict() for stem, image in scores.images.items()}
    document["n_extra_predictions"] = len(scores.extra_predictions)
    if scores.by_class:
        document["classes"] = {name: _figures(images.values()) for name, images in scores.by_class.items()}
    return document


def score_folders(
    pred_dir: Path,
    truth_dir: Path,
    *,
    ignore_value: int | None = None,
    connected_components: bool = False,
    match: str | None = None,
    predicted_only: bool = False,
) -> FolderScores:
    """Pair the label maps of two folders by stem and score each pair.

    Parameters
    ----------
    pred_dir
        Label maps (PNG, BMP, TIFF), named as the images. Subfolders, tables and hidden files are not looked at.
    truth_dir
        Label maps. If any is named as a mask (``x_anno``, ``x_masks``, …), only those are truths, each that of `x`, and
        the other files are the images.
    ignore_value
        Value in the truth that means "not annotated".
    connected_components
        A map, on either side, that carries one label for all its objects is split into 8-connected components. Without
        it such a map is one object, as the challenge's code sees it, and a warning says so.
    match
        Only truths whose stem fits this shell pattern are scored.
    predicted_only
        Truths without prediction are left out, not refused.

    Raises
    ------
    InputError
        All at once: truths without prediction, several files for one stem, sizes that differ, unreadable files. Also a
        folder that does not exist or holds no label map.
    """
    pred_dir, truth_dir = Path(pred_dir), Path(truth_dir)
    pairs, problems, extra = _paired(pred_dir, truth_dir, match, predicted_only)
    classes = _class_tables(pred_dir, truth_dir, pairs, problems)
    images: dict[str, ImageScores] = {}
    by_class: dict[str, dict[str, ImageScores]] = {}
    for pair in pairs:
        pred = _readable(pair.pred, None, connected_components, problems)
        truth = _readable(pair.truth, ignore_value, connected_components, problems)
        if pred is None or truth is None:
            continue
        if pred.labels.shape != truth.labels.shape:
            sizes = (f"{shape[1]}x{shape[0]}" for shape in (pred.labels.shape, truth.labels.shape))
            problems.append(Problem(str(pair.pred), "is {}, its truth {}".format(*sizes)))
            continue
        problems += _without_class(pair, pred, truth, classes)
        if not problems:  # otherwise only look for more problems: scoring would be for nothing
            images[pair.stem] = score_image(pred.labels, truth.labels)
            for name, scores in _scores_by_class(pair.stem, pred, truth, classes):
                by_class.setdefault(name, {})[pair.stem] = scores
    if problems:
        raise InputError.of(problems)
    if extra:
        _log.warning("%s: %d predictions without truth are not scored, such as %s", pred_dir, len(extra), extra[0])
    return FolderScores(images, by_class, tuple(extra))


def _figures(images: Iterable[ImageScores]) -> dict[str, Any]:
    listed = list(images)
    return {**pool(listed).as_dict(), "mean": image_means(listed)}


# --- which file belongs to which ------------------------------------------------------------------------------------


def _paired(
    pred_dir: Path, truth_dir: Path, match: str | None, predicted_only: bool
) -> tuple[list[_Pair], list[Problem], list[str]]:
    """Pairs by stem, what stands against them, and the stems of predictions without truth."""
    truths = _label_files(truth_dir)
    if any(map(is_mask_name, truths)):
        truths = [path for path in truths if is_mask_name(path)]
    true_files = {
        stem: files for stem, files in sorted(_by_stem(truths).items()) if match is None or fnmatchcase(stem, match)
    }
    if not true_files:
        hint = "" if match is None else f" that match {match!r}"
        advice = "" if match else subfolder_hint(truth_dir, _MASK_FOLDERS)
        raise InputError(truth_dir, f"holds no label maps{hint} (PNG, BMP or TIFF){advice}")
    predictions = _label_files(pred_dir)
    if pred_dir.resolve() == truth_dir.resolve():  # predictions beside their truths: a truth is not its own prediction
        predictions = [path for path in predictions if path.name not in {truth.name for truth in truths}]
        if not predictions:
            raise InputError(pred_dir, "is the folder of truths itself, and holds no other label maps")
    predicted = _by_stem(predictions)
    if predicted_only:
        true_files = _with_prediction(true_files, predicted, pred_dir)
    pairs, problems = [], []
    for stem, files in true_files.items():
        candidates = predicted.get(_named_as_image(stem, predicted), [])
        if not candidates:
            problems.append(Problem(str(files[0]), f"no prediction {stem!r} in {pred_dir}"))
        for several in (files, candidates):
            if len(several) > 1:
                others = ", ".join(path.name for path in several[1:])
                problems.append(Problem(str(several[0]), f"not the only file for {stem!r}: {others}"))
        if len(files) == len(candidates) == 1:
            pairs.append(_Pair(stem, candidates[0], files[0]))
    known = {_named_as_image(stem, predicted) for stem in _by_stem(truths)}
    return pairs, problems, sorted(set(predicted) - known)


def _with_prediction(
    true_files: Mapping[str, list[Path]], predicted: Container[str], pred_dir: Path
) -> dict[str, list[Path]]:
    """Truths of which there is a prediction."""
    kept = {stem: files for stem, files in true_files.items() if _named_as_image(stem, predicted) in predicted}
    if not kept:
        raise InputError(pred_dir, "holds no prediction of any truth")
    if left := len(true_files) - len(kept):
        _log.warning("%s: %d truths without prediction are left out", pred_dir, left)
    return kept


def _named_as_image(stem: str, predicted: Container[str]) -> str:
    """The stem of a prediction, which is its image's: ``x``, else ``x_img`` (Cellpose) or ``x_0000`` (nnU-Net)."""
    return next((each for each in (stem, f"{stem}_img", f"{stem}_0000") if each in predicted), stem)


def _label_files(folder: Path) -> list[Path]:
    """Files directly in the folder that may be label maps, sorted."""
    if not folder.is_dir():
        raise InputError(folder, "is not a folder" if folder.exists() else "no such folder")
    names = (path for path in folder.iterdir() if is_image_name(path) and path.suffix.lower() not in _NO_LABELS)
    return sorted(path for path in names if path.is_file())


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Label maps of each image; a file that is named as a mask of `x` is preferred to one named `x`."""
    masks: dict[str, list[Path]] = {}
    plain: dict[str, list[Path]] = {}
    for path in paths:
        (masks if is_mask_name(path) else plain).setdefault(masked_stem(path), []).append(path)
    return {**plain, **masks}


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ReadMap:
    """A label map and, where it was split into components, the label in the file of each."""

    labels: LabelMap
    origin: dict[int, int] | None = None

    def classes(self, stored: dict[int, str]) -> dict[int, str]:
        """Class of each label, from the classes of the labels in the file."""
        if self.origin is None:
            return stored
        return {new: stored[old] for new, old in self.origin.items() if old in stored}


def _readable(path: Path, ignore_value: int | None, components: bool, problems: list[Problem]) -> _ReadMap | None:
    """The map in a file, or None and a problem more."""
    try:
        labels = read_label_map(path, ignore_value=ignore_value, split_binary=False)
    except InputError as error:
        problems.extend(error.problems)
        return None
    if not is_binary(labels):
        if doubt := doubt_of(labels):
            _log.warning("%s: %s", path, doubt)
        return _ReadMap(labels)
    split, origin = split_components(labels)
    if components:
        return _ReadMap(split, origin)
    if len(origin) > 1:
        _log.warning(
            "%s: one label for all objects, scored as one object; --components makes its %d components objects",
            path,
            len(origin),
        )
    return _ReadMap(labels)


# --- classes --------------------------------------------------------------------------------------------------------


def _class_tables(
    pred_dir: Path, truth_dir: Path, pairs: Sequence[_Pair], problems: list[Problem]
) -> tuple[Classes, Classes] | None:
    """Classes of predicted and true objects by the pairs' stems, or None unless both folders name them."""
    before = len(problems)
    pred = _read_classes(pred_dir / _PRED_TABLE, {image_stem(each.pred): each.stem for each in pairs}, problems)
    truth = _read_classes(truth_dir / _TRUTH_TABLE, {image_stem(each.truth): each.stem for each in pairs}, problems)
    return None if pred is None or truth is None or len(problems) > before else (pred, truth)


def _read_classes(path: Path, stem_of: Mapping[str, str], problems: list[Problem]) -> Classes | None:
    """The columns image, label and class of a table; None if it is not there or has no such columns.

    `stem_of` gives the stem of a pair for the name of this side's label map; a table may have either.
    """
    if not path.is_file():
        return None
    try:
        columns, rows = read_columns(path)
    except InputError as error:
        problems += error.problems
        return None
    if not set(_CLASS_COLUMNS) <= set(columns):
        return None
    classes: Classes = {}
    known = stem_of.keys() | set(stem_of.values())
    for row in rows:
        values = dict(zip(columns, row, strict=False))
        image, label, name = (values.get(column, "") for column in _CLASS_COLUMNS)
        number = label_number(label)
        if number is None:
            problems.append(Problem(str(path), f"label {label!r} of {image} is not a number"))
        elif name:
            stem = tabled_name(image, known)
            classes.setdefault(stem_of.get(stem, stem), {})[number] = name
    return classes


def _without_class(
    pair: _Pair, pred: _ReadMap, truth: _ReadMap, tables: tuple[Classes, Classes] | None
) -> Iterator[Problem]:
    """Objects that the tables do not know: they would count as background, for every class."""
    if tables is None:
        return
    sides = ((pair.pred, pred, tables[0], _PRED_TABLE), (pair.truth, truth, tables[1], _TRUTH_TABLE))
    for path, found, table, name in sides:
        present = {int(label) for label in np.unique(found.labels) if label > 0}
        if missing := sorted(present - set(found.classes(table.get(pair.stem, {})))):
            yield Problem(str(path), f"object {', '.join(map(str, missing[:5]))} has no class in {name}")


def _scores_by_class(
    stem: str, pred: _ReadMap, truth: _ReadMap, tables: tuple[Classes, Classes] | None
) -> Iterator[tuple[str, ImageScores]]:
    """Score one image for every class of the tables, those that it lacks included: their absence counts."""
    if tables is None:
        return
    of_pred, of_truth = pred.classes(tables[0].get(stem, {})), truth.classes(tables[1].get(stem, {}))
    names = {name for table in tables for image in table.values() for name in image.values()}
    for name in sorted(names):
        yield name, score_image(_only(pred.labels, of_pred, name), _only(truth.labels, of_truth, name))


def _only(labels: LabelMap, classes: dict[int, str], name: str) -> LabelMap:
    """The objects of one class; unknown pixels stay unknown."""
    wanted = [label for label, own in classes.items() if own == name]
    return np.where(np.isin(labels, wanted) | (labels == UNKNOWN), labels, np.int32(0))
