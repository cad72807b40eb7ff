"""Checkpoints: one safetensors file each, with all that training needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from frugalseg.atomic import write_bytes
from frugalseg.errors import InputError
from frugalseg.nets import SegmentationNet
from frugalseg.train.optimiser import AveragedNet

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints kept; the older one is there in case a disk spoils the newer."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes
    ----------
    step
        Steps done.
    rate_factor
        Factor on the learning rate, lowered after a roll-back.
    rollbacks
        How often training went back because the loss was not finite.
    best
        Highest validation object Dice so far, if any.
    """

    step: int = 0
    rate_factor: float = 1.0
    rollbacks: int = 0
    best: float | None = None


def save_tensors(path: Path, tensors: dict[str, Tensor], document: dict[str, object] | None = None) -> None:
    """Write tensors, and a JSON document and a checksum in the header, atomically and synced."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = document or {}
    # one entry, since the library writes several in any order, and equal weights shall be equal files
    header = json.dumps({**document, "crc32": _checksum(tensors, document)}, sort_keys=True)
    # serialised in memory: the library's own writer hides a full disk behind an exception of its own
    write_bytes(path, serialise(tensors, {"frugalseg": header}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and JSON document of a file that :func:`save_tensors` wrote.

    Raises
    ------
    InputError
        No such file, not this format, or not the bytes that were written (files without a checksum are believed).
    """
    try:
        with safe_open(path, framework="pt") as stream:
            document = json.loads((stream.metadata() or {}).get("frugalseg", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        expected = document.pop("crc32", None)
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except (SafetensorError, ValueError, OSError, AttributeError) as error:
        raise InputError(path, f"not a readable safetensors file ({error})") from None
    if expected is not None and expected != _checksum(tensors, document):
        raise InputError(path, "is damaged: its content does not fit its checksum")
    return tensors, document


def _checksum(tensors: dict[str, Tensor], document: dict[str, object]) -> int:
    """CRC-32 over names, types, shapes and bytes; safetensors itself notices damage in the header alone."""
    crc = zlib.crc32(json.dumps(document, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def save_checkpoint(
    folder: Path,
    net: SegmentationNet,
    average: AveragedNet,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
) -> Path:
    """Write ``step-N.safetensors`` into `folder` and remove all but the newest two."""
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.net.state_dict().items()}
    for index, entries in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in entries.items()}
    path = folder / f"step-{progress.step:08d}.safetensors"
    save_tensors(path, tensors, asdict(progress))
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files in `folder`, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def load_checkpoint(
    path: Path,
    net: SegmentationNet,
    average: AveragedNet,
    optimiser: torch.optim.Optimizer,
) -> Progress:
    """Put a checkpoint's tensors back; returns where it stood."""
    tensors, document = load_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "average": {}, "optimiser": {}}
    state: dict[int, dict[str, Tensor]] = {}
    try:
        if "step" not in document:
            raise KeyError("step")
        progress = Progress(**document)  # type: ignore[arg-type]
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        for name, value in parts["optimiser"].items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = value
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"is no checkpoint of a training run ({error})") from None
    try:
        net.load_state_dict(parts["net"])
        average.net.load_state_dict(parts["average"])
    except RuntimeError as error:
        reason = " ".join(str(error).split()[:40])
        raise InputError(path, f"is of another network ({reason})") from None
    whole = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
    return progress


def load_newest(
    folder: Path,
    net: SegmentationNet,
    average: AveragedNet,
    optimiser: torch.optim.Optimizer,
) -> Progress | None:
    """Load the newest readable checkpoint, with a warning if newer ones are not; None where there is none at all.

    Raises
    ------
    InputError
        There are checkpoints, but none can be read; says why the oldest cannot.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            return load_checkpoint(path, net, average, optimiser)
        except InputError as error:
            if path == found[0]:
                raise
            log.warning("%s; going back to the checkpoint before", error)
    return None
