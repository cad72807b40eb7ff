"""One training run in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from frugalseg.engines.torch import TorchEngine
from frugalseg.images import Dataset, LoadedSample
from frugalseg.locking import training_lock
from frugalseg.metrics import pool, score_image
from frugalseg.model_files import ModelCard
from frugalseg.nets import SegmentationNet
from frugalseg.segmentation import segment
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import (
    CHECKPOINTS,
    RunResult,
    begin_folder,
    check_folder,
    check_same,
    finish,
    finished,
    read_config,
    record_row,
    train_config,
)
from frugalseg.train.loop import Hooks, InterruptedTrainingError, Place, fit
from frugalseg.train.optimiser import Course
from frugalseg.train.patches import PreparedImage
from frugalseg.train.plan import (
    DataChoice,
    Plan,
    build_card,
    check_batches,
    choose_place,
    choose_validation,
    load_samples,
    log_notes,
    named,
    open_training_data,
    prepare,
)
from frugalseg.train.teachers import Teachers
from frugalseg.train.weights import check_start, describe_source, first_net

log = logging.getLogger(__name__)

N_TRAINING_SCORED = 8
"""About so many training images are scored beside the held-out ones: the gap between the two shows overfitting."""

CURVE_FIGURES = ("object_f1", "object_dice", "object_hausdorff", "pixel_dice")


def train(
    config: TrainConfig,
    data: Path | DataChoice,
    out: Path,
    *,
    resume: bool = False,
    wait: bool = True,
    split: tuple[Sequence[str], Sequence[str]] | None = None,
    start: Path | None = None,
    locked: bool = False,
    on_report: Callable[[Path], None] | None = None,
    n_notes: int = 0,
    described: Sequence[str] | None = None,
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
        Names of the training and validation images; chosen by ``config.validation`` if not given. A training image
        named twice counts twice, as in a bootstrap sample.
    start
        A finished run or a packed file of the same network, to begin from its weights and not from ImageNet's.
    locked
        The caller holds the training lock, for several trainings side by side.
    on_report
        Called with the run folder after every validation, for pictures.
    n_notes
        At least so many rows of metrics, most of them with the loss alone: how far a long run is. 0 for those of
        validations.
    described
        Names of the images that tell the scale, sizes of objects and how images look; the training images if not given.
        Members of an ensemble share them, whatever each has drawn.

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
    check_folder(out, resume)
    check_batches(config)
    place = choose_place(config)
    dataset = open_training_data(choice, config)
    chosen = choose_validation(dataset, config) if split is None else named(dataset, split)
    if split is None:
        log_notes(dataset, divided=bool(chosen[1]))
    loaded, held_out = load_samples(dataset, chosen[0]), load_samples(dataset, chosen[1])
    shown = loaded if described is None else load_samples(dataset, named(dataset, (described, ()))[0])
    card = build_card(dataset, shown, config)
    plan = Plan(config, choice, dataset, *chosen, card, place)
    document = {"config": dataclasses.asdict(config), **plan.describe()}
    if start is not None:
        check_start(config, start)
        document["source"] = describe_source(start)
    if resume:
        check_same(out, document)
    with contextlib.nullcontext() if locked else training_lock(out, wait):
        if not begin_folder(out, document, resume):
            images = [prepare(sample, card.scale) for sample in loaded]
            net = first_net(config, card, start)
            trained = run_loop(net, images, Tellers(plan, loaded, held_out, out, on_report, n_notes))
            finish(out, trained, card, steps=config.steps)
    return finished(out)


def reopen_data(out: Path) -> Dataset:
    """Open the data set that a run was trained on, from where its folder says it lay."""
    document = read_config(out)
    data = document["data"]
    groups = None if data["groups"] is None else Path(data["groups"])
    choice = DataChoice(Path(data["root"]), data["subset"], groups, data["ignore_value"])
    return open_training_data(choice, train_config(out, document))


@dataclass(frozen=True)
class Tellers:
    """What a run is told by and tells: plan, images it is scored on, folder, who draws pictures, how often it notes."""

    plan: Plan
    loaded: Sequence[LoadedSample]
    held_out: Sequence[LoadedSample]
    out: Path
    on_report: Callable[[Path], None] | None
    n_notes: int = 0

    def record(self, row: dict[str, Any]) -> None:
        """Keep a row of metrics, log it, have the pictures drawn."""
        record_row(self.out, row)
        log.info("%s", _sentence(row, self.plan.config.steps))
        if self.on_report is not None:
            self.on_report(self.out)

    def note(self, row: dict[str, Any]) -> None:
        """Keep a row without figures."""
        record_row(self.out, row)

    @property
    def note_every(self) -> int:
        """Steps between such rows; 0 for none."""
        return max(1, self.plan.config.steps // self.n_notes) if self.n_notes else 0

    def score(self, net: SegmentationNet) -> dict[str, float | None]:
        """Figures on the held-out images and on some training images."""
        sides = {
            "validation": self.held_out,
            "training": self.loaded[:: max(1, len(self.loaded) // N_TRAINING_SCORED)],
        }
        return {
            f"{side}_{name}": value
            for side, samples in sides.items()
            if samples
            for name, value in score_network(net, samples, self.plan.card, self.plan.place).items()
        }


def run_loop(
    net: SegmentationNet,
    images: Sequence[PreparedImage],
    tellers: Tellers,
    course: Course | None = None,
    teachers: Teachers | None = None,
) -> SegmentationNet:
    """Run the loop with a progress bar, metrics and validation; returns the averaged network."""
    plan = tellers.plan
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(plan.config.net, total=plan.config.steps)

        def advance(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"{plan.config.net}  loss {loss:.3f}")

        hooks = Hooks(tellers.score, tellers.record, advance, tellers.note, tellers.note_every)
        try:
            return fit(net, images, plan.config, plan.place, tellers.out / CHECKPOINTS, hooks, course, teachers)
        except InterruptedTrainingError as stop:
            raise InterruptedTrainingError(f"{stop}; go on with the same command and --resume") from None


def score_network(
    net: SegmentationNet, samples: Sequence[LoadedSample], card: ModelCard, place: Place
) -> dict[str, float | None]:
    """Pooled figures of a network on annotated images, predicted as ``frugalseg predict`` does without ``--tta``."""
    engine = TorchEngine(net, bf16=place.bf16)
    scores = []
    for sample in samples:
        found = segment([engine], sample.image, scale=card.scale, settings=card.instances, stain=card.stain)
        scores.append(score_image(found.labels, sample.labels))
    figures = pool(scores).as_dict()
    return {name: figures[name] for name in CURVE_FIGURES}


def _sentence(row: dict[str, Any], steps: int) -> str:
    text = f"step {row['step']}/{steps}: loss {row['loss']:.3f}, {row['seconds_per_step']:.2f} s a step"
    for side in ("training", "validation"):
        if row.get(f"{side}_object_dice") is not None:
            text += f"; {side} object Dice {row[f'{side}_object_dice']:.3f}, F1 {row[f'{side}_object_f1']:.3f}"
    return text
