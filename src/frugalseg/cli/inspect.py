"""``frugalseg inspect MODEL``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="packed model (.fseg), or finished run folder")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print a line for each quantized layer and the totals."""
    from frugalseg.inspection import inspect_model
    from frugalseg.shipped import resolve_model

    document = inspect_model(resolve_model(args.model))
    if not args.json:
        _print(document)
    return document


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if document["layers"]:
        table = Table("layer", "weights", "bits", "levels used", "entropy", "relative RMSE", "bytes")
        for layer in document["layers"]:
            error = "–" if layer["relative_rmse"] is None else f"{layer['relative_rmse']:.3f}"
            table.add_row(
                layer["name"].removesuffix(".weight"),
                f"{layer['n_weights']:,}",
                str(layer["bits"]),
                f"{layer['levels_used']} of {layer['n_levels']}",
                f"{layer['entropy']:.2f}",
                error,
                f"{layer['packed_bytes'] + layer['scale_bytes']:,}",
            )
        console.print(table)
    total = document["totals"]
    console.print(
        f"{document['net']}: {total['n_values']:,} numbers, {total['n_float_values']:,} of them float\n"
        f"float32 {total['float32_bytes']:,} bytes; packed {total['bytes']:,} bytes, "
        f"{total['mean_bits']:.2f} bits each, {total['ratio_to_float32']:.1f} times smaller\n"
        f"at their entropy {total['entropy_bytes']:,} bytes, {total['mean_entropy_bits']:.2f} bits each, "
        f"{total['entropy_ratio_to_float32']:.1f} times smaller"
    )
    if "file" in document:
        file = document["file"]
        console.print(
            f"file {file['bytes']:,} bytes in all, {file['ratio_to_float32']:.1f} times smaller than float32;"
            f" {file['members']} network{'s' if file['members'] > 1 else ''};"
            f" licence of the weights: {_printable(file['licence'])}",
            markup=False,
        )
        int8 = file["int8"]
        console.print(
            "no ranges for INT8"
            if int8 is None
            else f"INT8: {int8['layers']} layers, {int8['exact_channels']:,} of {int8['channels']:,} channels exact,"
            f" relative error of weights at most {int8['largest_relative_rmse']:.3f}"
        )


def _printable(text: str) -> str:
    """Text from a file as it may stand on a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
