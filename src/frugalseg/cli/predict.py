"""``frugalseg predict MODEL IMAGE_OR_DIR… --out DIR``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frugalseg.cli.slides import configure_slides, refuse_slide_flags, run_slides, slide_settings

if TYPE_CHECKING:
    from frugalseg.predict import Model


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL",
        help="packed model (.fseg), run folder of 'frugalseg train', or a model that came with the package: glands,"
        " glands-small, glands-ensemble, glands-small-ensemble",
    )  # fmt: skip
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE_OR_DIR", help="images, or folders of images")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for label maps, overlays, objects.csv and images.csv",
    )
    parser.add_argument("--member", type=Path, action="append", default=[], metavar="MODEL",
                        help="a further model, for an ensemble: probabilities are averaged")  # fmt: skip
    parser.add_argument(
        "--tta", action="store_true", help="average over turns, mirrored turns and three scales: 25 times the work"
    )
    parser.add_argument(
        "--no-stain-matching", action="store_true",
        help="show the network each image in its own stain, not brought to that of the training images",
    )  # fmt: skip
    parser.add_argument(
        "--pixel-size", type=float, metavar="UM", help="edge of the images' pixels in µm, if the files do not say"
    )
    parser.add_argument("--format", choices=("png", "tiff"), default="png", help="of the label maps (default: png)")
    parser.add_argument("--probabilities", action="store_true", help="save the probability maps too")
    parser.add_argument("--no-overlays", action="store_true", help="save no pictures")
    parser.add_argument(
        "--precision", choices=("auto", "int8", "bf16", "fp32"), default="auto",
        help="arithmetic of the convolutions (default: the fastest that model and processor allow)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("auto", "openvino", "onnxruntime", "torch"), default="auto",
        help="what runs the network (default: openvino for packed models, torch for run folders)",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="processor threads; 0 means all cores")
    configure_slides(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Segment the images."""
    import math

    from frugalseg.cli.terms import show_terms
    from frugalseg.errors import InputError
    from frugalseg.predict import find_images, load_model, warn_of_unlike
    from frugalseg.results_folder import OVERLAYS
    from frugalseg.shipped import resolve_model
    from frugalseg.streaming.files import divide_inputs

    if args.pixel_size is not None and not 0 < args.pixel_size < math.inf:
        raise InputError("--pixel-size", f"must be a positive number, not {args.pixel_size}")
    if args.threads < 0:
        raise InputError("--threads", f"must be at least 0, not {args.threads}")
    paths = [resolve_model(path) for path in (args.model, *args.member)]
    slides, others = divide_inputs(args.images)
    if slides:
        settings = slide_settings(args, alone=not others)
    else:
        refuse_slide_flags(args)
    files = find_images(others) if others or not slides else []
    if args.out.exists() and not args.out.is_dir():
        raise InputError(args.out, "is a file, not a folder")
    written = {folder.resolve() for folder in (args.out, args.out / OVERLAYS)}
    if any({file.parent.resolve(), file.resolve().parent} & written for file in (*files, *slides)):
        raise InputError(args.out, "holds the images themselves; results would overwrite them")
    if any(args.out.resolve() == path.resolve() for path in paths):
        raise InputError(args.out, "is the run folder itself; choose another folder for the results")
    model = load_model(
        paths,
        engine=args.engine,
        precision=args.precision,
        device=args.device,
        threads=args.threads,
    )
    if args.no_stain_matching:
        model = dataclasses.replace(model, card=dataclasses.replace(model.card, stain=None))
    show_terms(model.licences)
    found, bad = run_slides(args, model, paths, slides, settings) if slides else ([], None)
    summaries: list[dict[str, Any]] = []
    problems = [] if bad is None else [*bad.problems]
    try:
        summaries = _predict_images(args, model, files) if files else []
    except InputError as error:
        problems += error.problems
    warn_of_unlike([*summaries, *found])
    if problems:
        raise InputError.of(problems)
    if not args.json:
        total = sum(summary["n_objects"] for summary in (*summaries, *found))
        counts = [(len(summaries), "image"), (len(found), "slide")]
        images = " and ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in counts if n)
        print(f"{images}, {total} objects: {args.out}")
    return {"out": str(args.out), "images": summaries} | ({"slides": found} if found else {})


def _predict_images(args: argparse.Namespace, model: Model, files: list[Path]) -> list[dict[str, Any]]:
    """Segment the images that are no slides, with a bar of progress."""
    from rich.console import Console
    from rich.progress import Progress

    from frugalseg.predict import Outputs, predict_files

    outputs = Outputs(args.out, f".{args.format}", overlays=not args.no_overlays, probabilities=args.probabilities)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("segmenting", total=len(files))
        return predict_files(
            model,
            files,
            outputs,
            tta=args.tta,
            pixel_size_um=args.pixel_size,
            advance=lambda: progress.advance(task),
        )
