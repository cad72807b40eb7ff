"""The training loop."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from frugalseg.errors import StoppedError, TrainingError
from frugalseg.images import median_object_diameter
from frugalseg.losses import imitation_loss, segmentation_loss
from frugalseg.model_files import DIVISOR, MEAN
from frugalseg.nets import SegmentationNet
from frugalseg.train.checkpoint import Progress, load_newest, save_checkpoint, save_tensors
from frugalseg.train.config import TrainConfig
from frugalseg.train.optimiser import AveragedNet, Course, build_optimiser, rate_at, set_rate
from frugalseg.train.patches import Batch, PreparedImage, draw_batch
from frugalseg.train.teachers import Teachers

log = logging.getLogger(__name__)

MAX_ROLLBACKS = 3


class InterruptedTrainingError(StoppedError, TrainingError):
    """The user asked training to stop; the state is saved."""


@dataclass(frozen=True)
class Place:
    """Where and how the arithmetic is done."""

    device: torch.device
    bf16: bool


@dataclass(frozen=True)
class Hooks:
    """What the loop tells the outside.

    Attributes
    ----------
    score
        Figures of a network by name, ``validation_…`` on held-out images, ``training_…`` on some it has seen.
    record
        Takes one row of metrics.
    advance
        Takes the number of steps done and the smoothed loss, at every step.
    note, note_every
        Takes a row of metrics without figures, every so many steps and at checkpoints, where there is no validation;
        0 for never. It costs nothing.
    """

    score: Callable[[SegmentationNet], dict[str, float | None]]
    record: Callable[[dict[str, Any]], None]
    advance: Callable[[int, float], None]
    note: Callable[[dict[str, Any]], None] = lambda row: None
    note_every: int = 0


def fit(
    net: SegmentationNet,
    images: Sequence[PreparedImage],
    config: TrainConfig,
    place: Place,
    folder: Path,
    hooks: Hooks,
    course: Course | None = None,
    teachers: Teachers | None = None,
) -> SegmentationNet:
    """Train `net` to ``config.steps``, going on from the newest checkpoint in `folder` if there is one.

    A batch follows from the seed and the step's number alone, and a checkpoint holds everything else, so a run that
    was killed and resumed ends with the same weights to the bit (same threads, same processor).

    Returns
    -------
    The network with averaged weights.

    Raises
    ------
    TrainingError
        The loss stayed infinite after three roll-backs, each at half the rate.
    InterruptedTrainingError
        Ctrl-C; the state is saved.
    """
    course = course or Course()
    if teachers is not None:
        teachers.to(place.device)
    net = net.to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = build_optimiser(net, config)
    average = AveragedNet(net, config.ema_decay)
    every = config.checkpoint_every or _validation_interval(config)
    diameter_px = median_object_diameter(image.labels for image in images)
    with _interruptible() as interrupted:
        progress = load_newest(folder, net, average, optimiser)
        if progress is None:
            progress = Progress()
            save_checkpoint(folder, net, average, optimiser, progress)
        window = _Window()
        while progress.step < config.steps:
            _, first, _ = course.cycle_at(progress.step, config.steps)
            if progress.step == first and course.begin is not None:
                _begin_cycle(net, average, optimiser, course, config, progress.step)
            rate = rate_at(progress.step, config, course) * progress.rate_factor
            batch = draw_batch(images, config, progress.step)
            loss = _step(net, optimiser, config, place, batch, rate, diameter_px, teachers, course.penalty)
            if not math.isfinite(loss):
                progress = _roll_back(folder, net, average, optimiser, progress, loss)
                window = _Window()
                continue
            average.update(net, progress.step - first)
            progress = replace(progress, step=progress.step + 1)
            window.add(loss)
            hooks.advance(progress.step, window.mean)
            if progress.step % _validation_interval(config) == 0 or progress.step == config.steps:
                progress = _report(average, rate, folder, hooks, progress, window)
                window = _Window()
            elif hooks.note_every and (progress.step % hooks.note_every == 0 or progress.step % every == 0):
                hooks.note(_row(progress.step, rate, window))
                window = _Window()
            if progress.step % every == 0 or progress.step == config.steps or interrupted.is_set():
                save_checkpoint(folder, net, average, optimiser, progress)
            if interrupted.is_set():  # after the last step too: more may follow, such as a phase or another member
                raise InterruptedTrainingError(f"interrupted after {progress.step} of {config.steps} steps; saved")
    return average.net


def _validation_interval(config: TrainConfig) -> int:
    return config.validate_every or max(1, config.steps // 20)


def _begin_cycle(
    net: SegmentationNet,
    average: AveragedNet,
    optimiser: torch.optim.Optimizer,
    course: Course,
    config: TrainConfig,
    step: int,
) -> None:
    """Let the course change the network, then restart what remembers the one before.

    A checkpoint of this step was written before, so a resumed run comes by here too.
    """
    assert course.begin is not None
    course.begin(course.cycle_at(step, config.steps)[0], net, average)
    average.restart(net)
    optimiser.state.clear()


def _step(
    net: SegmentationNet,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    place: Place,
    batch: Batch,
    rate: float,
    diameter_px: float,
    teachers: Teachers | None,
    penalty: Callable[[SegmentationNet], torch.Tensor] | None,
) -> float:
    """One optimiser step; weights stay as they were if the loss or the gradient is not finite."""
    loss = loss_of(net, batch, config, place, diameter_px, teachers)
    if penalty is not None:
        loss = loss + penalty(net)
    value = float(loss.detach())
    if not math.isfinite(value):
        return value
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm, foreach=True))
    if math.isfinite(norm):
        set_rate(optimiser, rate)
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return value if math.isfinite(norm) else norm


def loss_of(
    net: SegmentationNet,
    batch: Batch,
    config: TrainConfig,
    place: Place,
    diameter_px: float = math.nan,
    teachers: Teachers | None = None,
) -> torch.Tensor:
    """The loss of one batch, with the graph that its gradient needs; its share of imitation where there are teachers.

    `diameter_px` is the median object's at the network's scale; where it is not known, that which the network is for.
    """
    colours = batch.images.to(place.device, memory_format=torch.channels_last)
    inputs = (colours - MEAN) / DIVISOR
    with torch.autocast(place.device.type, torch.bfloat16, enabled=place.bf16):
        logits = net(inputs)
        targets = None if teachers is None else teachers.probabilities(inputs)
    loss = segmentation_loss(
        logits.float(),
        batch.labels.to(place.device),
        batch.lookup.to(place.device),
        border_px=config.border_px,
        gap_px=config.gap_px,
        gap_factor=config.gap_factor,
        diameter_px=diameter_px if math.isfinite(diameter_px) else net.default_object_diameter_px,
        small_factor=config.small_factor,
        dice_factor=config.dice_factor,
        border_factor=config.border_factor,
    )
    if teachers is None or targets is None:
        return loss
    return (1 - teachers.share) * loss + teachers.share * imitation_loss(logits.float(), targets)


def _roll_back(
    folder: Path,
    net: SegmentationNet,
    average: AveragedNet,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    loss: float,
) -> Progress:
    """Go back to the newest checkpoint at half the rate; give up the fourth time."""
    where = f"at step {progress.step + 1}, learning-rate factor {progress.rate_factor:g}"
    cause = f"the loss or its gradient became {loss} {where}"
    if progress.rollbacks >= MAX_ROLLBACKS:
        raise TrainingError(f"training diverged: {cause}, after {MAX_ROLLBACKS} roll-backs; lower --learning-rate")
    earlier = load_newest(folder, net, average, optimiser)
    if earlier is None:
        raise TrainingError(f"training diverged: {cause}, and there is no checkpoint to go back to")
    log.warning("%s; going back to step %d at half the rate", cause, earlier.step)
    return replace(earlier, rate_factor=progress.rate_factor / 2, rollbacks=progress.rollbacks + 1)


def _report(
    average: AveragedNet, rate: float, folder: Path, hooks: Hooks, progress: Progress, window: _Window
) -> Progress:
    """Validate the averaged network, write a row of metrics, keep it if it is the best so far."""
    row = _row(progress.step, rate, window) | hooks.score(average.net)
    dice = row.get("validation_object_dice")
    if dice is not None and (progress.best is None or dice > progress.best):
        progress = replace(progress, best=dice)
        save_tensors(folder / "best.safetensors", average.net.state_dict(), {"step": progress.step, "dice": dice})
    hooks.record(row)
    return progress


def _row(step: int, rate: float, window: _Window) -> dict[str, Any]:
    """A row of metrics without figures."""
    return {
        "step": step,
        "loss": window.mean,
        "learning_rate": rate,
        "seconds_per_step": window.seconds_per_step,
    }


class _Window:
    """Mean loss and pace since the last report."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.losses: list[float] = []

    def add(self, loss: float) -> None:
        self.losses.append(loss)

    @property
    def mean(self) -> float:
        return sum(self.losses) / len(self.losses)

    @property
    def seconds_per_step(self) -> float:
        return (time.monotonic() - self.start) / max(1, len(self.losses))


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets instead of raising; a second Ctrl-C raises. In other threads it stays unset."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, previous)
