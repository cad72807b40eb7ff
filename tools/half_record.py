"""The shipped models' recipe with half of the annotations: the images that an ensemble of quantized networks suggested.

    python tools/half_record.py train DATA WORK --seed 0 [--seed 1 …]     # about 40 minutes of one core a seed
    python tools/half_record.py teach DATA WORK --seed 0 [--seed 1 …]     # when the float networks are there
    python tools/half_record.py measure DATA WORK

`train` takes the 42 training images of GlaS that the played-out suggestion with INQ-5 of seed 0 asked for
(docs/results/suggestion/ledger), trains each seed's network as `glands` was (preset `cpu`), and brings it to 5 and to 4
bits by LSQ. `teach` brings a float network to 4 bits another way: taught by the float networks of all seeds, on the
other half of the images, without their annotations, too. `measure` packs one network of 5 bits (the first seed), the
ensemble of 4 bits and that of taught networks, runs the files through `frugalseg predict` and `evaluate` on test part
A, without and with averaging, writes docs/results/half.json and a line of the ledger for each, and the table of
docs/results/glands.md. What is there is kept (in half.json too: of a model whose networks are others by now, delete the
entry), what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from ship_models import FIGURES, ROOT, commit, note_in_ledger, pack, score, shown

from frugalseg.atomic import atomic_path, write_json, write_text
from frugalseg.ensemble.members import Task, train_task
from frugalseg.images import open_dataset
from frugalseg.inspection import inspect_model
from frugalseg.locking import training_lock
from frugalseg.model_files import CARD
from frugalseg.train.config import PRESETS, TrainConfig
from frugalseg.train.folder import CONFIG
from frugalseg.train.lesson import Lesson
from frugalseg.train.quantize_config import QuantizeConfig
from frugalseg.train.quantized import quantize_run

SELECTION = {"strategy": "suggestive:inq-5", "seed": 0, "budget": 42}
SUGGESTED = ROOT / "docs" / "results" / "suggestion" / "ledger"
RESULT = ROOT / "docs" / "results" / "half.json"
PAGE = ROOT / "docs" / "results" / "glands.md"
BEGIN, END = "<!-- made by tools/half_record.py: begins -->", "<!-- made by tools/half_record.py: ends -->"
BITS = (5, 4)
ONE, SEVERAL, TAUGHT = "one network", "ensemble", "ensemble, taught on the other half too"
RIVALS = {ONE: "glands", SEVERAL: "glands-ensemble", TAUGHT: None}
"""The shipped model, of all annotations, that follows each in the table."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "teach", "measure"):
        command = commands.add_parser(name)
        command.add_argument("data", type=Path)
        command.add_argument("work", type=Path)
        if name != "measure":
            command.add_argument("--seed", type=int, action="append", required=True)
    args = parser.parse_args()
    if args.command != "measure":
        for seed in args.seed:
            {"train": train, "teach": teach}[args.command](args.data.resolve(), args.work.resolve(), seed)
    else:
        measure(args.data.resolve(), args.work.resolve())


def suggested() -> tuple[str, ...]:
    """Names of the images that were asked for."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(SUGGESTED.glob("budget-42_*.json"))]
    (names,) = (each["result"]["labelled"] for each in documents if SELECTION.items() <= each["key"].items())
    return tuple(names)


def train(data: Path, work: Path, seed: int) -> None:
    """A float network, and a phase of each number of bits from it."""
    names, trunk = suggested(), work / f"seed-{seed}"
    preset = PRESETS["cpu"]["lite"]
    config = TrainConfig(**preset, validate_every=preset["steps"], checkpoint_every=400, threads=1, seed=seed)
    with training_lock(work):
        train_task(Task(data, trunk, names, config))
        for bits in BITS:
            phase = QuantizeConfig(method="lsq", bits=bits, steps=400, learning_rate=5e-4)
            train_task(Task(data, work / f"seed-{seed}-{bits}-bits", names, None, phase, trunk=trunk))


def teach(data: Path, work: Path, seed: int) -> None:
    """A phase from a float network, taught by those of all seeds, with images that nobody has annotated."""
    out, names = work / f"seed-{seed}-{BITS[1]}-bits-taught", suggested()
    if (out / CARD).exists():
        return
    others = work / "others"
    for sample in open_dataset(data, subset="train").samples:
        if sample.name not in names and not (others / sample.image.name).exists():
            others.mkdir(exist_ok=True)
            with atomic_path(others / sample.image.name) as temporary:
                shutil.copyfile(sample.image, temporary)
    teachers = tuple(sorted(path.parent for path in work.glob(f"seed-*/{CARD}") if "bits" not in path.parent.name))
    phase = QuantizeConfig(method="lsq", bits=BITS[1], steps=400, learning_rate=5e-4)
    resume = (out / CONFIG).exists()
    quantize_run(
        work / f"seed-{seed}", phase, out, data=data, names=names, resume=resume, lesson=Lesson(teachers, others)
    )


def measure(data: Path, work: Path) -> None:
    """Pack, score, write."""
    seeds = sorted(int(path.parent.name.split("-")[1]) for path in work.glob(f"seed-*-{BITS[1]}-bits/{CARD}"))
    one = [work / f"seed-{seeds[0]}-{BITS[0]}-bits"]
    several = [work / f"seed-{seed}-{BITS[1]}-bits" for seed in seeds]
    taught = [work / f"seed-{seed}-{BITS[1]}-bits-taught" for seed in seeds]
    models = {ONE: one, SEVERAL: several} | ({TAUGHT: taught} if all((run / CARD).exists() for run in taught) else {})
    rows: dict[str, dict[str, Any]] = _measured(seeds)
    for name, runs in models.items():
        if name in rows:
            continue
        path = work / f"{name.replace(',', '').replace(' ', '-')}.fseg"
        pack(path, data, runs, half_floats=False)
        scores = {mode: score(str(path), data / "testA", mode == "averaged") for mode in ("as it is", "averaged")}
        rows[name] = {
            "networks": len(runs),
            "bytes": path.stat().st_size,
            "mean_bits": inspect_model(path)["totals"]["mean_bits"],
            "commit": commit(),
            "scores": scores,
        }
        told = "; ".join(f"testA, {mode} {shown(row)}" for mode, row in scores.items())
        note_in_ledger(f"`tools/half_record.py measure`, {name} of 42 images", told)
        write_json(RESULT, {"images": suggested(), "seeds": seeds, "models": rows})
    write_text(PAGE, _with_table(PAGE.read_text(encoding="utf-8"), rows))


def _measured(seeds: list[int]) -> dict[str, dict[str, Any]]:
    """What has been measured of networks with these seeds."""
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"seeds": None}
    return dict(before["models"]) if before["seeds"] == seeds else {}


def _with_table(page: str, rows: dict[str, dict[str, Any]]) -> str:
    shipped = json.loads(FIGURES.read_text(encoding="utf-8"))
    lines = ["| model | annotated images | bytes | as it is | averaged |", "| --- | --- | --- | --- | --- |"]
    for name, row in rows.items():
        found, rival = row["scores"], RIVALS[name]
        title = name.replace(SEVERAL, f"{SEVERAL} of {row['networks']}")
        sides = [(title, 42, row["bytes"], found["as it is"], found["averaged"])]
        if rival is not None:
            whole = shipped[rival]["scores"]
            sides.append((f"`{rival}`", 85, shipped[rival]["bytes"], whole["testA"], whole["testA, averaged"]))
        lines += [f"| {n} | {i} | {b:,} | {shown(p)} | {shown(a)} |" for n, i, b, p, a in sides]
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main()
