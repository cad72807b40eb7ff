"""Cheap ensembles beside the paper's: do phases from one trunk rank images as networks of their own do, at what cost?

    python tools/ensemble_comparison.py DATA WORK [--annotated 21] [--steps 160] [--phase-steps 60] [--members 3]

Of DATA's training images some, drawn at random, count as annotated. Two ensembles of either kind, with different seeds,
are trained on them and score the others. Written to docs/results/suggestion/ensembles.json: minutes, what the spread of
each ensemble ranks first, how far ensembles agree (Spearman's correlation of the uncertainties, common images among
the 16 most uncertain and among the 8 suggested), and how uncertainty goes with the ensemble's true error (1 - object
Dice on the hidden masks, which the ensembles never see). Ensembles that are trained are kept in WORK; interrupted ones
go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from frugalseg.atomic import write_json
from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.ensemble.members import train_ensemble, with_common_scale
from frugalseg.ensemble.scoring import as_pool, score_images
from frugalseg.executors import open_executor
from frugalseg.images import load_sample, open_dataset
from frugalseg.metrics import pool as pool_scores
from frugalseg.metrics import score_image
from frugalseg.predict import load_model
from frugalseg.segmentation import segment
from frugalseg.simulation.config import FIRST_RULES
from frugalseg.suggest import Ask, suggest
from frugalseg.train.config import TrainConfig

RESULT = Path(__file__).parent.parent / "docs" / "results" / "suggestion" / "ensembles.json"
K, ASKED = 16, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--annotated", type=int, default=21)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--phase-steps", type=int, default=60)
    parser.add_argument("--members", type=int, default=3)
    args = parser.parse_args()
    found = {}
    for seed in (0, 1):
        for kind in ("shared", "independent"):
            file = args.work / f"{kind}-{seed}.json"
            if not file.exists():
                write_json(file, run(args, kind == "shared", seed, file.with_suffix("")))
            found[f"{kind}-{seed}"] = json.loads(file.read_text())
    settings = {name: getattr(args, name) for name in ("annotated", "steps", "phase_steps", "members")}
    document = {"settings": settings, "ensembles": {name: summary(each) for name, each in found.items()}}
    document["agreement"] = {f"{a}, {b}": agreement(found[a], found[b]) for a, b in combinations(found, 2)}
    write_json(RESULT, document)
    print(json.dumps(document, indent=2))


def run(args: argparse.Namespace, shared: bool, seed: int, folder: Path) -> dict[str, Any]:
    """Train an ensemble on the annotated images and look at the others."""
    dataset = open_dataset(args.data, subset="train")
    order = np.random.default_rng(0).permutation(len(dataset.labelled))  # the same images for all
    samples = [dataset.labelled[int(place)] for place in order]
    known, rest = samples[: args.annotated], samples[args.annotated :]
    plain = TrainConfig(steps=args.steps, validate_every=args.steps, seed=100 * seed, **FIRST_RULES)
    config = with_common_scale(plain, dataset, known)
    ensemble = EnsembleConfig(members=args.members, quantize_steps=args.phase_steps, shared_trunk=shared)
    began = time.monotonic()
    names = [sample.name for sample in known]
    members = train_ensemble(args.data, names, folder, config, ensemble, open_executor("serial"))
    minutes = (time.monotonic() - began) / 60
    model = load_model(members)
    unseen = [dataclasses.replace(sample, mask=None) for sample in rest]
    scored = list(score_images(model.engines, unseen, lambda sample: model.card.scale))
    described = score_images(model.engines[:1], [dataclasses.replace(each, mask=None) for each in known],
                             lambda sample: model.card.scale)  # fmt: skip
    pool = as_pool(scored, [each.descriptor for each in described])
    picks = [pick.name for pick in suggest(pool, Ask(k=ASKED, round=0, seed=0), "suggestive")]
    errors = {}
    for sample in rest:
        loaded = load_sample(dataset, sample)
        result = segment(model.engines, loaded.image, scale=model.card.scale, settings=model.card.instances)
        errors[sample.name] = 1 - pool_scores([score_image(result.labels, loaded.labels)]).object_dice
    return {
        "minutes": minutes,
        "uncertainty": dict(zip(pool.names, map(float, pool.uncertainty), strict=True)),
        "picks": picks,
        "errors": errors,
    }


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What an ensemble cost, and whether it is uncertain where it is wrong."""
    names = sorted(found["uncertainty"])
    spread = [found["uncertainty"][name] for name in names]
    errors = [found["errors"][name] for name in names]
    picked = [found["errors"][name] for name in found["picks"]]
    return {
        "minutes": round(found["minutes"], 1),
        "mean_uncertainty": round(float(np.mean(spread)), 4),
        "mean_error": round(float(np.mean(errors)), 3),
        "uncertainty_with_error": round(float(spearmanr(spread, errors).statistic), 3),
        "mean_error_of_suggested": round(float(np.mean(picked)), 3),
    }


def agreement(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far two ensembles rank alike."""
    names = sorted(one["uncertainty"])
    spreads = [[each["uncertainty"][name] for name in names] for each in (one, other)]
    first = [{names[place] for place in np.argsort(spread)[::-1][:K]} for spread in spreads]
    return {
        "spearman": round(float(spearmanr(*spreads).statistic), 3),
        "most_uncertain": len(first[0] & first[1]),
        "suggested": len(set(one["picks"]) & set(other["picks"])),
    }


if __name__ == "__main__":
    main()
