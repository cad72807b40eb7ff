"""The work folder of a slide: what has been done, for whom, and where it lies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json
from frugalseg.errors import InputError
from frugalseg.instances import InstanceSettings
from frugalseg.project.hashing import fingerprint
from frugalseg.slides import Slide
from frugalseg.streaming.plan import SlidePlan
from frugalseg.streaming.store import ArrayStore

FORMAT = 2
_ENDS = 2**20


class WorkFolder:
    """A folder with one file for the plan and a store for each stage.

    Parameters
    ----------
    folder
        Where it lies; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiles = ArrayStore(folder / "tiles", cache_bytes=64 * 2**20)
        self.stitched = ArrayStore(folder / "stitched", cache_bytes=1)
        self.objects = ArrayStore(folder / "objects", cache_bytes=64 * 2**20)
        self.labels = ArrayStore(folder / "labels", cache_bytes=32 * 2**20)

    def exists(self) -> bool:
        """Whether a plan lies here."""
        return self._plan.exists()

    def write_plan(self, plan: SlidePlan, instances: InstanceSettings, made_for: dict[str, Any]) -> None:
        """Begin the work."""
        settings = instances.to_document()
        document = {"format": FORMAT, "made_for": made_for, "instances": settings, "plan": plan.to_document()}
        write_json(self._plan, document)

    def read_plan(self) -> tuple[SlidePlan, InstanceSettings, dict[str, Any]]:
        """What :meth:`write_plan` wrote.

        Raises
        ------
        InputError
            It cannot be read.
        """
        try:
            document = json.loads(self._plan.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise InputError(self._plan, f"has another format than {FORMAT}, the one this version reads")
            instances = InstanceSettings.from_document(document["instances"])
            return SlidePlan.from_document(document["plan"]), instances, dict(document["made_for"])
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(self._plan, f"cannot be read ({error}); delete the folder and begin anew") from None

    def remove(self) -> None:
        """Remove all of it; the plan goes first, so that what is left of an interrupted removal counts as nothing."""
        self._plan.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _plan(self) -> Path:
        return self.folder / "plan.json"


def slide_key(slide: Slide) -> dict[str, Any]:
    """By what a slide is known again: its size, its levels, and a hash of its file's ends.

    Of a folder (OME-Zarr) it is a hash of its files' names and sizes, and of the content of its descriptions.
    """
    path = slide.path
    key: dict[str, Any] = {
        "name": path.name,
        "levels": [[level.width, level.height] for level in slide.levels],
        "pixel_size_um": slide.pixel_size_um,
    }
    if path.is_dir():
        key["files"] = fingerprint(path)
    if path.is_file():
        key["bytes"] = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(_ENDS)
            stream.seek(max(0, key["bytes"] - _ENDS), os.SEEK_SET)
            key["ends"] = hashlib.sha256(start + stream.read(_ENDS)).hexdigest()
    return key


def files_key(paths: list[Path]) -> list[str]:
    """SHA-256 of models' files, each a file or a folder of files."""
    return [_digest(path) for path in paths]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(path.glob("**/model.*"))
    for file in files:
        digest.update(file.relative_to(path.parent).as_posix().encode() if path.is_dir() else b"")
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(2**20), b""):
                digest.update(block)
    return digest.hexdigest()
