"""What bringing images to the training images' stain does for patients and stains that the networks have not seen.

    python tools/stain_study.py run DATA WORK [--averaged]
    python tools/stain_study.py report

The folds and networks are those of tools/record_study.py (run that first, with the same WORK): the row of the shipped
length, whose first two folds are enough. Each held-out image is segmented as it is and as other laboratories might have
it: with other shares of haematoxylin and eosin (colour deconvolution after Ruifrok and Johnston), through a scanner
that sees less red and green, with a dimmer lamp, and with another gamma; without and with the matching of stain. With
--averaged the images as they are are also averaged over turns and scales. A rejector of false objects is fitted to what
is found in the matched images; the other fold's is tried, that of both goes into docs/results/record/rejector.json.
`run` writes docs/results/stain.json, keeping what is there; `report` writes the table of docs/results/glands.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from record_rows import SHIPPED
from record_study import PAGE, RESULTS, Study, all_but, figures_of, names_by_grade, score_maps
from skimage.color import hed2rgb, rgb2hed

from frugalseg.arrays import Image, LabelMap, ProbabilityMap
from frugalseg.atomic import write_json, write_text
from frugalseg.engines.torch import TorchEngine
from frugalseg.model_files import read_card
from frugalseg.rejector import Candidates, fit_rejector
from frugalseg.segmentation import mean_map
from frugalseg.train.folds import REJECTOR, FittedRejector, candidates_of
from frugalseg.train.plan import load_samples, training_stain
from frugalseg.train.weights import load_net

FOLDS = (0, 1)
RESULT = PAGE.parent / "stain.json"
BEGIN, END = "<!-- made by tools/stain_study.py: begins -->", "<!-- made by tools/stain_study.py: ends -->"
AS_IT_IS, AVERAGED, JUDGED = "as it is", "as it is, averaged", "as it is, with the rejector"
OWN, MATCHED = "own stain", "brought to the training images'"


def dyes(haematoxylin: float, eosin: float) -> Callable[[Image], Image]:
    """An image with other shares of its dyes."""

    def change(image: Image) -> Image:
        shares = rgb2hed(image)
        shares[..., :2] *= (haematoxylin, eosin)
        return np.rint(255 * np.clip(hed2rgb(shares), 0, 1)).astype(np.uint8)

    return change


def seen(red: float, green: float, blue: float) -> Callable[[Image], Image]:
    """An image through a scanner that sees so much of each colour."""
    return lambda image: np.rint(image * np.array([red, green, blue])).astype(np.uint8)


def darker(power: float) -> Callable[[Image], Image]:
    """An image with another gamma."""
    return lambda image: np.rint(255 * (image / 255) ** power).astype(np.uint8)


LABORATORIES: Mapping[str, Callable[[Image], Image]] = {
    AS_IT_IS: lambda image: image,
    "haematoxylin x .6, eosin x 1.5": dyes(0.6, 1.5),
    "haematoxylin x 1.4, eosin x .6": dyes(1.4, 0.6),
    "red x .85, green x .95": seen(0.85, 0.95, 1.0),
    "all x .85": seen(0.85, 0.85, 0.85),
    "gamma 1.6": darker(1.6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("data", type=Path)
    command.add_argument("work", type=Path)
    command.add_argument("--averaged", action="store_true")
    commands.add_parser("report")
    args = parser.parse_args()
    if args.command == "run":
        run(args.data.resolve(), args.work.resolve(), args.averaged)
    else:
        report()


def run(data: Path, work: Path, averaged: bool) -> None:
    """Score every image, stain by stain."""
    study = Study(data, work, 600, FOLDS)
    found: dict[str, dict[str, dict[str, list[float]]]] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    todo = [*LABORATORIES, *([AVERAGED] if averaged else [])]
    for name in todo:
        for what in (OWN, MATCHED):
            sums = found.setdefault(name, {})
            if what not in sums:
                sums[what] = _scores(study, LABORATORIES.get(name, LABORATORIES[AS_IT_IS]), what, name == AVERAGED)
                write_json(RESULT, found)
                print(f"{name}, {what}: {figures_of(list(sums[what].values()))}", flush=True)
    for what in (OWN, MATCHED):
        if what not in found.setdefault(JUDGED, {}):
            found[JUDGED][what] = _judged(study, what)
            write_json(RESULT, found)
            print(f"{JUDGED}, {what}: {figures_of(list(found[JUDGED][what].values()))}", flush=True)


def _judged(study: Study, what: str) -> dict[str, list[float]]:
    """Scores with the rejector that the other fold taught; that of both folds is written for matched images."""
    found = {fold: list(_seen(study, fold, LABORATORIES[AS_IT_IS], what, False)) for fold in FOLDS}
    rules = {fold: study.rules(read_card(study.folder(SHIPPED, fold))) for fold in FOLDS}
    parts = [Candidates.joined([candidates_of(m, t, rules[fold]) for _, m, t in found[fold]]) for fold in FOLDS]
    result = {}
    for place, fold in enumerate(FOLDS):
        settings = dataclasses.replace(rules[fold], rejector=fit_rejector(all_but(parts, place)))
        result |= {name: score_maps(maps, truth, settings) for name, maps, truth in found[fold]}
    if what == MATCHED:
        card = read_card(study.folder(SHIPPED, FOLDS[0]))
        card = dataclasses.replace(card, class_names=("gland",), instances=rules[FOLDS[0]])
        FittedRejector.of(RESULTS / REJECTOR, fit_rejector(Candidates.joined(parts)), card).write()
    return result


def _scores(study: Study, change: Callable[[Image], Image], what: str, averaged: bool) -> dict[str, list[float]]:
    return {
        name: score_maps(maps, truth, study.rules(read_card(study.folder(SHIPPED, fold))))
        for fold in FOLDS
        for name, maps, truth in _seen(study, fold, change, what, averaged)
    }


def _seen(
    study: Study, fold: int, change: Callable[[Image], Image], what: str, averaged: bool
) -> Iterator[tuple[str, ProbabilityMap, LabelMap]]:
    """Maps and truth of each held-out image."""
    net, card = load_net(study.folder(SHIPPED, fold))
    stain = training_stain(load_samples(study.dataset, study.folds[fold][0]), card.scale) if what == MATCHED else None
    engine = TorchEngine(net)
    for sample in load_samples(study.dataset, study.folds[fold][1]):
        yield sample.name, mean_map([engine], change(sample.image), card.scale, averaged, stain), sample.labels


def report() -> None:
    """The table."""
    found: dict[str, dict[str, dict[str, list[float]]]] = json.loads(RESULT.read_text(encoding="utf-8"))
    malignant = {*names_by_grade()["malignant"]}

    def shown(sums: dict[str, list[float]]) -> str:
        sides: list[Any] = [[*sums.values()], [each for name, each in sums.items() if name in malignant]]
        return " | ".join(map(figures_of, sides))

    lines = [
        f"| image | {OWN}: F1 / Dice / Hausdorff | malignant | {MATCHED} | malignant |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {name} | {shown(found[name][OWN])} | {shown(found[name][MATCHED])} |" for name in found),
    ]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
