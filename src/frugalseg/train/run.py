"""One training run in its folder."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from frugalseg.atomic import write_json, write_text
from frugalseg.engines.torch import TorchEngine
from frugalseg.errors import ConfigError, InputError
from frugalseg.images import Dataset, LoadedSample, Sample
from frugalseg.locking import training_lock
from frugalseg.metrics import pool, score_image
from frugalseg.model_files import CARD, WEIGHTS, ModelCard, read_card, write_card
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.segmentation import segment
from frugalseg.train.checkpoint import save_tensors
from frugalseg.train.config import TrainConfig
from frugalseg.train.loop import Hooks, InterruptedTrainingError, Place, fit
from frugalseg.train.plan import (
    DataChoice,
    Plan,
    build_card,
    check_batches,
    choose_place,
    choose_validation,
    load_samples,
    open_training_data,
    prepare,
)

log = logging.getLogger(__name__)

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
N_TRAINING_SCORED = 8
"""About so many training images are scored beside the held-out ones: the gap between the two shows overfitting."""

CURVE_FIGURES = ("object_f1", "object_dice", "object_hausdorff", "pixel_dice")


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its model card, and the last row of its metrics."""

    folder: Path
    card: ModelCard
    metrics: dict[str, Any]


def train(
    config: TrainConfig,
    data: Path | DataChoice,
    out: Path,
    *,
    resume: bool = False,
    wait: bool = True,
    split: tuple[Sequence[str], Sequence[str]] | None = None,
    on_report: Callable[[Path], None] | None = None,
) -> RunResult:
    """Train one network and leave a run folder that can predict.

    Parameters
    ----------
    config
        All settings.
    data
        The annotated images.
    out
        The run folder; must not hold a run unless `resume`.
    resume
        Go on where a killed or interrupted run stopped. A run that never wrote a checkpoint starts anew.
    wait
        Wait for another training on this machine to end; else that is an error.
    split
        Names of the training and validation images; chosen by ``config.validation`` if not given.
    on_report
        Called with the run folder after every validation, for pictures.

    Raises
    ------
    InputError
        The data cannot be used, or `out` holds something already.
    ConfigError
        The run to resume had other settings or other data.
    TrainingError
        Training diverged, was interrupted, or another one is going on.
    """
    choice = data if isinstance(data, DataChoice) else DataChoice(data)
    _check_folder(out, resume)
    check_batches(config)
    place = choose_place(config)
    dataset = open_training_data(choice, config)
    chosen = choose_validation(dataset, config) if split is None else _named(dataset, split)
    loaded, held_out = load_samples(dataset, chosen[0]), load_samples(dataset, chosen[1])
    card = build_card(dataset, loaded, config)
    plan = Plan(config, choice, dataset, *chosen, card, place)
    document = {"config": dataclasses.asdict(config), **plan.describe()}
    if resume:
        _check_same(out, document)
    with training_lock(out, wait):
        _check_folder(out, resume)  # again: the training that we waited for may have filled it
        if not resume:
            write_json(out / CONFIG, document)
        if resume and (out / CARD).exists():
            log.info("%s: has finished already", out)
            card = read_card(out)
        else:
            net = _fit(plan, loaded, held_out, out, on_report)
            save_tensors(out / WEIGHTS, dict(net.state_dict()), {"net": config.net, "steps": config.steps})
            write_card(out, card)
    rows = read_metrics(out)
    return RunResult(out, card, rows[-1] if rows else {})


def holds_files(folder: Path) -> bool:
    """True if any file lies in `folder` or below; hidden ones, as killed writers and desktops leave, do not count."""
    if not folder.is_dir():
        return False
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return any(not any(part.startswith(".") for part in path.parts) for path in files)


def _check_folder(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file, not a folder for a run")
    holds_run = (out / CONFIG).exists()
    if resume and not holds_run:
        raise InputError(out, "holds no run to resume")
    if not resume and holds_files(out):
        hint = "go on with it with --resume, or " if holds_run else ""
        raise InputError(out, f"is not empty; {hint}choose another folder")


def _named(
    dataset: Dataset, split: tuple[Sequence[str], Sequence[str]]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    by_name = {sample.name: sample for sample in dataset.labelled}
    train, held_out = split
    return tuple(by_name[name] for name in train), tuple(by_name[name] for name in held_out)


def _check_same(out: Path, document: dict[str, Any]) -> None:
    """Compare with ``config.json`` of the run that shall go on: same settings, same data."""
    before = read_config(out)
    for name, value in document["config"].items():
        if before["config"].get(name) != value:
            raise ConfigError(name, f"is {value}, but the run to resume in {out} has {before['config'].get(name)}")
    for name, meaning in (("sha256", "files"), ("train", "training images"), ("validation", "held-out images")):
        if before["data"].get(name) != document["data"][name]:
            raise ConfigError(document["data"]["root"], f"has changed since the run in {out} began: other {meaning}")
    if before.get("environment") != document["environment"]:
        log.warning("versions, device or threads differ from the interrupted run's: weights will not be identical")


def read_config(out: Path) -> dict[str, Any]:
    """The resolved settings, data and environment of a run folder."""
    try:
        document = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(out, f"holds no run (no {CONFIG})") from None
    except ValueError as error:
        raise InputError(out / CONFIG, f"not readable JSON ({error})") from None
    if not isinstance(document, dict) or not all(isinstance(document.get(part), dict) for part in ("config", "data")):
        raise InputError(out / CONFIG, "does not hold the settings and data of a run")
    return document


def reopen_data(out: Path) -> Dataset:
    """Open the data set that a run was trained on, from where its folder says it lay."""
    document = read_config(out)
    data = document["data"]
    groups = None if data["groups"] is None else Path(data["groups"])
    choice = DataChoice(Path(data["root"]), data["subset"], groups, data["ignore_value"])
    return open_training_data(choice, TrainConfig(**document["config"]))


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl``, oldest first; a last line cut off by a kill is left out."""
    path = out / METRICS
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _fit(
    plan: Plan,
    loaded: Sequence[LoadedSample],
    held_out: Sequence[LoadedSample],
    out: Path,
    on_report: Callable[[Path], None] | None,
) -> SegmentationNet:
    """Run the loop with a progress bar, metrics and validation."""
    config = plan.config
    images = [prepare(sample, plan.card.scale) for sample in loaded]
    net = build_net(config.net, len(plan.card.class_names), seed=config.seed, pretrained=config.pretrained)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(config.net, total=config.steps)

        def record(row: dict[str, Any]) -> None:
            _record(out, row)
            log.info("%s", _sentence(row, config.steps))
            if on_report is not None:
                on_report(out)

        def advance(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"{config.net}  loss {loss:.3f}")

        def score(net: SegmentationNet) -> dict[str, float | None]:
            sides = {"validation": held_out, "training": loaded[:: max(1, len(loaded) // N_TRAINING_SCORED)]}
            return {
                f"{side}_{name}": value
                for side, samples in sides.items()
                if samples
                for name, value in score_network(net, samples, plan.card, plan.place).items()
            }

        hooks = Hooks(score, record, advance)
        try:
            return fit(net, images, config, plan.place, out / CHECKPOINTS, hooks)
        except InterruptedTrainingError as stop:
            raise InterruptedTrainingError(f"{stop}; go on with the same command and --resume") from None


def score_network(
    net: SegmentationNet, samples: Sequence[LoadedSample], card: ModelCard, place: Place
) -> dict[str, float | None]:
    """Pooled figures of a network on annotated images, predicted as ``frugalseg predict`` does without flips."""
    engine = TorchEngine(net, bf16=place.bf16)
    scores = []
    for sample in samples:
        found = segment([engine], sample.image, scale=card.scale, settings=card.instances)
        scores.append(score_image(found.labels, sample.labels))
    figures = pool(scores).as_dict()
    return {name: figures[name] for name in CURVE_FIGURES}


def _record(out: Path, row: dict[str, Any]) -> None:
    """Append a row; rows of steps that are done again after a kill are replaced."""
    rows = [before for before in read_metrics(out) if before["step"] < row["step"]]
    write_text(out / METRICS, "".join(json.dumps(each) + "\n" for each in [*rows, row]))


def _sentence(row: dict[str, Any], steps: int) -> str:
    text = f"step {row['step']}/{steps}: loss {row['loss']:.3f}, {row['seconds_per_step']:.2f} s a step"
    for side in ("training", "validation"):
        if row.get(f"{side}_object_dice") is not None:
            text += f"; {side} object Dice {row[f'{side}_object_dice']:.3f}, F1 {row[f'{side}_object_f1']:.3f}"
    return text


def load_net(folder: Path) -> tuple[SegmentationNet, ModelCard]:
    """The trained network of a run folder, in evaluation mode, and its card."""
    from frugalseg.train.checkpoint import load_tensors

    if not (folder / CARD).exists() and (folder / CONFIG).exists():
        raise InputError(folder, "training has not finished; go on with 'frugalseg train … --resume'")
    card = read_card(folder)
    tensors, _ = load_tensors(folder / WEIGHTS)
    net = build_net(card.net, len(card.class_names))
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(folder / WEIGHTS, f"does not fit the network {card.net!r} ({reason})") from None
    return net.eval(), card
