"""The study as a picture: object Dice on part A by selection and training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from frugalseg.report.palette import LINES
from frugalseg.study.grid import EVERY, SELECTIONS, TRAININGS
from frugalseg.study.literature import PAPER
from frugalseg.study.questions import label
from frugalseg.study.reading import CellResult, by_row, mean_and_deviation

PART, FIGURE = "testA", "object_dice"


def study_picture(results: Sequence[CellResult], net: str) -> bytes:
    """PNG of one network's cells: a panel for each number of networks; seeds are small points, means large ones."""
    from matplotlib.figure import Figure

    own = [result for result in results if result.cell.net == net and PART in result.scores]
    numbers = sorted({result.cell.n_networks for result in own})
    selections = [name for name in (*SELECTIONS, EVERY) if any(result.cell.selection == name for result in own)]
    trainings = [name for name in TRAININGS if any(result.cell.training == name for result in own)]
    canvas = Figure(figsize=(5.2 * max(1, len(numbers)) + 2, 4.4), dpi=120, layout="constrained")
    panels = canvas.subplots(1, max(1, len(numbers)), sharey=True, squeeze=False)[0]
    for panel, number in zip(panels, numbers, strict=False):
        _draw(panel, [result for result in own if result.cell.n_networks == number], selections, trainings)
        panel.set_title("single networks" if number == 1 else f"{number} networks averaged")
        panel.axhline(PAPER.dice[0], color="#999999", linewidth=1, linestyle=":", label="Xu et al. 2018")
    panels[0].set_ylabel("object Dice, test part A")
    canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw(axes: Any, results: Sequence[CellResult], selections: Sequence[str], trainings: Sequence[str]) -> None:
    for group in by_row(results).values():
        cell = group[0].cell
        index = trainings.index(cell.training)
        place = selections.index(cell.selection) + 0.7 * ((index + 0.5) / len(trainings) - 0.5)
        colour, marker = LINES[index % len(LINES)], "os^D"[index // len(LINES) % 4]
        values = [result.figure(PART, FIGURE) for result in group]
        axes.scatter([place] * len(values), values, s=8, color=colour, alpha=0.5, marker=marker)
        axes.scatter([place], [mean_and_deviation(values)[0]], s=40, color=colour, marker=marker)
    for index, name in enumerate(trainings):
        axes.scatter([], [], color=LINES[index % len(LINES)], marker="os^D"[index // len(LINES) % 4], label=label(name))
    axes.set_xticks(range(len(selections)), [_short(name) for name in selections], fontsize=8)
    axes.set_xlim(-0.5, len(selections) - 0.5)
    axes.grid(alpha=0.3, axis="y")


def _short(selection: str) -> str:
    return selection.replace("suggestive-", "by ")
