"""COCO: one JSON file for all images, one annotation an object.

An object of one piece without holes is a polygon along its pixels' edges, any other one is run lengths. What nobody
annotated is one annotation with ``iscrowd`` for each category, which COCO's evaluation leaves out of account. The
member ``label`` holds an object's number; completeness and windows stand in the member ``frugalseg``.

References
----------
COCO's data format, cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import UNKNOWN
from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError
from frugalseg.formats.annotated import Annotated, AnnotationSet, WriteSettings, Written
from frugalseg.formats.rle import close, encode_box, pack
from frugalseg.formats.trace import object_boxes, trace_mask


def write_coco(out: Path, drawn: AnnotationSet, settings: WriteSettings) -> Written:
    """Write one ``.json`` file.

    Parameters
    ----------
    out
        The file; it is replaced.
    drawn, settings
        What to write, and how.

    Raises
    ------
    InputError
        The file's name does not end with ``.json``, or an annotation cannot be read.
    """
    out = Path(out)
    if out.suffix.lower() != ".json" or out.is_dir():
        raise InputError(out, "is no name for a COCO file, which is one .json file for all images")
    categories = {name: number for number, name in enumerate(drawn.class_names, 1)}
    images = [
        {"id": number, "file_name": each.path.name, "width": each.width, "height": each.height, "name": each.name}
        for number, each in enumerate(drawn.canvases, 1)
    ]
    about: dict[str, Any] = {}
    n_objects = n_written = 0
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        listed = [{"id": number, "name": name} for name, number in categories.items()]
        stream.write(f'{{"images":{_dumps(images)},\n"categories":{_dumps(listed)},\n"annotations":[')
        for image_id, canvas in enumerate(drawn.canvases, 1):
            each = drawn.load(canvas)
            about[canvas.name] = {"complete": each.complete, "window": each.window and list(each.window)}
            for annotation in _annotations(each, categories, always_rle=settings.coco_rle):
                n_written += 1
                n_objects += not annotation["iscrowd"]
                numbered = {"id": n_written, "image_id": image_id, **annotation}
                stream.write(f"{',' if n_written > 1 else ''}\n{_dumps(numbered)}")
        stream.write(f'\n],\n"frugalseg":{{"images":{_dumps(about)}}}}}\n')
    return Written(1, len(images), n_objects)


def _annotations(drawn: Annotated, categories: dict[str, int], *, always_rle: bool) -> Iterator[dict[str, Any]]:
    labels, canvas = drawn.labels, drawn.canvas
    unknown = labels == UNKNOWN
    if unknown.any():
        counts = close(encode_box(unknown, 0, 0, canvas.height), labels.size)
        rle = {"size": [canvas.height, canvas.width], "counts": pack(counts)}
        for category in categories.values():
            yield {
                "category_id": category,
                "iscrowd": 1,
                "bbox": [0, 0, canvas.width, canvas.height],
                "area": int(np.count_nonzero(unknown)),
                "segmentation": rle,
            }
    del unknown
    for label, (rows, columns) in object_boxes(labels):
        mask = labels[rows, columns] == label
        x, y = columns.start, rows.start
        outlines = [] if always_rle else trace_mask(mask, x=x, y=y)
        if len(outlines) == 1 and len(outlines[0]) == 1:
            segmentation: Any = [[number for corner in outlines[0][0][:-1] for number in corner]]
        else:
            counts = close(encode_box(mask, x, y, canvas.height), labels.size)
            segmentation = {"size": [canvas.height, canvas.width], "counts": pack(counts)}
        class_name = drawn.classes.get(label)
        yield {
            "category_id": next(iter(categories.values())) if class_name is None else categories[class_name],
            "iscrowd": 0,
            "bbox": [x, y, columns.stop - x, rows.stop - y],
            "area": int(np.count_nonzero(mask)),
            "segmentation": segmentation,
            "label": label,
        }


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
