"""A folder of synthetic images, laid out as the GlaS challenge lays out its own."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frugalseg.atomic import write_text
from frugalseg.errors import InputError, Problem
from frugalseg.images import write_image, write_label_map
from frugalseg.synthetic.glands import BENIGN_SHARE, Kind, synthetic_glands

IMAGES_PER_PATIENT = 2

PIXEL_UM = 0.9
"""At this pixel size the drawn glands and nuclei are as large as real ones; the files say so."""

GRADES = "Grade.csv"


@dataclass(frozen=True)
class _Slide:
    """What is decided about an image before it is drawn."""

    name: str
    patient: int
    kind: Kind
    seed: int
    stain_seed: int


def write_synthetic_dataset(
    folder: Path, n_train: int, n_test: int, seed: int, *, height: int = 384, width: int = 512
) -> None:
    """Write images, label maps (16-bit PNG) and ``Grade.csv``: the subsets ``train`` and ``testA`` of GlaS' layout.

    Parameters
    ----------
    folder
        Made if missing. May hold an earlier data set of the same size, which is written over.
    n_train, n_test
        Images of each subset, not negative, at least one in all. Three of five are benign (rounded).
    seed
        Not negative; the same arguments give the same files.
    height, width
        Size of every image in pixels.

    Raises
    ------
    InputError
        The folder holds files that are not part of this data set.

    Notes
    -----
    Two images in a row come from one made-up patient: one kind of tissue, one stain. No patient is in both subsets.
    """
    if n_train < 0 or n_test < 0 or n_train + n_test == 0:
        raise ValueError(f"at least one image is needed, none of the counts negative: {n_train} and {n_test}")
    slides = _plan("train", n_train, 1, seed)
    slides += _plan("testA", n_test, 1 + max((slide.patient for slide in slides), default=0), seed)
    _refuse_strangers(folder, slides)
    for slide in slides:
        drawn = synthetic_glands(slide.seed, height=height, width=width, kind=slide.kind, stain_seed=slide.stain_seed)
        write_image(folder / f"{slide.name}.png", drawn.image, pixel_size_um=PIXEL_UM)
        write_label_map(folder / f"{slide.name}_anno.png", drawn.labels)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", "patient ID", "grade (GlaS)"])
    writer.writerows([slide.name, slide.patient, slide.kind] for slide in slides)
    write_text(folder / GRADES, table.getvalue())


def _plan(subset: str, n: int, first_patient: int, seed: int) -> list[_Slide]:
    """Names, patients, kinds and seeds; whole patients are benign or malignant, as near to three of five as can be."""
    kinds: list[Kind] = []
    while len(kinds) < n:
        # Benign if that brings their number nearer to its share than another malignant patient would.
        benign = kinds.count("benign") + IMAGES_PER_PATIENT / 2 <= BENIGN_SHARE * (len(kinds) + IMAGES_PER_PATIENT)
        kinds += ["benign" if benign else "malignant"] * IMAGES_PER_PATIENT
    slides = []
    for index in range(n):
        patient = first_patient + index // IMAGES_PER_PATIENT
        name = f"{subset}_{index + 1}"
        slides.append(_Slide(name, patient, kinds[index], _number(seed, name), _number(seed, f"patient {patient}")))
    return slides


def _number(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, the same whatever else is drawn."""
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1, np.uint64)[0])


def _refuse_strangers(folder: Path, slides: list[_Slide]) -> None:
    expected = {GRADES, *(f"{slide.name}{ending}.png" for slide in slides for ending in ("", "_anno"))}
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "is a file, not a folder")
    found = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    strangers = [name for name in found if name not in expected and not name.startswith(".")]
    if strangers:
        raise InputError.of(
            Problem(str(folder / name), "is not part of the data set to be written") for name in strangers
        )
