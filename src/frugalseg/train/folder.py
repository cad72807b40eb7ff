"""A run folder: what lies in it, when it may be used, how it is begun and finished."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json, write_text
from frugalseg.errors import ConfigError, InputError
from frugalseg.model_files import CARD, WEIGHTS, ModelCard, read_card, write_card
from frugalseg.nets import SegmentationNet
from frugalseg.train.checkpoint import save_tensors
from frugalseg.train.config import TrainConfig

log = logging.getLogger(__name__)

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, its model card, and the last row of its metrics."""

    folder: Path
    card: ModelCard
    metrics: dict[str, Any]


def holds_files(folder: Path, beside: Path | None = None) -> bool:
    """True if any file lies in `folder` or below, but not in `beside`.

    Hidden ones, as killed writers and desktops leave, do not count.
    """
    if not folder.is_dir():
        return False
    files = [path for path in folder.rglob("*") if path.is_file()]
    counted = [path for path in files if beside is None or not path.is_relative_to(beside)]
    return any(not any(part.startswith(".") for part in path.relative_to(folder).parts) for path in counted)


def check_folder(out: Path, resume: bool, beside: Path | None = None) -> None:
    """Refuse a folder that holds something else than `beside`, or nothing to resume."""
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file, not a folder for a run")
    holds_run = (out / CONFIG).exists()
    if resume and not holds_run:
        raise InputError(out, "holds no run to resume")
    if not resume and holds_files(out, beside):
        hint = "go on with it with --resume, or " if holds_run else ""
        raise InputError(out, f"is not empty; {hint}choose another folder")


def begin_folder(out: Path, document: dict[str, Any], resume: bool, beside: Path | None = None) -> bool:
    """Write what the run is, or compare it with the run that shall go on; True if that one has finished already.

    To be called under the training lock; checks the folder again, which a training that was waited for may have filled.
    """
    if resume:
        check_same(out, document)
    check_folder(out, resume, beside)
    if not resume:
        write_json(out / CONFIG, document)
    if resume and (out / CARD).exists():
        log.info("%s: has finished already", out)
        return True
    return False


def finish(out: Path, net: SegmentationNet, card: ModelCard, *, steps: int) -> None:
    """Write the trained model; the card comes last, and with it the run is finished."""
    save_tensors(out / WEIGHTS, dict(net.state_dict()), {"net": card.net, "steps": steps})
    write_card(out, card)


def finished(out: Path) -> RunResult:
    """What a finished run has to show."""
    rows = read_metrics(out)
    return RunResult(out, read_card(out), rows[-1] if rows else {})


PLACES = ("threads", "device", "precision")
"""Settings of where and how fast a run computes, which may be others when it goes on."""


def check_same(out: Path, document: dict[str, Any]) -> None:
    """Compare with ``config.json`` of the run that shall go on: same settings, same data."""
    before = read_config(out)
    for part in ("config", "quantize"):
        old = before.get(part, {})
        for name, value in json.loads(json.dumps(document.get(part, {}))).items():
            if name in PLACES:  # the environment tells, below
                continue
            if old and name not in old:
                log.info("%s: the run was begun by a version without this setting; it goes on with %s", name, value)
            elif old.get(name) != value:
                raise ConfigError(name, f"is {value}, but the run to resume in {out} has {old.get(name)}")
    old, new = (each.get("source") or {} for each in (before, document))
    if old.get("sha256") != new.get("sha256"):
        began, would = (each.get("run", "no model") for each in (old, new))
        what = "with other weights" if began == would else f"from {began}, not from {would}"
        raise ConfigError("start", f"the run to resume in {out} began {what}")
    if _taught_by(before) != _taught_by(document):
        raise ConfigError("teacher", f"the run to resume in {out} had other teachers or other unlabelled images")
    for name, meaning in (("sha256", "files"), ("train", "training images"), ("validation", "held-out images")):
        if before["data"].get(name) != document["data"][name]:
            raise ConfigError(document["data"]["root"], f"has changed since the run in {out} began: other {meaning}")
    if before.get("environment") != document["environment"]:
        log.warning("versions, device or threads differ from the interrupted run's: weights will not be identical")


def _taught_by(document: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Which weights and which images without annotations a run learns from, wherever they lie."""
    described = document.get("teachers") or {"runs": [], "unlabelled": None}
    images = described["unlabelled"]
    return [each["sha256"] for each in described["runs"]], images and images["sha256"]


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


def train_config(out: Path, document: Mapping[str, Any]) -> TrainConfig:
    """The settings of the float training in a run's `document`, as :func:`read_config` gives it.

    Raises
    ------
    InputError
        They are not those of this version.
    """
    try:
        return TrainConfig(**document["config"])
    except (TypeError, ValueError) as error:
        what = str(error).removeprefix("TrainConfig.__init__() ")
        raise InputError(out / CONFIG, f"holds settings that this version does not take: {what}") from None


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


def record_row(out: Path, row: dict[str, Any]) -> None:
    """Append a row; rows of steps that are done again after a kill are replaced."""
    rows = [before for before in read_metrics(out) if before["step"] < row["step"]]
    write_text(out / METRICS, "".join(json.dumps(each) + "\n" for each in [*rows, row]))
