"""How far a training is: the rows that its members have written so far."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frugalseg.project import Job, Project
from frugalseg.project.round_files import round_folder

TRUNK_MEMBER = -1
"""Stands for the network that all members begin from, where there is one."""

_MEMBER = re.compile(r"member-(\d+)")


def progress_rows(project: Project, job: Job) -> list[dict[str, Any]]:
    """Rows of a training so far, by member, phase and step; empty for other jobs, and before the first row.

    Returns
    -------
    list of dict
        ``member`` (`TRUNK_MEMBER` for the common network), ``phase`` (``float`` or ``quantized``), ``step``, ``steps``
        of that phase and ``loss``. Step and loss are those of the run's ``metrics.jsonl``.

    Notes
    -----
    A run that went on from its checkpoint after a kill writes the steps since then anew, so rows may go and come again.
    """
    if job.kind != "train" or job.round is None:
        return []
    members = round_folder(project.folder, job.round) / "members"
    return [row for member, run in _runs(members) for row in _rows(member, run)]


def _runs(members: Path) -> Iterator[tuple[int, Path]]:
    """Run folders of a round, a member's float run before its quantized one."""
    folders = {TRUNK_MEMBER: members / "trunk"}
    if members.is_dir():
        for folder in members.iterdir():
            found = _MEMBER.fullmatch(folder.name)
            if found:
                folders[int(found[1])] = folder
    for member, folder in sorted(folders.items()):
        yield member, folder / "float"
        yield member, folder


def _rows(member: int, run: Path) -> Iterator[dict[str, Any]]:
    try:
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    quantized = "quantize" in config
    steps = config["quantize" if quantized else "config"]["steps"]
    phase = "quantized" if quantized else "float"
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill
            return
        yield {"member": member, "phase": phase, "step": row["step"], "steps": steps, "loss": row["loss"]}
