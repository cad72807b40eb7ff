"""The study's results as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frugalseg.report import Figure, FigureSection, Section, TableSection, TextSection, write_report
from frugalseg.study.picture import study_picture
from frugalseg.study.questions import QUESTIONS, answer
from frugalseg.study.reading import PARTS, CellResult
from frugalseg.study.tables import in_words, table_rows

COLUMNS = (
    "cells",
    "seeds",
    "part A: F1 / Dice / Hausdorff",
    "part B",
    "disagreement",
    "bytes plain",
    "bytes coded",
    "minutes",
)


def write_study(out: Path, results: Sequence[CellResult]) -> Path:
    """Write ``report.html`` into `out`; the page's path."""
    page = out / "report.html"
    sections: list[Section] = []
    for net in dict.fromkeys(result.cell.net for result in results):
        picture = Figure(study_picture(results, net), f"Object Dice of {net} by selection and training")
        sections.append(FigureSection(net, (picture,), "Small points: seeds. Large ones: means."))
    rows = tuple(
        (
            row.cell.row,
            ", ".join(map(str, row.seeds)),
            *(" / ".join(row.figures[part]) if part in row.figures else None for part in PARTS),
            row.disagreement,
            row.plain_bytes,
            row.coded_bytes,
            round(row.minutes, 1),
        )
        for row in table_rows(results)
    )
    sections.append(
        TableSection("Figures", COLUMNS, rows, "Means ± standard deviations over seeds.", (3, 3, 3, 3, 3, 0, 0, 1))
    )
    sections += [
        TextSection(question.title, tuple(in_words(each).replace("`", "") for each in answer(question, results)))
        for question in QUESTIONS
    ]
    about = "Intervals: 95 %, a paired bootstrap over test images and seeds. Schedule and augmentation are ours."
    write_report(page, "The paper's study again", sections, summary=about, footer="reproduce glas")
    return page
