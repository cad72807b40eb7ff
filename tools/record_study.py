"""What each ingredient of the gland models does for patients whom the networks have not seen, by grade.

    python tools/record_study.py run DATA WORK [--rows base,LSQ-4,…] [--averaged base] [--folds 0,1,2] [--steps 600]
    python tools/record_study.py report

Cross-validation on the training images of GlaS alone: three folds, each patient in one. `run` trains, for each row and
fold, a `lite` network with one ingredient changed (or a phase from the network `base` of that fold), keeps its
probability maps of the held-out images in WORK, and writes figures' sums to docs/results/record/*.json: as it is,
without borders and by the first rules of objects for `base`, averaged over turns and scales for the rows named by
--averaged, and with a rejector of false objects that the other folds have taught. Images are seen in their own stain
(tools/stain_study.py has the other). What is there is skipped, what was interrupted goes on. `report` writes the tables
of docs/results/glands.md between its markers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from record_rows import (
    AVERAGED,
    BASE,
    GRADES,
    HALF,
    JUDGED,
    N_FOLDS,
    PHASE,
    PHASES,
    PLAIN,
    ROWS,
    SHIPPED,
    TRAININGS,
    UNAVERAGED,
    VARIANTS,
)

from frugalseg.arrays import ProbabilityMap
from frugalseg.atomic import atomic_path, write_json
from frugalseg.engines.torch import TorchEngine
from frugalseg.images import Dataset, Sample, split_folds
from frugalseg.instances import InstanceSettings
from frugalseg.metrics import pooled, score_image
from frugalseg.model_files import CARD, WEIGHTS, ModelCard, read_card, write_card
from frugalseg.quant import code_entropy
from frugalseg.quant.layers import to_codes
from frugalseg.rejector import Candidates, TooFewObjectsError, fit_rejector
from frugalseg.segmentation import mean_map, objects_of
from frugalseg.train.checkpoint import checkpoints, load_tensors, save_tensors
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CHECKPOINTS, CONFIG, read_config
from frugalseg.train.folds import REJECTOR, candidates_of
from frugalseg.train.lesson import Lesson
from frugalseg.train.plan import DataChoice, cutting_rules, load_samples, open_training_data
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run
from frugalseg.train.run import train
from frugalseg.train.weights import load_net

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "record"
PAGE = RESULTS.parent / "glands.md"
MARKER = "<!-- made by tools/record_study.py: {} -->"
N_DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("data", type=Path)
    run.add_argument("work", type=Path)
    run.add_argument("--rows", default=",".join(ROWS))
    run.add_argument("--averaged", default="")
    run.add_argument("--folds", default="0,1,2", help="only these, for rows that take long")
    run.add_argument("--steps", type=int, default=600)
    commands.add_parser("report")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if args.command == "report":
        report()
        return
    unknown = {*args.rows.split(","), *filter(None, args.averaged.split(","))} - {*ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    study = Study(args.data.resolve(), args.work.resolve(), args.steps, [int(fold) for fold in args.folds.split(",")])
    for row in args.rows.split(","):
        study.run(row, averaged=row in args.averaged.split(","))


class Study:
    """The folds, and where their networks lie."""

    def __init__(self, data: Path, work: Path, steps: int, chosen: Sequence[int] = range(N_FOLDS)) -> None:
        self.chosen = chosen
        self.config = TrainConfig(steps=steps, threads=1)
        self.choice = DataChoice(data)
        self.work = work
        self.dataset: Dataset = open_training_data(self.choice, self.config)
        self.samples = self.dataset.labelled
        splits = split_folds(self.samples, N_FOLDS, seed=0, groups=True)
        write_json(RESULTS / GRADES, {sample.name: sample.category for sample in self.samples})
        self.folds = [tuple([self.samples[i] for i in side] for side in sides) for sides in splits]

    def run(self, row: str, *, averaged: bool) -> None:
        """All folds of a row."""
        modes = (PLAIN, AVERAGED) if averaged else (PLAIN,)
        for fold in self.chosen:
            self._network(row, fold)
        for mode in modes:
            file = RESULTS / f"{row}, {mode}.json".replace(" ", "-").replace(",", "")
            if file.exists():
                continue
            began = time.monotonic()
            for fold in self.chosen:
                self._maps(row, fold, mode)
            document = {
                "row": row,
                "mode": mode,
                "steps": self._config(row).steps,
                "folds": [*self.chosen],
                "scores": self._scores(row, mode),
            }
            document["code_bits"] = self._code_bits(row)
            write_json(file, document)
            print(f"{row}, {mode}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
            for name, sums in document["scores"].items():
                print(f"  {name}: {_figures(np.array(list(sums.values())))}", flush=True)

    def folder(self, row: str, fold: int) -> Path:
        return self.work / row.replace(" ", "-") / f"fold-{fold}"

    def _network(self, row: str, fold: int) -> Path:
        folder = self.folder(row, fold)
        if (folder / CARD).exists():
            steps = read_config(folder)["config"]["steps"]
            if steps != self._config(row).steps:
                raise SystemExit(f"{folder} had {steps} steps")
            return folder
        resume = (folder / CONFIG).exists()
        if row == UNAVERAGED:
            self._unaveraged(fold, folder)
        elif row in TRAININGS:
            config = self._config(row)
            sides = [[sample.name for sample in side] for side in self.folds[fold]]
            if row == HALF:
                sides[0] = [sample.name for sample in self._halves(fold)[0]]
            train(config, self.choice, folder, split=(sides[0], sides[1]), resume=resume)
        else:
            phase = PHASES[row]
            source = self._network(phase.source, fold)
            lesson = Lesson((source,), self._unlabelled(fold) if phase.elsewhere else None) if phase.taught else None
            quantize_run(source, QuantizeConfig(**phase.settings, **PHASE), folder, resume=resume, lesson=lesson)
        return folder

    def _unaveraged(self, fold: int, folder: Path) -> None:
        """The run `base` with the weights of its last step in place of their average."""
        base = self._network(BASE, fold)
        tensors, progress = load_tensors(checkpoints(base / CHECKPOINTS)[-1])
        document = read_config(base)
        document["config"]["ema_decay"] = 0.0
        weights = {name.removeprefix("net."): each for name, each in tensors.items() if name.startswith("net.")}
        write_json(folder / CONFIG, document)
        card = read_card(base)
        save_tensors(folder / WEIGHTS, weights, {"net": card.net, "steps": progress["step"]})
        write_card(folder, card)

    def _halves(self, fold: int) -> tuple[list[Sample], list[Sample]]:
        """The fold's training images with and without annotations, in the row of half of them."""
        images = self.folds[fold][0]
        order = np.random.default_rng(fold).permutation(len(images))
        return [images[i] for i in order[::2]], [images[i] for i in order[1::2]]

    def _unlabelled(self, fold: int) -> Path:
        """A folder with links to the other half of the fold's training images."""
        folder = self.work / "unlabelled" / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        for sample in self._halves(fold)[1]:
            link = folder / sample.image.name
            if not link.exists():
                link.symlink_to(sample.image)
        return folder

    def _config(self, row: str) -> TrainConfig:
        """Settings of a row's float networks."""
        changes = dict(TRAININGS.get(row, {}))
        changes["steps"] = round(changes.get("steps", 1) * self.config.steps)
        changes["validate_every"] = changes["steps"]  # the last network counts; validating takes a third of the time
        return dataclasses.replace(self.config, **changes)

    def _code_bits(self, row: str) -> float | None:
        """Bits that a code holds on the mean, over all folds; None for float weights."""
        tensors = [tensor for fold in self.chosen for tensor in to_codes(load_net(self.folder(row, fold))[0]).values()]
        n_codes = sum(tensor.codes.size for tensor in tensors)
        return sum(code_entropy(tensor.codes) * tensor.codes.size for tensor in tensors) / n_codes if n_codes else None

    def _maps(self, row: str, fold: int, mode: str) -> Path:
        """Probability maps of the fold's held-out images, in half precision."""
        folder = self.folder(row, fold)
        file = folder / f"{mode}.npz".replace(" ", "-")
        if not file.exists():
            net, card = load_net(folder)
            engine = TorchEngine(net)
            maps = {}
            for sample in load_samples(self.dataset, self.folds[fold][1]):
                found = mean_map([engine], sample.image, card.scale, mode == AVERAGED)
                maps[sample.name] = found.astype(np.float16)
            with atomic_path(file) as temporary, temporary.open("wb") as handle:
                np.savez(handle, **maps)
        return file

    def _held_out(self, row: str, fold: int, mode: str) -> Iterator[tuple[str, ProbabilityMap, Any]]:
        with np.load(self._maps(row, fold, mode)) as maps:
            for sample in load_samples(self.dataset, self.folds[fold][1]):
                yield sample.name, maps[sample.name].astype(np.float32), sample.labels

    def rules(self, card: ModelCard) -> InstanceSettings:
        """The present rules of objects, whatever they were when the network was trained."""
        median_area = card.instances.min_area / self.config.debris
        return dataclasses.replace(card.instances, **cutting_rules(self.config, median_area))

    def _scores(self, row: str, mode: str) -> dict[str, dict[str, list[float]]]:
        """Sums of each image: by the present rules and others, with a rejector from the other folds."""
        cards = [read_card(self.folder(row, fold)) for fold in self.chosen]
        candidates = []
        rules = [self.rules(card) for card in cards]
        scores: dict[str, dict[str, list[float]]] = {mode: {}}
        for place, fold in enumerate(self.chosen):
            parts = []
            for name, maps, truth in self._held_out(row, fold, mode):
                scores[mode][name] = score_maps(maps, truth, rules[place])
                parts.append(candidates_of(maps, truth, rules[place]))
                for variant, changes in VARIANTS.items() if row in (BASE, SHIPPED) else ():
                    other = dataclasses.replace(rules[place], **changes)
                    scores.setdefault(_title(mode, variant), {})[name] = score_maps(maps, truth, other)
            candidates.append(Candidates.joined(parts))
        try:
            judges = [fit_rejector(all_but(candidates, place)) for place in range(len(cards))]
        except TooFewObjectsError as error:
            print(f"no rejector for {row}: {error}", flush=True)
            return scores
        judged = scores.setdefault(_title(mode, JUDGED), {})
        for place, fold in enumerate(self.chosen):
            settings = dataclasses.replace(rules[place], rejector=judges[place])
            for name, maps, truth in self._held_out(row, fold, mode):
                judged[name] = score_maps(maps, truth, settings)
        return scores


def _title(mode: str, what: str) -> str:
    return what if mode == PLAIN else f"{mode}, {what}"


def all_but(parts: Sequence[Candidates], left_out: int) -> Candidates:
    return Candidates.joined([each for index, each in enumerate(parts) if index != left_out])


def score_maps(maps: ProbabilityMap, truth: Any, settings: InstanceSettings) -> list[float]:
    found = objects_of(maps, truth.shape[0], truth.shape[1], settings)
    return score_image(found.labels, truth).as_list()


def _figures(sums: np.ndarray) -> tuple[float, float, float]:
    total = sums.sum(axis=0)
    f1, dice, hausdorff = (float(pooled(total, name)) for name in ("object_f1", "object_dice", "object_hausdorff"))
    return f1, dice, hausdorff


def report() -> None:
    """Figures of all held-out images, of benign and malignant ones, and the difference from `base`.

    A second table has networks of the shipped length, which may be of some folds only, and `base` on the same images.
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    steps: dict[str, int] = {}
    bits: dict[str, float | None] = {}
    for document in _documents():
        steps[document["row"]] = document["steps"]
        bits[document["row"]] = document.get("code_bits")
        found |= {(document["row"], mode): sums for mode, sums in document["scores"].items()}
    whats = ("", *VARIANTS, JUDGED)
    modes = [_title(mode, what) if what else mode for mode in (PLAIN, AVERAGED) for what in whats]
    order = [(row, mode) for row in ROWS for mode in modes if (row, mode) in found]
    missing = [row for row in ROWS if (row, PLAIN) not in found]
    others = [each for each in order if each[0] != SHIPPED]
    lines = _table({each: found[each] for each in others}, found.get((BASE, PLAIN)), bits)
    lines += ["", f"Steps of a network before its phase: {steps[BASE]}. Not run: {', '.join(missing) or 'nothing'}."]
    if (SHIPPED, PLAIN) in found:
        same = found[SHIPPED, PLAIN]
        shown = {each: found[each] for each in order if each[0] == SHIPPED}
        shown |= {each: {name: found[each][name] for name in same} for each in others if each[0] == BASE}
        lines += [
            "",
            f"Networks of {steps[SHIPPED]} steps, and base, on the {len(same)} images of the folds that were run:",
            "",
        ]
        lines += _table(shown, same, bits)
    begin, end = MARKER.format("begins"), MARKER.format("ends")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    PAGE.write_text("\n\n".join([before, "\n".join(lines), after]), encoding="utf-8")


def _table(
    found: Mapping[tuple[str, str], Mapping[str, list[float]]],
    reference: Mapping[str, list[float]] | None,
    bits: Mapping[str, float | None],
) -> list[str]:
    """A line for each row and way to make objects; the last column is the difference from `reference`."""
    grades = names_by_grade()
    titles = ("network", "bits in a code", "objects", "all: F1 / Dice / Hausdorff", "benign", "malignant")
    lines = [
        f"| {' | '.join(titles)} | malignant: Dice less the first row's |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (row, mode), sums in found.items():
        cells = [figures_of([sums[name] for name in names if name in sums]) for names in grades.values()]
        names = [name for name in grades["malignant"] if name in sums]
        change = "" if reference is None or sums == reference else _change(sums, reference, names)
        held = bits[row]
        lines.append(f"| {row} | {'' if held is None else f'{held:.2f}'} | {mode} | {' | '.join(cells)} | {change} |")
    return lines


def held_out_figures(rows: Mapping[str, str]) -> dict[str, str]:
    """F1 / Dice / Hausdorff of held-out patients, for those of `rows` (any key: name of a row) that were run."""
    scores = {each["row"]: each["scores"][PLAIN] for each in _documents() if each["mode"] == PLAIN}
    return {key: figures_of(list(scores[row].values())) for key, row in rows.items() if row in scores}


def _documents() -> list[dict[str, Any]]:
    """All results."""
    paths = sorted(set(RESULTS.glob("*.json")) - {RESULTS / GRADES, RESULTS / REJECTOR})
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def names_by_grade() -> dict[str, list[str]]:
    """Names of the images of each grade, as their results keep them."""
    path = RESULTS / GRADES
    grades: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    apart = {kind: [name for name, grade in grades.items() if grade == kind] for kind in ("benign", "malignant")}
    return {"all": list(grades), **apart}


def figures_of(sums: Sequence[Sequence[float]]) -> str:
    f1, dice, hausdorff = _figures(np.array(sums))
    return f"{_short(f1)} / {_short(dice)} / {hausdorff:.1f}"


def _change(sums: Mapping[str, list[float]], base: Mapping[str, list[float]], names: Sequence[str]) -> str:
    """Difference with the 95 % interval of a paired bootstrap over images."""
    sides = [np.array([each[name] for name in names]) for each in (sums, base)]
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=N_DRAWS).astype(float)
    draws = pooled(times @ sides[0], "object_dice") - pooled(times @ sides[1], "object_dice")
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = float(pooled(sides[0].sum(axis=0), "object_dice") - pooled(sides[1].sum(axis=0), "object_dice"))
    return f"{_short(mean, '+')} [{_short(low, '+')}, {_short(high, '+')}]"


def _short(value: float, sign: str = "") -> str:
    """Three decimals, without the 0 before the point."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:{sign}.3f}"


if __name__ == "__main__":
    main()
