"""A trained model on disk: ``model.json`` says what it is, ``model.safetensors`` holds its weights; without torch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json
from frugalseg.errors import InputError, Problem
from frugalseg.familiarity import Familiarity
from frugalseg.instances import InstanceSettings
from frugalseg.quant import QuantSpec
from frugalseg.stain import Stain, mean_stain

log = logging.getLogger(__name__)

CARD = "model.json"
WEIGHTS = "model.safetensors"
FORMAT = 1

MAX_RATIO = 16.0
"""Pixels that differ from the training images' by more than this factor are a wrong pixel size, not a microscope's."""

MAX_ENLARGEMENT = 4.0
"""Images are enlarged by this factor at most: training enlarges twofold at most, and memory grows with the square."""

MEAN, DIVISOR = 127.0, 128.0
"""Networks get (colour - MEAN) / DIVISOR, colours 0-255: as EfficientNet-Lite was trained; the same for all."""


@dataclass(frozen=True)
class ModelCard:
    """All that prediction needs beside the weights.

    Attributes
    ----------
    net
        Name of the network.
    class_names
        Object classes, background not counted.
    scale
        Factor from the training images' pixels to the network's.
    pixel_size_um
        Size of a training image's pixel, where it was known.
    object_diameter_px
        Median diameter of the training objects, full size.
    instances
        How probabilities become objects.
    quantization
        How the weights are quantized; None for float weights.
    familiarity
        How the training images look; None where there were too few to say.
    stain
        What images' stain is brought to before the network sees them; None leaves it.
    """

    net: str
    class_names: tuple[str, ...]
    scale: float
    pixel_size_um: float | None
    object_diameter_px: float
    instances: InstanceSettings
    quantization: QuantSpec | None = None
    familiarity: Familiarity | None = None
    stain: Stain | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "pixel_size_um", "object_diameter_px"):
            value = getattr(self, name)
            if name == "pixel_size_um" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < float(value) < math.inf:
                raise ValueError(f"{name} must be a positive number, not {value!r}")
        if not self.class_names or not all(isinstance(name, str) for name in self.class_names):
            raise ValueError(f"class_names must be a list of names, not {self.class_names!r}")

    def scale_for(self, pixel_size_um: float | None) -> float:
        """Factor for an image whose pixels have this size; the training images' own where either size is unknown."""
        if pixel_size_um is None or self.pixel_size_um is None:
            return self.scale
        return self.scale * pixel_size_um / self.pixel_size_um


def read_familiarity(document: dict[str, Any]) -> Familiarity:
    """What ``dataclasses.asdict`` gave and JSON brought back; ``ValueError`` or ``TypeError`` for anything else."""
    values = {name: document[name] for name in ("mean", "spread", "precision", "threshold")}
    return Familiarity(
        tuple(map(float, values["mean"])),
        tuple(map(float, values["spread"])),
        tuple(tuple(map(float, row)) for row in values["precision"]),
        float(values["threshold"]),
    )


def read_stain(document: dict[str, Any]) -> Stain:
    """What ``dataclasses.asdict`` gave and JSON brought back; ``ValueError`` or ``TypeError`` for anything else."""
    return Stain(tuple(map(float, document["level"])), tuple(map(float, document["spread"])))


def check_sizes(
    card: ModelCard,
    files: Sequence[Path],
    sizes: Sequence[float | None],
    given: float | None = None,
    *,
    flag: bool = True,
) -> None:
    """Refuse pixel sizes too far from the training images' to be right, or to be seen; a given one is named once.

    Parameters
    ----------
    card
        Knows the training images' size.
    files, sizes
        What the images' files say, in µm.
    given
        A size that somebody gave for all of them.
    flag
        Whether there is a flag with which to give one.

    Raises
    ------
    InputError
        Names every image, or the flag.
    """
    named = [("--pixel-size", given)] if given else list(zip(map(str, files), sizes, strict=True))
    remedy = " (--pixel-size UM corrects it)" if flag and not given else ""
    problems = []
    for where, size in named:
        if not size or not card.pixel_size_um:
            continue
        told = f"pixels of {size:g} µm, the training images had {card.pixel_size_um:g} µm"
        if not 1 / MAX_RATIO <= size / card.pixel_size_um <= MAX_RATIO:
            problems.append(Problem(where, f"{told}: more than {MAX_RATIO:g} times apart{remedy}"))
        elif (factor := card.scale_for(size)) > max(MAX_ENLARGEMENT, card.scale):
            told += f": would be enlarged {factor:.1f} times, {MAX_ENLARGEMENT:g} at most"
            problems.append(Problem(where, told + remedy))
    if problems:
        raise InputError.of(problems)


def check_members(paths: Sequence[Path], cards: Sequence[ModelCard]) -> None:
    """Refuse models that cannot be averaged: other classes, another network, another scale.

    Raises
    ------
    InputError
        Names the first model that does not fit the very first one.
    """
    for path, card in zip(paths, cards, strict=True):
        first = cards[0]
        if card.class_names != first.class_names:
            raise InputError(path, f"has the classes {card.class_names}, the first member has {first.class_names}")
        if card.net != first.net or not math.isclose(*_resolutions(first, card), rel_tol=0.25):
            raise InputError(path, "differs from the first member in network or image scale")


def _resolutions(one: ModelCard, other: ModelCard) -> tuple[float, float]:
    """How large a pixel of either network is: in µm where both know it, else in pixels of their images."""
    if one.pixel_size_um is None or other.pixel_size_um is None:
        return 1 / one.scale, 1 / other.scale
    return one.pixel_size_um / one.scale, other.pixel_size_um / other.scale


def joint_card(cards: Sequence[ModelCard]) -> ModelCard:
    """The card of an ensemble: that of the first member, with the middle of all members' stains, without a rejector.

    Where a member leaves images in their own stain, the ensemble does. A rejector is for the maps of one network.
    """
    if len(cards) > 1 and any(card.instances.rejector is not None for card in cards):
        log.warning("a rejector of false objects is for one network's maps; the ensemble goes without")
        cards = [replace(card, instances=replace(card.instances, rejector=None)) for card in cards]
    stains = [card.stain for card in cards if card.stain is not None]
    if len(stains) < len(cards):
        if stains:
            log.warning("a member leaves images in their own stain, so the ensemble does")
        return replace(cards[0], stain=None)
    return cards[0] if all(stain == stains[0] for stain in stains) else replace(cards[0], stain=mean_stain(stains))


def write_card(folder: Path, card: ModelCard) -> None:
    """Write ``model.json``."""
    write_json(folder / CARD, {"format": FORMAT, **asdict(card)})


def read_card(folder: Path) -> ModelCard:
    """Read ``model.json``; a clear error where it is missing, newer than this program, or not what it should be."""
    path = folder / CARD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise InputError(path, f"has another format than {FORMAT}, the one this version reads")
        document["instances"] = InstanceSettings.from_document(document["instances"])
        if document.get("quantization") is not None:
            document["quantization"] = QuantSpec.from_document(document["quantization"])
        if document.get("familiarity") is not None:
            document["familiarity"] = read_familiarity(document["familiarity"])
        if document.get("stain") is not None:
            document["stain"] = read_stain(document["stain"])
        document["class_names"] = tuple(document["class_names"])
        return ModelCard(**document)
    except FileNotFoundError:
        raise InputError(folder, f"holds no trained model (no {CARD})") from None
    except KeyError as error:
        raise InputError(path, f"not a readable model card ({error} is missing)") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(path, f"not a readable model card ({error})") from None
