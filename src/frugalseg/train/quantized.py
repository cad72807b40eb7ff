"""The quantized phase: from a trained run to one whose weights need few bits."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from frugalseg.errors import ConfigError, InputError
from frugalseg.locking import training_lock
from frugalseg.model_files import DIVISOR, MEAN, ModelCard
from frugalseg.nets import SegmentationNet
from frugalseg.quant.batch_norm import reestimate_batch_norm
from frugalseg.quant.controls import Control, control_module
from frugalseg.quant.freezing import advance_portion
from frugalseg.quant.layers import bake, quantize_module
from frugalseg.quant.rate import mean_code_bits
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import RunResult, begin_folder, check_folder, finish, finished, read_config, train_config
from frugalseg.train.lesson import Lesson, load_teachers, prepare_unlabelled
from frugalseg.train.loop import Place
from frugalseg.train.optimiser import AveragedNet, Course
from frugalseg.train.patches import PreparedImage, draw_batch
from frugalseg.train.plan import DataChoice, Plan, choose_place, load_samples, named, open_training_data, prepare
from frugalseg.train.quantize_config import CONTROLS, QuantizeConfig
from frugalseg.train.run import Tellers, run_loop
from frugalseg.train.teachers import Teachers
from frugalseg.train.weights import describe_source, load_float_net

log = logging.getLogger(__name__)

OTHER_PATCHES = 1_000_003
"""Added to the seed, so that the phase does not repeat the patches of the float phase."""


def quantize_run(
    source: Path,
    config: QuantizeConfig,
    out: Path,
    *,
    data: Path | None = None,
    resume: bool = False,
    wait: bool = True,
    names: Sequence[str] | None = None,
    draw: int = 0,
    locked: bool = False,
    on_report: Callable[[Path], None] | None = None,
    beside: Path | None = None,
    n_notes: int = 0,
    lesson: Lesson | None = None,
) -> RunResult:
    """Quantize the trained float network of `source`, train it on, and leave a run folder that can predict.

    With INQ and its controls each cycle begins by freezing the next portion of the averaged weights; the other methods
    quantize from the first step. At the end the statistics of batch normalisation are measured anew. The source is not
    touched.

    Parameters
    ----------
    source
        A finished run with float weights.
    config
        All settings of the phase; those of patches, losses and device are the source's.
    out
        The run folder; must not hold a run unless `resume`.
    data
        Where the source's training data lies now, if it has moved.
    names
        Images to train on, of the source's; one named twice counts twice. The source's own if not given.
    draw
        Phases of one source that differ in this number draw other patches.
    locked
        The caller holds the training lock.
    beside
        A folder in `out` that may be there already, as the float run of ``train --quantize``.
    n_notes
        As for :func:`frugalseg.train.run.train`.
    lesson
        Networks that are imitated, ``config.distillation`` being their share of the loss (Hinton et al., 2015), and
        images without annotations, from which nothing else is learnt.

    Raises
    ------
    InputError, ConfigError, TrainingError
        As :func:`frugalseg.train.run.train`; and a source that is unfinished or quantized already.
    """
    card_spec = config.spec
    check_folder(out, resume, beside)
    net, card = load_float_net(source)
    before = read_config(source)
    if names is not None:
        before["data"]["train"] = list(names)
    phase_config = _phase_config(train_config(source, before), config, draw)
    place = choose_place(phase_config)
    plan = _plan(before, phase_config, dataclasses.replace(card, quantization=card_spec), place, data)
    document = {
        "config": before["config"],
        "quantize": dataclasses.asdict(config),
        "source": describe_source(source),
        **plan.describe(),
    }
    teachers, extra = None, []
    if lesson is not None and lesson.teachers:
        teachers = Teachers(load_teachers(lesson.teachers, source, card), config.distillation)
        extra = prepare_unlabelled(lesson, card)
        document["teachers"] = lesson.describe()
    elif lesson is not None and lesson.unlabelled is not None:
        raise ConfigError("unlabelled", "images without annotations need teachers")
    loaded, held_out = load_samples(plan.dataset, plan.train), load_samples(plan.dataset, plan.validation)
    _put_on(net, config, phase_config.seed)  # refuses what does not fit the network, before anything is written
    with contextlib.nullcontext() if locked else training_lock(out, wait):
        if not begin_folder(out, document, resume, beside):
            tellers = Tellers(plan, loaded, held_out, out, on_report, n_notes)
            images = [prepare(sample, plan.card.scale) for sample in loaded]
            trained = _train(net, config, [*images, *extra], tellers, teachers)
            finish(out, trained, plan.card, steps=config.steps)
    return finished(out)


def _phase_config(source: TrainConfig, config: QuantizeConfig, draw: int) -> TrainConfig:
    """The source's settings with the phase's steps and rate."""
    return dataclasses.replace(
        source,
        steps=max(1, config.steps),
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        seed=(source.seed + OTHER_PATCHES * (draw + 1)) % 2**63,
        validate_every=max(1, -(-config.steps // max(4, config.n_cycles))),
        checkpoint_every=0,
        device="auto" if source.device == "cuda" else source.device,  # a phase may run elsewhere
        weight_decay=source.weight_decay if config.weight_decay is None else config.weight_decay,
    )


def _put_on(net: SegmentationNet, config: QuantizeConfig, seed: int) -> None:
    """Quantizers, or controls of INQ, on the weights; nothing where training only goes on."""
    schedule = config.schedule
    if schedule is None:
        return
    if config.method in CONTROLS:
        control_module(net, schedule, cast(Control, config.method), seed)
    else:
        quantize_module(net, schedule)


def _plan(before: dict[str, Any], config: TrainConfig, card: ModelCard, place: Place, data: Path | None) -> Plan:
    """The plan of the phase: the same images on the same sides as the source had."""
    described = before["data"]
    groups = None if described["groups"] is None else Path(described["groups"])
    choice = DataChoice(data or Path(described["root"]), described["subset"], groups, described["ignore_value"])
    dataset = open_training_data(choice, config)
    try:
        train, validation = named(dataset, (described["train"], described["validation"]))
    except KeyError as error:
        raise InputError(choice.root, f"no longer holds the training image {error}") from None
    plan = Plan(config, choice, dataset, train, validation, card, place)
    if plan.describe()["data"]["sha256"] != described["sha256"]:
        raise InputError(choice.root, "has changed since the source was trained")
    return plan


def _train(
    net: SegmentationNet,
    config: QuantizeConfig,
    images: Sequence[PreparedImage],
    tellers: Tellers,
    teachers: Teachers | None,
) -> SegmentationNet:
    """The phase's steps, then what remains to be frozen and measured; controls as plain float networks."""
    plan = tellers.plan
    schedule = config.schedule
    portions = schedule.portions if schedule is not None and schedule.method == "inq" else ()

    def begin(cycle: int, net: SegmentationNet, average: AveragedNet) -> None:
        if portions:
            advance_portion(net, portions[cycle], source=average.net)

    if config.steps:
        course = Course(config.n_cycles, begin, _penalty(config))
        net = run_loop(net, images, tellers, course, teachers)
    else:
        net = net.to(plan.place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if portions:
        advance_portion(net, 1.0)
    if config.norm_batches:
        reestimate_batch_norm(net, _inputs(images, plan, config.norm_batches))
    return bake(net) if config.method in CONTROLS else net


def _penalty(config: QuantizeConfig) -> Callable[[SegmentationNet], torch.Tensor] | None:
    """What few-bit codes cost in the loss."""
    factor = config.entropy_factor
    return (lambda net: factor * mean_code_bits(net)) if factor else None


def _inputs(images: Sequence[PreparedImage], plan: Plan, n_batches: int) -> Iterator[torch.Tensor]:
    """Normalised patches as training sees them, of steps beyond the phase's."""
    for step in range(plan.config.steps, plan.config.steps + n_batches):
        colours = draw_batch(images, plan.config, step).images
        yield ((colours - MEAN) / DIVISOR).to(plan.place.device, memory_format=torch.channels_last)
