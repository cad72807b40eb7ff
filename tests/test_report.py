"""Reports: pictures that show every object, curves, and pages that need nothing from outside."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from frugalseg.report import (
    Figure,
    FigureSection,
    NumbersSection,
    TableSection,
    TextSection,
    contact_sheet,
    curves,
    curves_png,
    encode_picture,
    overlay,
    render_report,
    write_report,
)
from frugalseg.report.palette import CONTOURS, rgb
from frugalseg.report.pictures import neighbour_colours, outlines
from frugalseg.synthetic import synthetic_glands

GREY = np.full((40, 60, 3), 128, dtype=np.uint8)


def boxes() -> np.ndarray:
    """Two objects that touch, one apart."""
    labels = np.zeros((40, 60), dtype=np.int32)
    labels[5:20, 5:20], labels[5:20, 20:35], labels[28:36, 40:55] = 1, 2, 3
    return labels


def test_overlay_draws_outlines_inside_objects_and_leaves_the_rest() -> None:
    labels = boxes()
    before = labels.copy(), GREY.copy()
    drawn = np.asarray(overlay(GREY, labels))
    changed = (drawn != GREY).any(axis=2)
    assert np.array_equal(changed, outlines(labels, 1))
    assert not changed[labels == 0].any()
    assert not changed[7:18, 7:18].any()
    assert changed[5, 5:35].all()  # upper edge of both
    assert changed[5:20, 19:21].all()  # and the line where they touch
    assert np.array_equal(labels, before[0])
    assert np.array_equal(GREY, before[1])


def test_overlay_colours_come_from_the_palette_and_differ_between_neighbours() -> None:
    labels = boxes()
    drawn = np.asarray(overlay(GREY, labels))
    seen = {label: {tuple(c) for c in drawn[outlines(labels, 1) & (labels == label)].tolist()} for label in (1, 2, 3)}
    assert all(len(colours) == 1 for colours in seen.values())
    assert set().union(*seen.values()) <= {rgb(colour) for colour in CONTOURS}
    assert len(set().union(*seen.values())) == 3  # all three are neighbours of each other


def test_neighbours_differ_on_crowded_maps() -> None:
    for seed in range(4):
        labels = synthetic_glands(seed, kind="malignant").labels
        present = np.arange(1, labels.max() + 1, dtype=np.int32)
        colour = np.concatenate([[-1], neighbour_colours(labels, len(CONTOURS), present)])
        for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])):
            touching = (one != other) & (one > 0) & (other > 0)
            assert touching.any() or seed
            assert (colour[one[touching]] != colour[other[touching]]).all()


def test_truth_is_drawn_in_black_and_white_and_below() -> None:
    labels = boxes()
    only_truth = np.asarray(overlay(GREY, np.zeros_like(labels), truth=labels))
    edge = outlines(labels, 1)
    assert {tuple(c) for c in only_truth[edge].tolist()} == {(0, 0, 0), (255, 255, 255)}
    assert np.array_equal(np.asarray(overlay(GREY, labels, truth=labels)), np.asarray(overlay(GREY, labels)))


def test_overlay_of_nothing_unknown_and_large() -> None:
    assert np.array_equal(np.asarray(overlay(GREY, np.full((40, 60), -1, dtype=np.int32))), GREY)
    whole = np.ones((40, 60), dtype=np.int32)
    assert np.array_equal(np.asarray(overlay(GREY, whole)), GREY)  # the image's edge is no outline
    labels = np.zeros((1200, 1600), dtype=np.int32)
    labels[300:900, 400:1200] = 1
    drawn = np.asarray(overlay(np.zeros((1200, 1600, 3), np.uint8), labels))
    assert drawn.any(axis=2)[600].sum() == 10  # two edges, five pixels wide at this size
    with pytest.raises(ValueError, match="does not fit"):
        overlay(GREY, np.zeros((3, 3), dtype=np.int32))


def opened(content: bytes) -> Pillow.Image:
    picture = Pillow.open(io.BytesIO(content))
    picture.load()
    return picture


def test_curves_show_what_there_is() -> None:
    rows = [
        {"step": 10, "loss": 1.0, "validation_object_f1": None, "validation_object_hausdorff": 80.0},
        {"step": 20, "loss": float("nan"), "validation_object_f1": 0.5, "validation_object_hausdorff": 60.0},
        {"step": 30, "loss": 0.4, "note": "text"},
    ]
    everything, loss_only, nothing = (opened(curves_png(r)) for r in (rows, [{"step": 1, "loss": 2.0}], []))
    assert everything.width > 2.5 * loss_only.width
    assert loss_only.size == nothing.size
    colours = {c for _, c in everything.convert("RGB").getcolors(1 << 20) or []}
    assert rgb("#0072B2") in colours
    assert nothing.convert("L").getextrema()[0] < 140  # the words that say so


def test_scores_end_at_one_and_distances_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[float, float]] = {}
    draw = curves._draw

    def noted(axes: Any, title: str, series: Any) -> None:
        draw(axes, title, series)
        seen[title] = axes.get_ylim()

    monkeypatch.setattr(curves, "_draw", noted)
    figures = {"validation_object_f1": 0.5, "training_object_f1": 0.4, "validation_object_hausdorff": 60.0}
    curves_png([{"step": step, "loss": 2.0, **figures} for step in (1, 2)])
    scores = [limits for title, limits in seen.items() if title.startswith("Score")]
    assert scores == [(0.0, 1.0)] * 2
    assert all(limits[1] > 1 for title, limits in seen.items() if not title.startswith("Score"))


def test_curves_are_the_same_every_time() -> None:
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 60)]
    assert curves_png(rows) == curves_png(rows)


def test_contact_sheet_places_every_image() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)]
    images = [np.full((30, 50, 3), colour, dtype=np.uint8) for colour in colours]
    sheet = np.asarray(contact_sheet(images, ["a", "b", "c", "d", "a title far too long for its column"], columns=2))
    for colour in colours:
        assert (sheet == colour).all(axis=2).sum() == 30 * 50
    assert sheet.shape == (8 + 3 * 60, 8 + 2 * 58, 3)
    large = contact_sheet([np.zeros((400, 800, 3), np.uint8)], ["x"], cell_px=100)
    assert large.width == 116
    with pytest.raises(ValueError, match="as many titles"):
        contact_sheet(images, ["a"])
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], [])


def test_pictures_are_encoded_no_larger_than_asked() -> None:
    picture = opened(encode_picture(np.zeros((300, 900, 3), np.uint8), largest_px=300))
    assert (picture.format, picture.size) == ("JPEG", (300, 100))


class Page(HTMLParser):
    """What a page refers to and whether its elements are closed."""

    EMPTY = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.alts: list[str | None] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "img":
            self.alts.append(values.get("alt"))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def example() -> str:
    figure = Figure(encode_picture(GREY), 'an "alt" text', "a caption")
    return render_report(
        "A <report>",
        [
            TextSection("Words", ("one <script>alert(1)</script>", "two")),
            NumbersSection("Numbers", (("object Dice", "0.91", "pooled"), ("images", "8", ""))),
            FigureSection("Curves", (Figure(curves_png([]), "curves"),)),
            FigureSection("Pictures", (figure, figure)),
            TableSection("Scores", ("image", "F1", "objects"), (("a & b", 0.98765, 7), ("c", None, 12)), "per image"),
            TableSection("Lengths", ("image", "px"), (("a", 12.345),), decimals=(0, 1)),
        ],
        summary="what & why",
        footer="seed 3",
    )


def test_page_is_well_formed_and_self_contained() -> None:
    page = Page(example())
    assert page.open == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    inside = [reference for reference in page.references if reference.startswith("#")]
    assert [reference[1:] for reference in inside] == [f"section-{n}" for n in range(1, 7)]
    assert set(page.ids) >= {reference[1:] for reference in inside}
    pictures = [reference for reference in page.references if not reference.startswith("#")]
    assert [picture.split(";")[0] for picture in pictures] == ["data:image/png"] + ["data:image/jpeg"] * 2
    assert page.alts == ["curves", 'an "alt" text', 'an "alt" text']
    assert "url(" not in example()
    assert "http:" not in example()
    assert "https:" not in example()


def test_page_shows_texts_as_they_are() -> None:
    words = Page(example()).words
    for text in (
        "one <script>alert(1)</script>",
        "a & b",
        "0.988",
        "12.3",
        "–",
        "7",
        "what & why",
        "A <report>",
        "per image",
    ):
        assert text in words
    assert any("seed 3" in word for word in words)


def test_page_refuses_what_it_cannot_show(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PNG or JPEG"):
        write_report(tmp_path / "r.html", "t", [FigureSection("f", (Figure(b"GIF89a", "x"),))])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        TableSection("t", ("a", "b"), (("x",),))


def test_report_is_written_as_utf_8(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "r.html", "Drüsen", [TextSection("µm", ())])
    assert "Drüsen" in (tmp_path / "new" / "r.html").read_text(encoding="utf-8")
