"""Where a round's files lie that others than the round itself read."""

from __future__ import annotations

from pathlib import Path


def round_folder(folder: Path, number: int) -> Path:
    """Folder of a round of the project in `folder`: data list, members, packed ensemble, reports."""
    return folder / "rounds" / f"{number:03d}"


def proposal_file(folder: Path, number: int, image: str) -> Path:
    """Objects that the round's ensemble proposes for an image of the pool: a TIFF, never written twice."""
    return round_folder(folder, number) / "proposals" / f"{image}.tif"


def proposal_classes_file(folder: Path, number: int, image: str) -> Path:
    """Class of each proposed object, JSON; only where the project has several classes."""
    return round_folder(folder, number) / "proposals" / f"{image}.classes.json"


def uncertainty_file(folder: Path, number: int, image: str) -> Path:
    """Where the members differ: a grey PNG at reduced size, 255 is a standard deviation of 0.5."""
    return round_folder(folder, number) / "proposals" / f"{image}.uncertainty.png"


def prediction_file(folder: Path, number: int, image: str) -> Path:
    """What the round's ensemble finds in a validation image: a TIFF of labels."""
    return round_folder(folder, number) / "validation" / f"{image}.tif"
