"""The demo's report: what was learned from, what was found, how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from frugalseg.arrays import Image, LabelMap
from frugalseg.metrics import ImageScores, Scores, pool
from frugalseg.report.page import write_report
from frugalseg.report.pictures import contact_sheet, encode_picture, overlay
from frugalseg.report.sections import Figure, FigureSection, NumbersSection, Section, TableSection, TextSection

N_PICTURES = 6


@dataclass(frozen=True, eq=False)
class ImageResult:
    """One test image: its truth, what was found, and the statistics of its scores."""

    name: str
    image: Image
    truth: LabelMap
    found: LabelMap
    scores: ImageScores


@dataclass(frozen=True, eq=False)
class DemoRound:
    """One round: how many images it was trained on, how good it was on the validation images, what was asked for."""

    n_annotated: int
    n_objects: int
    strategy: str
    page: str
    """File of the report on the suggestions, beside the demo's."""
    dice: float | None
    interval: tuple[float, float] | None
    n_validation: int
    picks: tuple[tuple[str, Image, LabelMap], ...]
    """Name, image and annotation of what was asked for."""


@dataclass(frozen=True, eq=False)
class DemoResult:
    """All that the report tells."""

    synthetic: bool
    source: str
    n_pool: int
    roles: str
    steps: int
    class_names: tuple[str, ...]
    rounds: tuple[DemoRound, ...]
    images: tuple[ImageResult, ...]
    pooled: Scores
    model_bytes: int
    float_bytes: int
    bits: int
    members: int
    seconds: Mapping[str, float]


def write_demo_report(path: Path, result: DemoResult) -> None:
    """Write the page."""
    ranked = sorted(result.images, key=lambda image: (pool([image.scores]).object_dice, image.name), reverse=True)
    minutes = sum(result.seconds.values()) / 60
    what = "synthetic glands" if result.synthetic else result.source
    write_report(
        path,
        "Synthetic glands, segmented" if result.synthetic else f"{Path(result.source).name}, segmented",
        [
            _numbers(result),
            _pictures(ranked),
            *(_asked(number, each) for number, each in enumerate(result.rounds)),
            _rounds(result),
            _table(ranked),
            _account(result),
        ],
        summary=(
            f"The program asked for {result.rounds[-1].n_annotated} of {result.n_pool} images of {what} in"
            f" {len(result.rounds)} rounds, learned from their annotations with {result.members} networks of"
            f" {result.bits} bits a weight, and outlined the objects in {len(result.images)} images that it had never"
            f" seen. All of it, from the data to this page, took {minutes:.1f} minutes."
        ),
        footer=f"frugalseg demo, {result.steps} steps",
    )


def _numbers(result: DemoResult) -> Section:
    scores = result.pooled
    return NumbersSection(
        "How good is it?",
        (
            ("object F1", f"{scores.object_f1:.3f}", f"{scores.n_true_positives} of {scores.n_objects_truth} found"),
            ("object Dice", f"{scores.object_dice:.3f}", "1 is a perfect outline"),
            ("object Hausdorff", f"{scores.object_hausdorff:.1f} px", "0 is a perfect outline"),
            ("objects found", str(scores.n_objects_pred), f"{scores.n_false_positives} of them false"),
        ),
        "The metrics of the GlaS challenge, pooled over all objects of the test images, none of which was trained on.",
    )


def _pictures(ranked: Sequence[ImageResult]) -> Section:
    """Best, worst and evenly between: the choice must not flatter."""
    n = min(N_PICTURES, len(ranked))
    chosen = [ranked[round(i * (len(ranked) - 1) / max(1, n - 1))] for i in range(n)]
    figures = tuple(
        Figure(
            encode_picture(overlay(image.image, image.found, truth=image.truth), largest_px=900),
            f"{image.name}: {image.found.max()} outlined objects over the image",
            f"{image.name}: object Dice {pool([image.scores]).object_dice:.3f}",
        )
        for image in chosen
    )
    caption = (
        "Coloured: what the network found, neighbours in different colours. Black and white dashes: the true outlines"
        " where they differ. From the best image to the worst, and evenly between."
    )
    return FigureSection("What it found", figures, caption)


def _asked(number: int, each: DemoRound) -> Section:
    sheet = contact_sheet(
        [overlay(image, labels) for _, image, labels in each.picks],
        [f"{name}: {len(set(labels[labels > 0].tolist()))} objects" for name, _, labels in each.picks],
        columns=3,
        cell_px=360,
    )
    figure = Figure(encode_picture(sheet), f"The {len(each.picks)} images of round {number} with annotated outlines")
    why = {
        "cover": "Nothing is known yet: images that stand for many others, as a pretrained encoder sees them.",
        "suggestive": "The networks differ most about these, and they stand for many others.",
    }
    caption = f"{why.get(each.strategy, '')} The known annotations stand in for the annotator. Reasons: {each.page}."
    return FigureSection(f"Round {number}: what it asked for", (figure,), caption)


def _rounds(result: DemoResult) -> Section:
    rows = [
        (
            str(number),
            each.n_annotated,
            each.n_objects,
            each.dice,
            "–" if each.interval is None else f"{each.interval[0]:.3f} – {each.interval[1]:.3f}",
        )
        for number, each in enumerate(result.rounds)
    ]
    caption = (
        f"Scored on {result.rounds[-1].n_validation} validation images, which were set aside at random and are not"
        " trained on."
    )
    columns = ("round", "images", "objects drawn, validation included", "object Dice", "95 % interval")
    return TableSection("Round by round", columns, tuple(rows), caption, decimals=(0, 0, 0, 3, 0))


def _table(ranked: Sequence[ImageResult]) -> Section:
    rows = []
    for image in ranked:
        scores = pool([image.scores])
        rows.append(
            (
                image.name,
                scores.n_objects_truth,
                scores.n_objects_pred,
                scores.object_f1,
                scores.object_dice,
                scores.object_hausdorff,
            )
        )
    columns = ("image", "true objects", "found", "object F1", "object Dice", "object Hausdorff (px)")
    return TableSection("Every test image", columns, tuple(rows), decimals=(0, 0, 0, 3, 3, 1))


def _account(result: DemoResult) -> Section:
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    size = f"{result.model_bytes / 1e6:.1f} MB instead of {result.float_bytes / 1e6:.1f} MB of floats"
    paragraphs = [
        f"Test images: {result.roles}. Time: {parts}.",
        f"The {result.members} networks are one file, {size}: the weights of each are {result.bits}-bit codes, as INQ"
        " makes them (zero and powers of two).",
    ]
    if result.synthetic:
        paragraphs.append(
            "The images are drawn by a program, so these figures show that everything works; they say nothing about"
            " real tissue. Real images are harder and need more steps: frugalseg train DATA --out RUN takes about half"
            " an hour on two cores. To see this page for images of yours: frugalseg demo --data DATA --out FOLDER."
        )
    else:
        paragraphs.append(
            f"This was a short training of {result.steps} steps. A full one, with the same network, takes about half an"
            f" hour on two cores: frugalseg train {result.source} --out RUN."
        )
    if len(result.class_names) > 1:
        paragraphs.append(f"Objects of all classes ({', '.join(result.class_names)}) are scored together here.")
    return TextSection("What was done", tuple(paragraphs))
