"""A page about what was suggested: the images, why they, and where they lie among the others."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from frugalseg.arrays import Image
from frugalseg.images import load_image
from frugalseg.project import Cost, Project
from frugalseg.report import (
    Figure,
    FigureSection,
    NumbersSection,
    Section,
    TableSection,
    TextSection,
    contact_sheet,
    encode_picture,
    overlay,
    write_report,
)
from frugalseg.report.palette import BLUE, VERMILION
from frugalseg.rounds.proposals import LARGEST_UNCERTAINTY, Finding, find_suggested, write_proposals
from frugalseg.rounds.suggesting import Answer
from frugalseg.suggest import Suggestion


def publish(project: Project, answer: Answer) -> Path:
    """Write an answer's page, and the proposals of the round that was asked; the page's path."""
    page = project.folder / "rounds" / f"suggestion-{answer.ask:03d}.html"
    found = find_suggested(answer)
    write_proposals(project, answer, found)
    write_suggestions(page, project, answer, found)
    return page


def write_suggestions(path: Path, project: Project, answer: Answer, found: Sequence[Finding] | None = None) -> None:
    """Write the page of an answer; `found` is what :func:`find_suggested` gave, if it is known already."""
    images = [load_image(sample) for sample in answer.samples]
    found = find_suggested(answer) if found is None else found
    n = len(answer.suggestions)
    what = "window" if any(sample.window for sample in answer.samples) else "image"
    source = (
        "no round has been trained yet, so a pretrained encoder compared the images"
        if answer.round is None
        else f"the {len(answer.engines)} networks of round {answer.round} were asked"
    )
    sections: list[Section] = [
        _numbers(project.cost(), answer),
        _sheet(answer, images, found),
        _reasons(answer),
        _map(answer),
    ]
    if answer.card is not None:
        sections.insert(2, _uncertainty(answer, images, found))
    if answer.set_aside:
        sections.append(_set_aside(answer.set_aside))
    write_report(
        path,
        f"{n} {what}{'' if n == 1 else 's'} to annotate next",
        sections,
        summary=f"Chosen by the strategy '{answer.strategy}' among {len(answer.pool.names)}; {source}.",
        footer=f"suggestion {answer.ask} of the project {project.folder.name}",
    )


def _numbers(cost: Cost, answer: Answer) -> NumbersSection:
    return NumbersSection(
        "So far",
        (
            ("annotated", f"{cost.images}", "images"),
            ("objects drawn", f"{cost.objects}", ""),
            ("outlines drawn", f"{cost.contour_px:,.0f} px", "what an annotator's hand travelled"),
            ("left to choose from", f"{len(answer.pool.names)}", f"scored in {answer.seconds:.0f} s"),
        ),
    )


def _sheet(answer: Answer, images: Sequence[Image], found: Sequence[Finding]) -> FigureSection:
    pictures: list[Image | Pillow.Image] = [*images]
    if answer.card is not None:
        pictures = [overlay(image, each.labels) for image, each in zip(images, found, strict=True)]
    titles = [f"{rank}. {pick.name}" for rank, pick in enumerate(answer.suggestions, start=1)]
    sheet = contact_sheet(pictures, titles, columns=min(4, len(titles)), cell_px=360)
    caption = "" if answer.card is None else "Outlined: what the networks find now, a proposal to correct."
    figure = Figure(encode_picture(sheet), "The suggested images in order: " + ", ".join(titles))
    return FigureSection("Annotate these", (figure,), caption)


def _uncertainty(answer: Answer, images: Sequence[Image], found: Sequence[Finding]) -> FigureSection:
    figures = [
        Figure(
            encode_picture(uncertainty_picture(image, each.uncertainty), largest_px=420),
            f"{pick.name} with bright colours where the networks differ",
            f"{pick.name}: mean {pick.uncertainty:.3f}",
        )
        for image, each, pick in zip(images, found, answer.suggestions, strict=True)
    ]
    caption = (
        "Standard deviation over the networks of each pixel's probability to be object, from dark (they agree) to"
        " yellow, over the image in grey."
    )
    return FigureSection("Where the networks differ", tuple(figures), caption)


def uncertainty_picture(image: Image, uncertainty: NDArray[np.float32]) -> Pillow.Image:
    """The image in grey with its uncertainty map over it, in colours from dark to yellow."""
    from matplotlib import colormaps

    height, width = image.shape[:2]
    large = Pillow.fromarray(uncertainty).resize((width, height), Pillow.Resampling.BILINEAR)
    share = np.clip(np.asarray(large) / LARGEST_UNCERTAINTY, 0, 1)
    colours = 255 * colormaps["inferno"](share)[..., :3]
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    weight = 0.35 + 0.65 * share[..., None]
    return Pillow.fromarray((weight * colours + (1 - weight) * grey).astype(np.uint8))


def _reasons(answer: Answer) -> TableSection:
    cold = answer.card is None
    rows: list[tuple[str | int | float | None, ...]] = [
        (
            rank,
            pick.name,
            None if cold else pick.uncertainty,
            None if cold else pick.uncertainty_rank,
            f"{100 * pick.represents:.0f} %",
            pick.similarity,
            ", ".join(pick.nearest) or "–",
        )
        for rank, pick in enumerate(answer.suggestions, start=1)
    ]
    columns = ("", "image", "uncertainty", "its rank", "represents", "similarity to these", "nearest")
    caption = (
        "Represents: the share of all images that are more like this suggestion than like any other. Nearest: the most"
        " similar images that are not suggested."
    )
    return TableSection("Why these", columns, tuple(rows), caption, decimals=(0, 0, 4, 0, 0, 2, 0))


def _map(answer: Answer) -> FigureSection:
    picture = map_picture(answer.pool.descriptors, answer.labelled, answer.suggestions)
    alt = "Images as points, near each other where their descriptors are alike; suggestions are numbered"
    caption = (
        "Each point is an image; points lie near each other where the networks see similar things (the two directions"
        " in which descriptors differ most)."
    )
    return FigureSection("Where they lie", (Figure(picture, alt),), caption)


def map_picture(
    descriptors: NDArray[np.floating], labelled: NDArray[np.floating], picks: Sequence[Suggestion]
) -> bytes:
    """Descriptors in two dimensions as PNG: the pool grey, annotated images blue, suggestions numbered."""
    from matplotlib.figure import Figure as Canvas

    points = principal_plane(np.concatenate([descriptors, labelled]) if len(labelled) else descriptors)
    pool, known = points[: len(descriptors)], points[len(descriptors) :]
    canvas = Canvas(figsize=(7, 4.8), dpi=120, layout="constrained")
    axes = canvas.subplots()
    axes.scatter(pool[:, 0], pool[:, 1], s=18, color="#BBBBBB", label="to choose from")
    if len(known):
        axes.scatter(known[:, 0], known[:, 1], s=26, color=BLUE, marker="s", label="annotated")
    chosen = pool[[pick.index for pick in picks]]
    axes.scatter(chosen[:, 0], chosen[:, 1], s=60, color=VERMILION, label="suggested")
    for rank, (x, y) in enumerate(chosen.tolist(), start=1):
        axes.annotate(str(rank), (x, y), textcoords="offset points", xytext=(6, 4), fontsize=10)
    axes.set(xticks=[], yticks=[])
    axes.legend(frameon=False, loc="best")
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def principal_plane(descriptors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows in the plane of their largest variance, shape (n, 2); signs are fixed by the largest entry."""
    rows = np.asarray(descriptors, dtype=np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    centred = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((2, rows.shape[1]))
    plane[: min(2, len(directions))] = directions[:2]
    signs = np.sign(plane[np.arange(2), np.abs(plane).argmax(axis=1)])
    return np.asarray(centred @ (plane * np.where(signs == 0, 1, signs)[:, None]).T)


def _set_aside(names: Sequence[str]) -> TextSection:
    listed = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
    return TextSection(
        "For validation",
        (
            "These images were set aside at random and are never suggested. Annotate them too: only they tell how good"
            " the networks have become.",
            listed,
        ),
    )
