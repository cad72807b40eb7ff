"""Cellpose's ``NAME_seg.npy``: written for Cellpose to open, read without ever unpickling.

The format is a pickled dictionary. Of what is read, only ``masks`` counts; classes, windows and what nobody annotated
have no place in it.

References
----------
Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nature Methods 18 (2021);
cellpose.readthedocs.io, "Outputs".
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from scipy import ndimage

from frugalseg.arrays import LabelMap
from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError
from frugalseg.formats.annotated import (
    Annotated,
    AnnotationSet,
    Canvas,
    Wanted,
    WriteSettings,
    Written,
    listed,
    present_labels,
    single,
)
from frugalseg.formats.folder import new_folder
from frugalseg.formats.pickled import Array, PickleError, read_pickle
from frugalseg.images.guard import system_reason

ENDING = "_seg.npy"
MAX_BYTES = 2**32
"""Largest file that is read."""


def write_cellpose(out: Path, drawn: AnnotationSet, settings: WriteSettings) -> Written:
    """Write a folder with ``NAME_seg.npy`` for each image, to be laid beside the images.

    Raises
    ------
    InputError
        The folder holds something, or an annotation cannot be read.
    """
    n_objects, unknown = 0, 0
    with new_folder(out) as folder:
        for canvas in drawn.canvases:
            each = drawn.load(canvas)
            n_objects += len(present_labels(each.labels))
            unknown += bool((each.labels < 0).any())
            _write(folder / f"{_stem(canvas)}{ENDING}", each)
    notes = []
    if len(drawn.class_names) > 1:
        notes.append("Cellpose knows no classes: they are not in the files")
    if unknown:
        images = f"{unknown} image{'' if unknown == 1 else 's'}"
        notes.append(f"Cellpose takes what is not annotated for background: {images}")
    return Written(len(drawn.canvases), len(drawn.canvases), n_objects, tuple(notes))


def _stem(canvas: Canvas) -> str:
    """What Cellpose calls an image: its file's name without the last suffix, so ``x.ome`` of ``x.ome.tif``."""
    stem = canvas.path.stem
    return stem if stem.lower() == f"{canvas.name}.ome".lower() else canvas.name


def _image_name(file: Path, wanted: Wanted) -> str:
    """The image that a file is for."""
    name = file.name.removesuffix(ENDING)
    return name[:-4] if name not in wanted.canvases and name.lower().endswith(".ome") else name


def _write(path: Path, drawn: Annotated) -> None:
    masks = np.maximum(drawn.labels, 0)
    top = int(masks.max(initial=0))
    inner = (ndimage.maximum_filter(masks, 3) == masks) & (ndimage.minimum_filter(masks, 3) == masks)
    dtype = np.uint16 if top < 65535 else np.uint32
    document = {
        "outlines": np.where(inner, 0, masks).astype(dtype),
        "masks": masks.astype(dtype),
        "chan_choose": [0, 0],
        "ismanual": np.ones(top, bool),
        "filename": drawn.canvas.path.name,
        "flows": [[], [], [], [], [[]]],
        "diameter": np.nan,
    }
    wrapped = np.empty((), dtype=object)
    wrapped[()] = document
    with atomic_path(path) as temporary:
        # Cellpose opens nothing but a pickled dictionary. Writing one runs nothing; ours are read without unpickling.
        np.save(temporary, wrapped, allow_pickle=True)


def read_cellpose(path: Path, wanted: Wanted) -> AnnotationSet:
    """Read a folder of ``NAME_seg.npy``, or one such file; nothing in it is ever run.

    Raises
    ------
    InputError
        No such files, or some for images that do not exist. What is wrong inside shows when it is loaded.
    """
    path = Path(path)
    found = [file for file in listed(path) if file.name.endswith(ENDING) and not file.name.startswith(".")]
    file_of = single((_image_name(file, wanted), file) for file in found)
    canvases = wanted.choose(path, file_of, what=f"Cellpose files (NAME{ENDING})")
    return AnnotationSet(canvases, lambda canvas: _read(file_of[canvas.name], canvas))


def _read(path: Path, canvas: Canvas) -> Annotated:
    labels = _masks(path, canvas)
    return Annotated(canvas, labels, {})


def _masks(path: Path, canvas: Canvas) -> LabelMap:
    """The label map in a file, judged."""
    try:
        document = _document(path)
        masks = document.get("masks")
        if not isinstance(masks, Array):
            raise PickleError("has no masks")
        sides = tuple(side for side in masks.shape if side != 1) if len(masks.shape) > 2 else masks.shape
        if sides != (canvas.height, canvas.width):
            found = " x ".join(str(side)[:20] for side in reversed(sides))
            raise PickleError(f"has masks of {found}, its image {canvas.name} is {canvas.width} x {canvas.height}")
        numbers = masks.decode().reshape(sides)
    except PickleError as error:
        raise InputError(path, str(error)) from None
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    if numbers.dtype.kind not in "biu":
        raise InputError(path, f"has masks of the type {numbers.dtype}, integers are needed")
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    if low < 0 or high > np.iinfo(np.int32).max:
        raise InputError(path, f"has labels from {low} to {high}, 0 to {np.iinfo(np.int32).max} can be read")
    return numbers.astype(np.int32)


def _document(path: Path) -> dict[Any, Any]:
    """The dictionary in a file, as data."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise PickleError(f"is larger than {MAX_BYTES // 2**30} GiB")
    if size == 0:
        raise PickleError("is empty (0 bytes)")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        whole = cast(BinaryIO, content)  # its read() gives what is there, however much is asked for
        shape, dtype = _header(whole)
        if dtype.kind != "O" or shape != ():
            raise PickleError("is an array, not what Cellpose saves (a dictionary with masks)")
        wrapped = read_pickle(whole, size)
        if whole.read(1):
            raise PickleError("is damaged (something follows behind its end)")
    inner = wrapped.content if isinstance(wrapped, Array) else None
    if not isinstance(inner, list) or len(inner) != 1 or not isinstance(inner[0], dict):
        raise PickleError("is not what Cellpose saves (a dictionary with masks)")
    return inner[0]


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type from the head of a NumPy file."""
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise PickleError(f"is a NumPy file of version {version[0]}.{version[1]}, which cannot be read")
        shape, _, dtype = reader(stream)
    except PickleError:
        raise
    except (ValueError, RecursionError, MemoryError, SyntaxError, TypeError) as error:
        raise PickleError("is no NumPy file, or is damaged in its head") from error
    return shape, dtype
