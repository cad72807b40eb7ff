"""Rows of the study's tables: a row is what cells that differ in the seed alone have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frugalseg.study.comparing import DISAGREEMENT
from frugalseg.study.grid import GRID, SELECTIONS, TRAININGS, StudyCell
from frugalseg.study.questions import NOT_RUN, Answer
from frugalseg.study.reading import FIGURES, PARTS, CellResult, by_row, mean_and_deviation

DIGITS = {"object_f1": 3, "object_dice": 3, "object_hausdorff": 1}


@dataclass(frozen=True)
class Row:
    """A row: cells, seeds, and in words the figures of each part, disagreement, bytes and minutes."""

    cell: StudyCell
    seeds: tuple[int, ...]
    figures: dict[str, tuple[str, ...]]
    disagreement: str
    plain_bytes: int
    coded_bytes: int
    minutes: float

    @property
    def pattern(self) -> str:
        """What ``--cells`` takes to run the row's cells."""
        return f"{self.cell.row}/*"


def table_rows(results: Sequence[CellResult]) -> list[Row]:
    """A row for each group of cells that has been run, in the grid's order."""
    return sorted((_row(group) for group in by_row(results).values()), key=lambda row: _place(row.cell))


def _place(cell: StudyCell) -> tuple[object, ...]:
    selections = list(SELECTIONS)
    selection = selections.index(cell.selection) if cell.selection in selections else len(selections)
    return cell.net != "lite", cell.n_networks, selection, TRAININGS.index(cell.training)


def _row(group: Sequence[CellResult]) -> Row:
    figures = {}
    for part in PARTS:
        scored = [result for result in group if part in result.scores]
        if scored:
            figures[part] = tuple(
                spread([result.figure(part, name) for result in scored], DIGITS[name]) for name in FIGURES
            )
    apart = [float(result.disagreement["testA"].mean()) for result in group if "testA" in result.disagreement]
    return Row(
        cell=group[0].cell,
        seeds=tuple(result.cell.seed for result in group),
        figures=figures,
        disagreement=spread(apart, 4) if apart else "–",
        plain_bytes=round(mean_and_deviation([result.bytes["plain"] for result in group])[0]),
        coded_bytes=round(mean_and_deviation([result.bytes["coded"] for result in group])[0]),
        minutes=mean_and_deviation([result.minutes for result in group])[0],
    )


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f}" if deviation is None else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def in_words(answer: Answer) -> str:
    """An answer as a sentence."""
    words = answer.contrast.words[0].upper() + answer.contrast.words[1:]
    if answer.found is None:
        return f"{words}: {NOT_RUN}."
    found = answer.found
    figure = "standard deviation" if answer.contrast.figure == DISAGREEMENT else "object Dice"
    part = answer.part.removeprefix("test")
    seeds = f"{found.n_seeds} seed{'' if found.n_seeds == 1 else 's'}"
    pairs = f"{found.n_pairs} pair{'' if found.n_pairs == 1 else 's'} of {seeds}"
    return (
        f"{words} (`{answer.net}`, part {part}): {found.mean:+.4f} {figure}"
        f" [{found.low:+.4f}, {found.high:+.4f}], {pairs}: {answer.verdict}."
    )


def in_short(answers: Sequence[Answer]) -> str:
    """The verdict on a question: that on its first contrast, for each network and part."""
    first = [each for each in answers if each.contrast == answers[0].contrast]
    if first[0].found is None:
        return "Not run." if all(each.found is None for each in answers) else "Run in part."
    told = [f"`{each.net}`, part {each.part.removeprefix('test')}: {each.verdict}" for each in first]
    return f"By the first line: {'; '.join(told)}."


def cells_not_run(results: Sequence[CellResult], preset: str) -> dict[str, list[str]]:
    """By network, images and number of networks: trainings of the grid that lack some or all seeds."""
    done = {result.cell for result in results}
    missing: dict[tuple[str, str], list[int]] = {}
    for cell in GRID[preset]:
        if cell not in done:
            missing.setdefault((_place_name(cell), cell.training), []).append(cell.seed)
    n_seeds = len({cell.seed for cell in GRID[preset]})
    groups: dict[str, list[str]] = {place: [] for place, _ in missing}
    for (place, training), seeds in sorted(missing.items(), key=lambda each: TRAININGS.index(each[0][1])):
        lacking = "" if len(seeds) == n_seeds else f" (seed {', '.join(map(str, seeds))})"
        groups[place].append(training + lacking)
    return groups


def _place_name(cell: StudyCell) -> str:
    """Such as ``lite/half/random/*/x1``."""
    return cell.row.replace(f"/{cell.training}/", "/*/")
