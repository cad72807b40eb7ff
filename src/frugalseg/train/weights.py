"""Trained weights: those of a run folder as they are, and those that training begins from."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch

from frugalseg.artifact import NOT_STATED, Artifact, Member, read_artifact
from frugalseg.errors import InputError
from frugalseg.graphs import float_tensors
from frugalseg.model_files import CARD, DIVISOR, MEAN, WEIGHTS, ModelCard, read_card
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.quant.layers import bake, quantize_module
from frugalseg.train.checkpoint import load_tensors
from frugalseg.train.config import TrainConfig
from frugalseg.train.folder import CONFIG, read_config

log = logging.getLogger(__name__)


def load_net(folder: Path) -> tuple[SegmentationNet, ModelCard]:
    """The trained network of a run folder, in evaluation mode, and its card; quantizers stay on the weights."""
    if not (folder / CARD).exists() and (folder / CONFIG).exists():
        raise InputError(folder, "training has not finished; go on with 'frugalseg train … --resume'")
    card = read_card(folder)
    tensors, _ = load_tensors(folder / WEIGHTS)
    try:
        net = build_net(card.net, len(card.class_names))
    except ValueError as error:  # a network or a number of classes that this version cannot build
        raise InputError(folder / CARD, str(error)) from None
    if card.quantization is not None:
        quantize_module(net, card.quantization)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(folder / WEIGHTS, f"does not fit the network {card.net!r} ({reason})") from None
    return net.eval(), card


def load_float_net(folder: Path) -> tuple[SegmentationNet, ModelCard]:
    """As :func:`load_net`; refuses few-bit weights, which are not quantized a second time."""
    net, card = load_net(folder)
    if card.quantization is not None:
        raise InputError(folder, f"is quantized already ({card.quantization.method}); begin with a float run")
    return net, card


def packed_net(artifact: Artifact, member: Member, name: Path) -> SegmentationNet:
    """This package's own network with the weights of a packed file's member, few-bit ones as floats.

    Raises
    ------
    InputError
        Names the file `name`, whose tensors are not those of the network.
    """
    kind = artifact.card.net
    if (artifact.mean, artifact.divisor) != (MEAN, DIVISOR):
        raise InputError(name, "normalises images unlike networks of this package (predict without --engine runs it)")
    try:
        net = build_net(kind, len(artifact.card.class_names))
        weights = {key: torch.from_numpy(np.array(value)) for key, value in float_tensors(member)}
        missing = net.load_state_dict(weights, strict=False)
    except (ValueError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = lines[1] if isinstance(error, RuntimeError) and len(lines) > 1 else lines[0]
        raise InputError(name, f"does not fit the network {kind!r} ({reason})") from None
    absent = [key for key in missing.missing_keys if not key.endswith("num_batches_tracked")]
    if absent:
        raise InputError(name, f"lacks {absent[0]} of the network {kind!r}")
    return net.eval()


def load_start(path: Path) -> tuple[SegmentationNet, ModelCard]:
    """The network that training may begin from: a run's or a packed file's, its weights floats whatever they were.

    Raises
    ------
    InputError
        There is no such model, it is unfinished, or it holds several networks.
    """
    if not path.exists():
        raise InputError(path, "no such model")
    if path.is_dir():
        net, card = load_net(path)
        return (net if card.quantization is None else bake(net)), card
    if path.suffix != ".fseg":
        raise InputError(path, "is neither a run folder nor a packed model (.fseg)")
    artifact = read_artifact(path)
    if len(artifact.members) > 1:
        raise InputError(path, f"holds {len(artifact.members)} networks; begin from a model of one")
    return packed_net(artifact, artifact.members[0], path), artifact.card


def check_start(config: TrainConfig, start: Path) -> None:
    """Refuse a model that training with these settings cannot begin from, before anything is made.

    Raises
    ------
    InputError
        As :func:`load_start`; or the model is another network.
    """
    _check_kind(start, load_start(start)[1], config)


def _check_kind(start: Path, card: ModelCard, config: TrainConfig) -> None:
    if card.net != config.net:
        raise InputError(start, f"holds a {card.net!r}, not a {config.net!r}; choose it with --net {card.net}")


def first_net(config: TrainConfig, card: ModelCard, start: Path | None) -> SegmentationNet:
    """The network before the first step: a new one, or one with the weights of the model to begin from.

    Where that has another number of classes, its last layer, whose shape depends on it, begins anew.

    Raises
    ------
    InputError
        As :func:`load_start`; or the model is another network.
    """
    n_classes = len(card.class_names)
    if start is None:
        return build_net(config.net, n_classes, seed=config.seed, pretrained=config.pretrained)
    net, before = load_start(start)
    _check_kind(start, before, config)
    if len(before.class_names) == n_classes:
        return net
    log.info("%s knows %d classes, not %d: its last layer begins anew", start, len(before.class_names), n_classes)
    fresh = build_net(config.net, n_classes, seed=config.seed)
    wanted = fresh.state_dict()
    kept = {name: value for name, value in net.state_dict().items() if value.shape == wanted[name].shape}
    fresh.load_state_dict(wanted | kept)
    return fresh


def describe_source(path: Path) -> dict[str, str]:
    """Which weights a run began from, and their terms where they have any, for its ``config.json``."""
    packed = path.is_file()
    with (path if packed else path / WEIGHTS).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    terms = licence_of(path)
    described = {"run": str(path.resolve()), "sha256": digest}
    return described if terms == NOT_STATED else {**described, "licence": terms}


def licence_of(path: Path) -> str:
    """Terms of a model's weights: a packed file's own, a run's those of what it began from and of its teachers.

    What the images that a run learned from ask for nobody but its user knows.
    """
    if path.is_file():
        return read_artifact(path).licence
    if not (path / CONFIG).exists():
        return NOT_STATED
    document = read_config(path)
    learned_from = [document.get("source") or {}, *(document.get("teachers") or {}).get("runs", ())]
    terms = dict.fromkeys(str(each["licence"]) for each in learned_from if "licence" in each)
    return "; ".join(terms) or NOT_STATED
