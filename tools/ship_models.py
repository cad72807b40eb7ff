"""The models that come with the package: packed from finished runs, measured as users run them, their cards' tables.

    python tools/ship_models.py pack NAME DATA RUN… [--half-floats]     # models/FILE.fseg, with ranges for INT8
    python tools/ship_models.py add NAME DATA RUN…      # more networks for an ensemble
    python tools/ship_models.py rules NAME              # the same file with the present rules of objects
    python tools/ship_models.py stain NAME DATA         # the same file with the stain that images are brought to
    python tools/ship_models.py judge NAME FILE         # the same file with a rejector of false objects
    python tools/ship_models.py measure NAME DATA       # predict and evaluate, a line of the ledger, the card's table

`pack` and `add` take INQ or LSQ runs that were trained on DATA. Runs of a version that did not keep how its training
images look, or are stained, get that from DATA. `measure` runs the very file through `frugalseg predict` and
`frugalseg evaluate` on the training images and on test part A (and B where it is), without and with averaging at test
time, and writes models/figures.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from frugalseg.artifact import Artifact, read_artifact, write_artifact
from frugalseg.atomic import write_json, write_text
from frugalseg.cli import main as frugalseg
from frugalseg.evaluate import evaluate_folders
from frugalseg.export import calibrate, pack_runs
from frugalseg.export.calibration import calibration_images
from frugalseg.export.packing import with_half_floats
from frugalseg.familiarity import appearance, learn_familiarity
from frugalseg.images import open_dataset
from frugalseg.inspection import inspect_model
from frugalseg.instances import InstanceSettings
from frugalseg.segmentation import resize_image
from frugalseg.shipped import MODELS
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import read_config
from frugalseg.train.folds import FittedRejector
from frugalseg.train.plan import cutting_rules, load_samples, training_stain

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "models"
FIGURES = FOLDER / "figures.json"
LEDGER = ROOT / "docs" / "results" / "test-a-ledger.md"
BEGIN, END = "<!-- made by tools/ship_models.py: begins -->", "<!-- made by tools/ship_models.py: ends -->"

LICENCE = (
    "research use only, no commercial use: learned from images of the GlaS challenge (MICCAI 2015), whose terms say so;"
    " not a medical device. LICENSE.md beside the model has the whole text"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("pack", "add", "rules", "stain", "judge", "measure"):
        command = commands.add_parser(name)
        command.add_argument("name", choices=MODELS)
        if name == "rules":
            continue
        command.add_argument("rejector" if name == "judge" else "data", type=Path)
        if name in ("pack", "add"):
            command.add_argument("run", type=Path, nargs="+")
        if name == "pack":
            command.add_argument("--half-floats", action="store_true")
    args = parser.parse_args()
    if args.command == "pack":
        pack(FOLDER / MODELS[args.name], args.data, args.run, args.half_floats)
    elif args.command == "add":
        add(FOLDER / MODELS[args.name], args.run)
    elif args.command == "rules":
        rules(FOLDER / MODELS[args.name])
    elif args.command == "stain":
        stain(FOLDER / MODELS[args.name], args.data)
    elif args.command == "judge":
        judge(FOLDER / MODELS[args.name], args.rejector)
    else:
        measure(args.name, args.data)


def pack(path: Path, data: Path, runs: list[Path], half_floats: bool) -> None:
    """Write the file."""
    packed = pack_runs(runs, licence=LICENCE)
    if half_floats:
        packed = with_half_floats(packed)
    packed = dataclasses.replace(packed, card=dataclasses.replace(packed.card, class_names=("gland",)))
    _write_calibrated(path, _with_looks(packed, data, runs), runs[0])


def add(path: Path, runs: list[Path]) -> None:
    """Put more networks into the file; its card stays."""
    before, more = read_artifact(path), pack_runs(runs, licence=LICENCE)
    alike = {"net": lambda each: each.card.net, "scale": lambda each: each.card.scale, "graph": lambda each: each.graph}
    for name, part in alike.items():
        if part(before) != part(more):
            raise SystemExit(f"{runs[0]}: another {name} than that of {path}")
    both = [*before.provenance["members"], *more.provenance["members"]]
    artifact = dataclasses.replace(before, members=(*before.members, *more.members), provenance={"members": both})
    _write_calibrated(path, artifact, runs[0])


def _write_calibrated(path: Path, artifact: Artifact, run: Path) -> None:
    artifact, found = calibrate(artifact, calibration_images(run, artifact), advance=print)
    print(
        f"{path}: {write_artifact(path, artifact):,} bytes; INT8 agrees in {100 * found.agreement:.2f} % of the pixels"
    )


def judge(path: Path, rejector: Path) -> None:
    """Put a rejector into the file; everything else stays."""
    artifact, fitted = read_artifact(path), FittedRejector.read(rejector)
    fitted.check(artifact.card)
    _write_with(path, artifact, dataclasses.replace(artifact.card.instances, rejector=fitted.rejector))


def rules(path: Path) -> None:
    """Make objects as a model would that were trained today; everything else stays."""
    artifact = read_artifact(path)
    card = artifact.card
    median_area = math.pi / 4 * (card.object_diameter_px * card.scale) ** 2
    _write_with(path, artifact, dataclasses.replace(card.instances, **cutting_rules(TrainConfig(), median_area)))


def _write_with(path: Path, artifact: Artifact, instances: InstanceSettings) -> None:
    artifact = dataclasses.replace(artifact, card=dataclasses.replace(artifact.card, instances=instances))
    print(f"{path}: {write_artifact(path, artifact):,} bytes")


def stain(path: Path, data: Path) -> None:
    """Bring images to the training images' stain; everything else stays."""
    artifact = read_artifact(path)
    artifact = _with_looks(dataclasses.replace(artifact, card=dataclasses.replace(artifact.card, stain=None)), data)
    print(f"{path}: {write_artifact(path, artifact):,} bytes; {artifact.card.stain}")


def _with_looks(artifact: Artifact, data: Path, runs: list[Path] | None = None) -> Artifact:
    """With what the card lacks of how the training images look: those of the runs, by default all of DATA."""
    card = artifact.card
    configs = [read_config(run) for run in runs or ()]
    names = {name for config in configs for name in config["data"]["train"]}
    older = all("stain_matching" not in config["config"] for config in configs)
    if card.familiarity is not None and (card.stain is not None or not older):
        return artifact
    dataset = open_dataset(data, subset="train")
    loaded = load_samples(dataset, [each for each in dataset.labelled if not names or each.name in names])
    known = learn_familiarity([appearance(resize_image(each.image, card.scale)) for each in loaded])
    found = training_stain(loaded, card.scale)
    found = card.stain or (found if older else None)
    card = dataclasses.replace(card, familiarity=card.familiarity or known, stain=found)
    return dataclasses.replace(artifact, card=card)


def measure(name: str, data: Path) -> None:
    """Score the file as a user would, keep the figures, and write the card's table."""
    path = FOLDER / MODELS[name]
    artifact, totals = read_artifact(path), inspect_model(path)["totals"]
    parts = [part for part in ("train", "testA", "testB") if (data / part).is_dir()]
    scores = {
        f"{part}{', averaged' if averaged else ''}": score(name, data / part, averaged)
        for part in parts
        for averaged in (False, True)
        if part != "train" or not averaged
    }
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    figures[name] = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "members": len(artifact.members),
        "mean_bits": totals["mean_bits"],
        "seeds": [member["config"]["seed"] for member in artifact.provenance["members"]],
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "scores": scores,
    }
    write_json(FIGURES, figures)
    _write_table(path.with_suffix(".md"), figures[name])
    told = "; ".join(f"{part} {shown(row)}" for part, row in scores.items() if part.startswith("testA"))
    note_in_ledger(f"`predict {name}`, `evaluate`; the shipped file", told)


def note_in_ledger(what: str, told: str) -> None:
    """A line of the ledger of all figures on test part A."""
    with LEDGER.open("a", encoding="utf-8") as stream:
        stream.write(f"| {datetime.date.today()} | {commit()} | {what} | {told} |\n")


def score(name: str, folder: Path, averaged: bool) -> dict[str, float]:
    """Figures of a model on the images of a folder by `frugalseg predict` and `evaluate`."""
    with tempfile.TemporaryDirectory() as work:
        images = [str(path) for path in sorted(folder.glob("*.png")) if "_anno" not in path.name]
        began = time.monotonic()
        _run("predict", name, *images, "--out", work, "--no-overlays", *(["--tta"] if averaged else []))
        seconds = time.monotonic() - began
        pooled = evaluate_folders(Path(work), folder, connected_components=folder.name == "testB")
    keys = ("object_f1", "object_dice", "object_hausdorff")
    return {**{key: round(pooled[key], 5) for key in keys}, "seconds_an_image": round(seconds / len(images), 3)}


def _run(*arguments: str) -> None:
    if code := frugalseg(arguments):
        raise SystemExit(code)


def shown(row: dict[str, float]) -> str:
    """Figures as tables have them."""
    f1, dice = (f"{row[key]:.3f}".lstrip("0") for key in ("object_f1", "object_dice"))
    return f"{f1} / {dice} / {row['object_hausdorff']:.1f}"


def _write_table(card: Path, figures: dict[str, Any]) -> None:
    rows = "\n".join(
        f"| {part} | {shown(row)} | {row['seconds_an_image']:.2f} |" for part, row in figures["scores"].items()
    )
    table = (
        f"{figures['bytes']:,} bytes, {figures['members']} network(s) of seeds {', '.join(map(str, figures['seeds']))},"
        f" {figures['mean_bits']:.2f} bits a parameter with codes packed plainly, everything counted. Measured on"
        f" {figures['date']} at {figures['commit']} from this very file:\n\n"
        "| images | object F1 / Dice / Hausdorff (px) | seconds an image |\n| --- | --- | --- |\n" + rows
    )
    text = card.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    write_text(card, f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


def commit() -> str:
    """What is checked out."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
