"""Trained models that come with the package, by name; and the terms of weights, shown when they are first used."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from frugalseg.atomic import write_bytes
from frugalseg.errors import InputError

MODELS: Mapping[str, str] = {
    "glands": "glands-lite-5bit.fseg",
    "glands-small": "glands-lite-small.fseg",
    "glands-ensemble": "glands-lite-4bit-ensemble.fseg",
    "glands-small-ensemble": "glands-lite-small-ensemble.fseg",
}
"""File of each name that stands for a model."""

LICENCE = "LICENSE.md"
"""Terms of the weights, beside the files."""

REFERENCE = "LICENSE.md beside the model has the whole text"
"""How the terms of a shipped model, and of what was trained from one, refer to it."""

STATE_VARIABLE = "FRUGALSEG_STATE_DIR"
"""Environment variable that moves what is remembered of a user."""


_OF_RUNS = ("model.json", "config.json", "folds.json")
"""What a folder holds that is a run, has begun to be one, or is a cross-validation."""

log = logging.getLogger(__name__)


def model_folder() -> Path:
    """Where the models lie: in the installed package, or at the top of the source tree."""
    package = Path(__file__).parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent.parent / "models"


def whole_terms(licence: str) -> str:
    """The terms of weights, and where they refer to the text beside the shipped models, that text after them."""
    file = model_folder() / LICENCE
    if REFERENCE not in licence or not file.is_file():
        return licence
    return f"{licence.removesuffix(REFERENCE).rstrip('. ')}.\n\n{file.read_text(encoding='utf-8')}".strip()


def resolve_model(path: Path) -> Path:
    """`path` itself, or the file of the shipped model that it names; a model of that name that lies there goes first.

    Raises
    ------
    InputError
        The named model did not come with this installation.
    """
    if str(path) not in MODELS or path.is_file() or any((path / name).exists() for name in _OF_RUNS):
        return path
    if path.exists():
        log.info("the folder %s holds no model; the shipped model of this name is taken", path)
    file = model_folder() / MODELS[str(path)]
    if not file.is_file():
        raise InputError(
            str(path), f"this installation came without {file.name}; a wheel or a clone of the source has it"
        )
    return file


def is_first_use(licence: str) -> bool:
    """Whether this user has not been shown these terms yet; from now on they have.

    Where that cannot be remembered, they are shown each time.
    """
    named = os.environ.get(STATE_VARIABLE)
    folder = Path(named or platformdirs.user_state_dir("frugalseg", appauthor=False)) / "licences"
    mark = folder / hashlib.sha256(licence.encode()).hexdigest()
    try:
        if mark.exists():
            return False
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(mark, licence.encode())
    except OSError:
        pass
    return True
