"""``frugalseg export RUN… --format fseg|onnx|openvino|torchscript --out FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run", type=Path, nargs="+", metavar="RUN",
                        help="finished run folder; several become one ensemble (fseg only); or a packed model or its"
                        " name, for onnx, openvino and bioimageio")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--format", choices=("fseg", "onnx", "openvino", "torchscript", "bioimageio"), default="fseg",
        help="fseg: packed, for 'frugalseg predict' (default); onnx, torchscript: the network alone, normalised image"
        " to logits; openvino: colours to probabilities, as .xml and .bin; bioimageio: a bioimage.io package (.zip)",
    )  # fmt: skip
    parser.add_argument(
        "--int8", action=argparse.BooleanOptionalAction, default=None,
        help="with ranges for INT8, taken from training images (default: for fseg, where these still lie there)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", type=Path, metavar="DIR", help="folder of images to take the ranges from instead"
    )
    parser.add_argument(
        "--rejector", type=Path, metavar="DIR",
        help="cross-validation ('frugalseg train --folds') whose rejector of false objects goes into the file",
    )  # fmt: skip
    parser.add_argument(
        "--half-floats", action="store_true", help="fseg: what is not codes (normalisations, biases) in 16 bits"
    )
    parser.add_argument("--licence", default=None, metavar="TEXT", help="of the weights, kept in the file")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Write the file."""
    import dataclasses

    from rich.console import Console

    from frugalseg.export import export_model
    from frugalseg.shipped import resolve_model

    with Console(stderr=True).status("packing") as status:
        result = export_model(
            [resolve_model(path) for path in args.run],
            args.out,
            args.format,
            int8=args.int8,
            images=args.calibrate,
            licence=args.licence,
            rejector=args.rejector,
            half_floats=args.half_floats,
            advance=status.update,
        )
    if not args.json:
        int8 = "" if result.calibration is None else ", runs in INT8"
        print(f"{result.path}: {result.n_bytes:,} bytes{int8}")
    calibration = None if result.calibration is None else dataclasses.asdict(result.calibration)
    return {"out": str(result.path), "bytes": result.n_bytes, "calibration": calibration}
