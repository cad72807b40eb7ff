"""``frugalseg evaluate``: score label maps by the GlaS challenge's metrics."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_SHOWN = {
    "object_f1": ("object F1", ".4f"),
    "object_dice": ("object Dice", ".4f"),
    "object_hausdorff": ("Hausdorff (px)", ".2f"),
    "pixel_dice": ("pixel Dice", ".4f"),
    "pixel_iou": ("pixel IoU", ".4f"),
}
_COUNTED = {
    "n_images_empty_truth": "images without true objects",
    "n_images_empty_pred": "images without predicted objects",
    "n_partner_ties": "objects with equally good partners (lowest label taken)",
    "n_pixels_unknown": "pixels not annotated (left out)",
    "hausdorff_nearest_fallbacks": "objects without overlap (Hausdorff to the nearest)",
    "hausdorff_diagonal_fallbacks": "objects with nothing on the other side (Hausdorff = image diagonal)",
}
_N_WORST = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="folder of predicted label maps")
    parser.add_argument(
        "--truth", type=Path, required=True, metavar="DIR", help="folder of true label maps (x, x_anno, x_masks)"
    )
    parser.add_argument(
        "--components",
        action="store_true",
        help="split maps with one label for all objects into 8-connected components",
    )
    parser.add_argument("--ignore-value", type=int, metavar="N", help="value in the truth that means not annotated")
    parser.add_argument("--match", metavar="GLOB", help="score only truths whose stem matches, for example 'testA_*'")
    parser.add_argument(
        "--predicted-only", action="store_true", help="leave truths out that have no prediction; without it an error"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write the figures of each image to a table")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Score, show, and return the document for ``--json``."""
    from frugalseg.errors import InputError
    from frugalseg.evaluate import evaluate_folders

    if args.out is not None and args.out.is_dir():
        raise InputError(args.out, "is a folder, --out names a file")
    document = evaluate_folders(
        args.pred,
        args.truth,
        ignore_value=args.ignore_value,
        connected_components=args.components,
        match=args.match,
        predicted_only=args.predicted_only,
    )
    if args.out is not None:
        _write_table(args.out, document["per_image"])
    if not args.json:
        _show(document)
    return document


def _write_table(path: Path, per_image: dict[str, dict[str, Any]]) -> None:
    """One line for each image; undefined figures are empty cells."""
    import csv
    import io

    from frugalseg.atomic import write_text

    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", *next(iter(per_image.values()))], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"image": name, **figures} for name, figures in per_image.items())
    write_text(path, text.getvalue())


def _show(document: dict[str, Any]) -> None:
    """Pooled figures, their means over images, those of each class, and the worst images."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    per_image: dict[str, dict[str, Any]] = document["per_image"]
    worst = sorted(per_image, key=lambda name: per_image[name]["object_dice"])[:_N_WORST]
    rows = [("pooled", document), ("image mean", document["mean"])]
    rows += [(f"class {name}", figures) for name, figures in document.get("classes", {}).items()]
    table = Table(title=_counts(document), title_justify="left", title_style="")
    table.add_column("", overflow="fold")
    for title, _ in _SHOWN.values():
        table.add_column(title, justify="right")
    for label, figures in rows:
        table.add_row(escape(label), *_cells(figures))
    table.add_section()
    for name in worst if len(per_image) > 1 else []:
        table.add_row(escape(name), *_cells(per_image[name]))
    if len(per_image) > 1:
        table.caption = f"below the line: the {len(worst)} images with the lowest object Dice"
        table.caption_justify = "left"
    console = Console()
    console.print(table)
    for key, meaning in _COUNTED.items():
        if document[key]:
            console.print(f"{meaning}: {document[key]}", highlight=False)


def _counts(document: dict[str, Any]) -> str:
    return (
        f"{document['n_images']} images, {document['n_objects_truth']} true objects, "
        f"{document['n_objects_pred']} predicted"
    )


def _cells(figures: dict[str, Any]) -> list[str]:
    return ["–" if figures[key] is None else format(figures[key], form) for key, (_, form) in _SHOWN.items()]
