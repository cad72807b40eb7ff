"""From finished run folders to one packed model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.artifact import NOT_STATED, Artifact, Member
from frugalseg.errors import ConfigError, InputError
from frugalseg.model_files import ModelCard, check_members, joint_card
from frugalseg.nets import SegmentationNet
from frugalseg.nets.onnx_graph import weightless_graph
from frugalseg.quant.layers import bake, to_codes
from frugalseg.quant.spec import PORTIONS, QuantSpec
from frugalseg.train.folder import CONFIG, read_config
from frugalseg.train.folds import fold_folders
from frugalseg.train.weights import licence_of, load_net


def member_folders(runs: Sequence[Path]) -> list[Path]:
    """The run folders meant by paths: a cross-validation stands for its folds' runs."""
    for path in runs:
        if not path.is_dir():
            packed = "is packed already; only run folders can be packed, and only float ones become TorchScript"
            file = packed if path.suffix == ".fseg" else "is a file, not the run folder of a training"
            raise InputError(path, file if path.exists() else "no such folder")
    return [folder for path in runs for folder in (fold_folders(path) or [path])]


def pack_runs(runs: Sequence[Path], *, licence: str | None = None) -> Artifact:
    """One packed model of one run, or of several as an ensemble; without ranges for INT8.

    Where no licence is given it is that of the weights which training began from, if those have one.

    Raises
    ------
    InputError
        A run is unfinished or damaged, or the members do not fit together.
    """
    folders = member_folders(runs)
    loaded = [load_net(folder) for folder in folders]
    cards = [card for _, card in loaded]
    check_members(folders, cards)
    if any(_kind(card) != _kind(cards[0]) for card in cards):
        raise InputError(folders[0], "and another member are quantized differently; one file holds one kind")
    first = loaded[0][0]
    return Artifact(
        card=joint_card(cards),
        stride=first.stride,
        halo_px=first.halo_px,
        licence=licence or _inherited(folders),
        members=tuple(pack_net(net) for net, _ in loaded),
        graph=weightless_graph(bake(first)),
        provenance={"members": [_provenance(folder) for folder in folders]},
    )


def _inherited(folders: Sequence[Path]) -> str:
    terms = dict.fromkeys(licence_of(folder) for folder in folders)
    return "; ".join(each for each in terms if each != NOT_STATED) or NOT_STATED


def _kind(card: ModelCard) -> QuantSpec | None:
    """How weights are coded; in which portions they came to it does not matter any more."""
    return None if card.quantization is None else replace(card.quantization, portions=PORTIONS)


def pack_net(net: SegmentationNet) -> Member:
    """The tensors of a network: codes of its quantized weights, everything else as it is.

    Raises
    ------
    ConfigError
        Some weights are still between two of INQ's portions.
    """
    try:
        quantized = to_codes(net)
    except ValueError as error:
        raise ConfigError("quantization", str(error)) from None
    floats = {
        name: value.detach().cpu().numpy()
        for name, value in bake(net).state_dict().items()
        if value.is_floating_point() and name not in quantized
    }
    return Member(quantized, floats)


def with_half_floats(artifact: Artifact) -> Artifact:
    """The same model with what is not codes in float16, half the bytes; numbers too large for that stay as they are."""
    return replace(artifact, members=tuple(_halved(member) for member in artifact.members))


def _halved(member: Member) -> Member:
    largest = np.finfo(np.float16).max
    floats = {
        name: array.astype(np.float16) if np.abs(array).max(initial=0) <= largest else array
        for name, array in member.floats.items()
    }
    return replace(member, floats=floats)


def _provenance(folder: Path) -> dict[str, Any]:
    """How a member was trained; no folder of the machine that did it."""
    if not (folder / CONFIG).exists():
        return {}
    document = read_config(folder)
    data = {name: document["data"].get(name) for name in ("layout", "subset", "sha256")}
    data["n_images"] = len(document["data"].get("train", ()))
    source = document.get("source") or {}
    kept: dict[str, Any] = {
        "config": document["config"],
        "quantize": document.get("quantize"),
        "began_from": source.get("sha256"),
        "teachers": [each.get("sha256") for each in (document.get("teachers") or {}).get("runs", ())],
        "data": data,
        "environment": document.get("environment"),
    }
    return dict(json.loads(json.dumps(kept)))
