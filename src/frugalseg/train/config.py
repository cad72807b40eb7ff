"""Settings of a training run. Imports no torch, so that ``--help`` stays fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NetName = Literal["lite", "unet", "fcn"]


def setting(default: Any, text: str) -> Any:
    """A dataclass field with a help text; the flag and the TOML key carry the field's name."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """All settings of one run; each is also a flag of ``frugalseg train`` and a key of its TOML file."""

    net: NetName = setting("lite", "network")
    steps: int = setting(3000, "optimiser steps")
    batch_size: int = setting(4, "patches per step")
    patch_px: int = setting(256, "side of a training patch, pixels of the network's scale")
    object_diameter_px: float | None = setting(
        None, "diameter of the median object in the network's input; the network's own default if not given"
    )
    image_scale: float | None = setting(
        None, "factor from image pixels to the network's; from the median object if not given"
    )
    pixel_size_um: float | None = setting(None, "size of an image pixel in micrometres, where the files do not say")
    learning_rate: float = setting(2e-3, "peak rate of AdamW")
    encoder_rate: float = setting(0.5, "factor on the rate of pretrained layers")
    weight_decay: float = setting(0.02, "decoupled weight decay, on convolution weights only")
    warmup: float = setting(0.05, "share of the steps in which the rate rises from 0; it falls by a cosine after")
    clip_norm: float = setting(5.0, "largest norm of the gradient")
    ema_decay: float = setting(0.998, "decay per step of the averaged weights, which are the ones kept")
    border_px: int = setting(4, "width of the rim that the border output learns, pixels of the network's scale")
    gap_px: int = setting(6, "objects nearer than this have a gap that counts more, pixels of the network's scale")
    gap_factor: float = setting(3.0, "extra weight of such gaps")
    small_factor: float = setting(
        3.0, "objects narrower than the median count up to this many times more; 1 turns it off"
    )
    dice_factor: float = setting(1.0, "weight of the soft Dice loss")
    border_factor: float = setting(1.0, "weight of the border loss")
    flip: bool = setting(True, "augment by flips")
    rotate: bool = setting(True, "augment by any rotation")
    zoom: float = setting(1.6, "augment by scales from 1/zoom to zoom")
    elastic_px: float = setting(6.0, "augment by elastic shifts of this standard deviation")
    stain: float = setting(0.2, "augment stain strengths by this standard deviation")
    brightness: float = setting(0.1, "augment brightness and contrast by this standard deviation")
    validation: float = setting(0.0, "share of the annotated images held out for a validation curve; 0 trains on all")
    validate_every: int = setting(0, "steps between validations; 0 means twenty a run")
    checkpoint_every: int = setting(0, "steps between checkpoints; 0 means at each validation")
    debris: float = setting(0.07, "objects below this share of the median object's area are debris")
    min_confidence: float = setting(0.8, "small objects whose mean foreground probability is below this are removed")
    core_threshold: float = setting(0.6, "core probability at which an object's watershed starts")
    fragment: float = setting(
        0.7, "pieces below this share of the median object's area rejoin a neighbour where the border is weak; 0: never"
    )
    fragment_edge: float = setting(0.3, "a border is weak where the mean core probability along it is above this")
    opening_px: float = setting(
        2.0, "radius of the opening that takes thin spurs off objects, pixels of the network's scale; 0: none"
    )
    stain_matching: bool = setting(True, "bring the stain of images that are predicted to the training images'")
    border_weight: float = setting(1.0, "how much the border counts against a core; 0 means connected components")
    pretrained: bool = setting(True, "start from ImageNet weights where the network has them")
    precision: Literal["auto", "bf16", "fp32"] = setting("auto", "arithmetic of the convolutions")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to train")
    threads: int = setting(0, "processor threads; 0 means all cores")
    seed: int = setting(0, "seed of weights, patches, augmentation and splits")

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1, "batch_size": 1, "patch_px": 32, "border_px": 1, "gap_px": 1, "validate_every": 0,
            "checkpoint_every": 0, "threads": 0, "seed": 0, "learning_rate": 0, "weight_decay": 0, "gap_factor": 0,
            "dice_factor": 0, "border_factor": 0, "elastic_px": 0, "stain": 0, "brightness": 0, "debris": 0, "zoom": 1,
            "encoder_rate": 0,
            "small_factor": 1, "fragment": 0, "opening_px": 0,
        }  # fmt: skip
        for name, lowest in at_least.items():
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        shares = ("core_threshold", "border_weight", "min_confidence", "fragment_edge")
        for name in ("warmup", "ema_decay", "validation", *shares):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        for name in ("object_diameter_px", "image_scale", "pixel_size_um", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        for name, highest in {"seed": 2**63 - 1, "threads": 1024, "image_scale": 16, "opening_px": 16}.items():
            if (getattr(self, name) or 0) > highest:
                raise ValueError(f"{name} must be at most {highest}, not {getattr(self, name)}")


PRESETS: Mapping[str, Mapping[NetName, Mapping[str, Any]]] = {
    "smoke": {
        "lite": {"steps": 60, "batch_size": 2, "patch_px": 192, "validate_every": 20, "min_confidence": 0.0},
        "unet": {"steps": 40, "batch_size": 2, "patch_px": 128, "validate_every": 20, "min_confidence": 0.0},
        "fcn": {"steps": 24, "batch_size": 2, "patch_px": 192, "validate_every": 12, "min_confidence": 0.0},
    },
    "round": {
        "lite": {"steps": 300},
        "unet": {"steps": 140},
        "fcn": {"steps": 90},
    },
    "cpu": {
        "lite": {"steps": 3200},
        "unet": {"steps": 1300},
        "fcn": {"steps": 820},
    },
    "gpu": {
        "lite": {"steps": 8000, "batch_size": 16},
        "unet": {"steps": 8000, "batch_size": 16},
        "fcn": {"steps": 8000, "batch_size": 16, "patch_px": 512},
    },
}
"""Settings that presets change, by preset and network."""
