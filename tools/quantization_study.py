"""The study of few-bit networks on GlaS: every cell a resumable run and one JSON result; then tables and a picture.

    python tools/quantization_study.py choose DATA WORK
    python tools/quantization_study.py run DATA WORK [--nets lite] [--seeds 0,1,2] [--variants inq-5,twn-2,…]
    python tools/quantization_study.py report

`choose` trains a float network on the patients of two of three folds (WORK/lite-0-fold/float; 700 steps; a finished run
folder put there is used) and prints how short phases at several rates do on the patients of the third: the rate comes
from there. `run` trains the float network of each seed (`frugalseg train`, preset cpu, into WORK/NET-SEED/float; a
finished run folder put there is used), gives each variant the same number of further steps from it (`frugalseg
quantize`; none to `float`), packs it, scores the training images and test part A without averaging at test time, and
writes docs/results/quantization/*.json and a line of the ledger. A cell whose JSON is there is skipped; an interrupted
one goes on where it stopped. `report` writes the tables of docs/results/quantization.md between its markers, and its
picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import logging
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "quantization"
PAGE = RESULTS.parent / "quantization.md"
LEDGER = RESULTS.parent / "test-a-ledger.md"
PICTURE = RESULTS.parent.parent / "images" / "quantization.png"

FLOAT = "float"
"""The network that all phases begin from."""

CONTROL = "control"
"""Float weights with the same steps, rate restarts, averaging and statistics of batch normalisation."""
VARIANTS = (
    FLOAT,
    "control-low",
    CONTROL,
    "inq-7",
    "inq-5",
    "inq-5-low",
    "inq-4",
    "inq-3",
    "twn-2",
    "dorefa-1",
    "dorefa-4",
    "lsq-4",
    "lsq-4-low",
    "lsq-5-low",
    "lsq-2",
    "lsq-2-long",
    "twn-2-long",
)
STEPS = {"lite": 400, "unet": 170, "fcn": 220}
"""`lite` and `unet`: about six minutes of one core; `fcn`: of two."""

TRIALS = (CONTROL, "inq-5", "twn-2")
TRIAL_RATES = (5e-4, 2e-3)
TRIAL_STEPS = 240
FOLD_STEPS = 700

RATE = 2e-3
"""Peak of each cycle, for all: by `choose` it is no worse than 5e-4 for float weights and INQ-5, better for TWN."""

LOW, LOW_RATE = "-low", 5e-4
"""Variants with this ending have a lower rate: from a fully trained network the one above raises the training loss of
float weights again."""

LONG, LONG_FACTOR = "-long", 2
"""Variants with this ending have so many times the steps: whether two bits need more of them."""

LABEL_STEP = 0.0034
"""Least distance of two labels in the picture, in object Dice."""

LABELS_MB = (0.4, 7.0)
"""Where the columns of labels end: of few-bit networks, of float ones."""

LARGEST_LOSS = 0.08
"""What lies further below the best is drawn there with its figure, so that the others can be told apart."""

MARKER = "<!-- made by tools/quantization_study.py: {} -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("data", type=Path)
    run.add_argument("work", type=Path)
    run.add_argument("--nets", default="lite")
    run.add_argument("--seeds", default="0,1,2")
    run.add_argument("--variants", default=",".join(VARIANTS))
    choose = commands.add_parser("choose")
    choose.add_argument("data", type=Path)
    choose.add_argument("work", type=Path)
    commands.add_parser("report")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if args.command == "report":
        report()
        return
    if args.command == "choose":
        choose_rates(args.data.resolve(), args.work.resolve())
        return
    for seed in map(int, args.seeds.split(",")):
        for net in args.nets.split(","):
            for variant in args.variants.split(","):
                path = RESULTS / f"{net}-{seed}-{variant}.json"
                if not path.exists():
                    run_cell(args.data.resolve(), args.work.resolve(), net, seed, variant, path)


def run_cell(data: Path, work: Path, net: str, seed: int, variant: str, result: Path) -> None:
    """Train, quantize, pack, score, and write the result last."""
    from frugalseg.atomic import write_json

    source = _float_run(data, work / f"{net}-{seed}" / "float", net, seed)
    folder = work / f"{net}-{seed}" / variant
    if variant != FLOAT:
        _quantize(source, folder, variant, _steps(net, variant), LOW_RATE if variant.endswith(LOW) else RATE)
    packed = folder.with_suffix(".fseg")
    document = {
        "net": net,
        "seed": seed,
        "variant": variant,
        "steps": _steps(net, variant),
        **_cost(folder),
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        **_pack(folder, packed),
        **_score_all(data, packed),
    }
    _write_ledger(document)  # before the result: a scoring without a line would break the ledger's rule
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_json(result, document)
    print(
        json.dumps({key: document[key] for key in ("net", "seed", "variant", "minutes", "testA", "testA_int8")}),
        flush=True,
    )


def _steps(net: str, variant: str) -> int:
    """Further steps of a variant."""
    if variant == FLOAT:
        return 0
    return STEPS[net] * (LONG_FACTOR if variant.endswith(LONG) else 1)


def choose_rates(data: Path, work: Path) -> None:
    """Print the figures of short phases on held-out patients, a line of JSON for each method and rate."""
    from frugalseg.images import open_dataset

    source = _fold_run(data, work / "lite-0-fold" / "float")
    dataset = open_dataset(data, subset="train")
    held_out = set(json.loads((source / "config.json").read_text(encoding="utf-8"))["data"]["validation"])
    samples = [sample for sample in dataset.labelled if sample.name in held_out]
    print(json.dumps({"source": str(source), **_score(dataset, samples, source, "fp32")}), flush=True)
    for variant in TRIALS:
        for rate in TRIAL_RATES:
            folder = source.parent / f"{variant}-{rate:g}"
            _quantize(source, folder, variant, TRIAL_STEPS, rate)
            figures = _score(dataset, samples, folder, "fp32")
            print(json.dumps({"variant": variant, "rate": rate, **figures}), flush=True)


def _fold_run(data: Path, folder: Path) -> Path:
    from frugalseg.images import split_folds
    from frugalseg.model_files import CARD
    from frugalseg.simulation.config import FIRST_RULES
    from frugalseg.train.config import TrainConfig
    from frugalseg.train.plan import DataChoice, open_training_data
    from frugalseg.train.run import train

    if not (folder / CARD).exists():
        config, choice = TrainConfig(steps=FOLD_STEPS, **FIRST_RULES), DataChoice(data)
        samples = open_training_data(choice, config).labelled
        sides = split_folds(samples, 3, seed=0, groups=True)[0]
        names = [[samples[index].name for index in side] for side in sides]
        train(config, choice, folder, split=(names[0], names[1]), resume=(folder / "config.json").exists())
    return folder


def _float_run(data: Path, folder: Path, net: str, seed: int) -> Path:
    from frugalseg.model_files import CARD
    from frugalseg.simulation.config import FIRST_RULES

    if not (folder / CARD).exists():
        command = ["train", str(data), "--out", str(folder), "--net", net, "--preset", "cpu", "--seed", str(seed)]
        _frugalseg(*command, *_flags(FIRST_RULES), *(["--resume"] if (folder / "config.json").exists() else []))
    return folder


def _quantize(source: Path, folder: Path, variant: str, steps: int, rate: float) -> None:
    from frugalseg.model_files import CARD

    if (folder / CARD).exists():
        return
    method, _, bits = variant.removesuffix(LOW).removesuffix(LONG).partition("-")
    chosen = ["--method", "none"] if method == CONTROL else ["--method", method, "--bits", bits]
    length = ["--steps", str(steps), "--learning-rate", str(rate)]
    resume = ["--resume"] if (folder / "config.json").exists() else []
    _frugalseg("quantize", str(source), "--out", str(folder), *chosen, *length, *resume)


def _flags(settings: Mapping[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def _frugalseg(*arguments: str) -> None:
    from frugalseg.cli import main as command

    code = command(arguments)
    if code:
        raise SystemExit(code)


def _cost(folder: Path) -> dict[str, Any]:
    """Minutes of the steps, validation left out, and threads."""
    from frugalseg.train.folder import read_config, read_metrics

    rows = read_metrics(folder)
    steps = [after["step"] - before for before, after in zip([0, *(row["step"] for row in rows)], rows, strict=False)]
    seconds = sum(n * row["seconds_per_step"] for n, row in zip(steps, rows, strict=True))
    return {"minutes": round(seconds / 60, 2), "threads": read_config(folder)["environment"]["threads"]}


def _pack(folder: Path, packed: Path) -> dict[str, Any]:
    """Write the packed file; bytes and bits."""
    from frugalseg.export import export_model
    from frugalseg.inspection import inspect_model

    exported = export_model([folder], packed, "fseg", int8=True)
    totals, file = (inspect_model(packed)[part] for part in ("totals", "file"))
    return {
        "bytes": {
            "float32": totals["float32_bytes"],
            "plain": totals["bytes"] + file["header_bytes"] + file["graph_bytes"],
            "file": file["bytes"],
        },
        "mean_bits": totals["mean_bits"],
        "int8": {**file["int8"], **dataclasses.asdict(exported.calibration)} if exported.calibration else None,
    }


def _score_all(data: Path, packed: Path) -> dict[str, Any]:
    """Figures of both subsets in fp32, and of part A in INT8."""
    from frugalseg.images import open_dataset

    figures = {}
    for subset, precision, key in (
        ("train", "fp32", "train"),
        ("testA", "fp32", "testA"),
        ("testA", "int8", "testA_int8"),
    ):
        dataset = open_dataset(data, subset=subset)
        figures[key] = _score(dataset, dataset.labelled, packed, precision)
    return figures


def _score(dataset: Any, samples: Sequence[Any], path: Path, precision: str) -> dict[str, float | None]:
    """Object F1, object Dice, object Hausdorff of a model on samples, pooled; no averaging at test time."""
    from frugalseg.images import load_sample
    from frugalseg.metrics import pool, score_image
    from frugalseg.predict import load_model
    from frugalseg.segmentation import segment

    model = load_model([path], precision=precision)  # type: ignore[arg-type]
    scores = []
    for sample in samples:
        loaded = load_sample(dataset, sample)
        found = segment(model.engines, loaded.image, scale=model.card.scale, settings=model.card.instances)
        scores.append(score_image(found.labels, loaded.labels))
    pooled = pool(scores).as_dict()
    return {name: pooled[name] for name in ("object_f1", "object_dice", "object_hausdorff")}


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _write_ledger(document: dict[str, Any]) -> None:
    from frugalseg.atomic import write_text

    command = f"`tools/quantization_study.py run`, cell {document['net']}-{document['seed']}-{document['variant']}"
    fp32, int8 = (_triple(document[key]) for key in ("testA", "testA_int8"))
    line = f"| {document['date']} | {document['commit']} | {command}, no averaging | {fp32}; INT8 {int8} |\n"
    before = LEDGER.read_text(encoding="utf-8").rstrip("\n") + "\n"
    if line not in before:
        write_text(LEDGER, before + line)


def _triple(figures: dict[str, float]) -> str:
    f1, dice = (f"{figures[f'object_{name}']:.3f}".removeprefix("0") for name in ("f1", "dice"))
    return f"{f1} / {dice} / {figures['object_hausdorff']:.1f}"


def report() -> None:
    """Tables and picture from the results that are there."""
    from frugalseg.atomic import write_bytes, write_text

    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    page = PAGE.read_text(encoding="utf-8")
    for net in sorted({cell["net"] for cell in cells}):
        begin, end = MARKER.format(f"{net} begins"), MARKER.format(f"{net} ends")
        if begin in page and end in page:
            before, rest = page.split(begin)
            after = rest.split(end)[1]
            page = f"{before}{begin}\n\n{_table([c for c in cells if c['net'] == net])}\n{end}{after}"
    write_text(PAGE, page)
    write_bytes(PICTURE, _picture([cell for cell in cells if cell["net"] == "lite"]))


def _table(cells: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| weights | seeds | test A: F1 / Dice / Hausdorff | the same in INT8 | training Dice | training - test |"
        " bytes plain | in the file | times smaller |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for variant in VARIANTS:
        chosen = [cell for cell in cells if cell["variant"] == variant]
        if not chosen:
            continue
        gaps = [cell["train"]["object_dice"] - cell["testA"]["object_dice"] for cell in chosen]
        sizes = {key: round(statistics.mean(cell["bytes"][key] for cell in chosen)) for key in chosen[0]["bytes"]}
        lines.append(
            f"| {variant} | {len(chosen)} | {_spread(chosen, 'testA')} | {_spread(chosen, 'testA_int8')}"
            f" | {_mean([cell['train']['object_dice'] for cell in chosen])} | {_mean(gaps)} | {sizes['plain']:,}"
            f" | {sizes['file']:,} | {sizes['float32'] / sizes['file']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _spread(cells: Sequence[dict[str, Any]], key: str) -> str:
    names = (("object_f1", 3), ("object_dice", 3), ("object_hausdorff", 1))
    return " / ".join(_mean([cell[key][name] for cell in cells], digits) for name, digits in names)


def _mean(values: Sequence[float], digits: int = 3) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _picture(cells: Sequence[dict[str, Any]]) -> bytes:
    """Object Dice on part A against bytes, plain and as stored, each variant a pair of points."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    points = []
    for variant in VARIANTS:
        chosen = [cell for cell in cells if cell["variant"] == variant]
        if chosen:
            dice = statistics.mean(cell["testA"]["object_dice"] for cell in chosen)
            points.append((dice, variant, *(chosen[0]["bytes"][key] / 1e6 for key in ("plain", "file"))))
    floor = max((point[0] for point in points), default=1.0) - LARGEST_LOSS
    columns: dict[float, list[tuple[float, float, str]]] = {}
    for found, variant, plain, stored in sorted(points, reverse=True):
        dice, name = (found, variant) if found >= floor else (floor, f"{variant} ({found:.2f})")
        axes.plot([plain, stored], [dice, dice], color="#999999", linewidth=1, zorder=2)
        axes.scatter([plain], [dice], marker="o", facecolors="white", edgecolors="#0072b2", zorder=3)
        axes.scatter([stored], [dice], marker="o", color="#0072b2", zorder=3)
        columns.setdefault(LABELS_MB[stored > LABELS_MB[1]], []).append((dice, stored, name))
    for place, members in columns.items():
        heights = _moved_apart([dice for dice, _, _ in members])
        for (dice, stored, name), height in zip(members, heights, strict=True):
            axes.plot([place, stored], [height, dice], color="#bbbbbb", linewidth=0.7, zorder=1)
            axes.annotate(name, (place / 1.03, height), ha="right", va="center", fontsize=8)
    axes.set_xlim(LABELS_MB[0] / 2, 22)
    axes.set(xscale="log", xlabel="megabytes (open: plain codes, filled: as stored)", ylabel="object Dice, test part A")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _moved_apart(heights: Sequence[float]) -> list[float]:
    """Falling heights moved apart, so that labels there do not cover each other, and as little as that takes."""
    placed: list[float] = []
    for height in heights:
        placed.append(min(height, placed[-1] - LABEL_STEP) if placed else height)
    up = statistics.mean(heights) - statistics.mean(placed)
    return [each + min(up, LABEL_STEP * len(placed) / 2) for each in placed]


if __name__ == "__main__":
    main()
