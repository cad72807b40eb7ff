"""``frugalseg inspect RUN``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="finished run folder")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print a line for each quantized layer and the totals."""
    from frugalseg.inspection import inspect_run

    document = inspect_run(args.run)
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
