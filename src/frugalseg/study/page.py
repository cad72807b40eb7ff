"""The study as Markdown: the parts of its page that are made from results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from frugalseg.study.grid import EVERY, GRID, NETWORKS, StudyCell
from frugalseg.study.literature import PUBLISHED, Published
from frugalseg.study.questions import QUESTIONS, answer
from frugalseg.study.reading import PARTS, CellResult
from frugalseg.study.saturation import saturation
from frugalseg.study.tables import Row, cells_not_run, in_short, in_words, table_rows

NAMES = ("answers", "figures", "others", "folds", "saturation", "not run")
"""Parts of the page, between markers of these names."""

MARKER = "<!-- made by tools/study_page.py: {} {} -->"


def render(
    page: str,
    results: Sequence[CellResult],
    picture: str | None = None,
    *,
    shipped: Sequence[Published] = (),
    held_out: Mapping[str, str] | None = None,
) -> str:
    """`page` with all its parts made anew; ``ValueError`` where a marker is missing.

    Parameters
    ----------
    page, results
        The page as it is; cells that were run.
    picture
        A link to the picture, which comes with the figures; None for none.
    shipped
        Figures of the gland models that come with the package; NaN for parts that are not known.
    held_out
        Figures on patients held out, by training.
    """
    shown = f"\n\n![Object Dice on part A by selection and training]({picture})\n" if picture else ""
    parts = {
        "answers": answers(results),
        "figures": figures(results) + shown,
        "others": others(results, shipped),
        "folds": folds(results, held_out or {}),
        "saturation": saturation_table(),
        "not run": not_run(results),
    }
    for name in NAMES:
        begin, end = (MARKER.format(name, word) for word in ("begins", "ends"))
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page lacks the markers of {name!r}")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{parts[name].strip()}\n\n{end}{rest.split(end)[1]}"
    return page


def answers(results: Sequence[CellResult]) -> str:
    """A paragraph for each question."""
    paragraphs = []
    for question in QUESTIONS:
        found = answer(question, results)
        lines = "\n".join(f"- {in_words(each)}" for each in found)
        paragraphs.append(f"**{question.title}** {in_short(found)}\n\n{lines}")
    return "\n\n".join(paragraphs)


def figures(results: Sequence[CellResult]) -> str:
    """The table of all rows."""
    rows = table_rows(results)
    if not rows:
        return "No cell has been run."
    lines = [
        "| `--cells` | seeds | part A: F1 / Dice / Hausdorff | part B | disagreement | bytes plain | coded | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(_line(row) for row in rows)]) + f"\n\n{_made_with(results)}"


def _made_with(results: Sequence[CellResult]) -> str:
    """Machines and software that the results come from."""
    kinds = {
        f"{each.get('processor')}, threads a network {each.get('threads')}, torch {each.get('torch')},"
        f" Python {each.get('python')}, frugalseg {each.get('frugalseg')}"
        for each in (result.environment for result in results)
    }
    return f"Computed with: {'; '.join(sorted(kinds))}."


def _line(row: Row) -> str:
    parts = [" / ".join(row.figures[part]) if part in row.figures else "–" for part in PARTS]
    return (
        f"| `{row.pattern}` | {', '.join(map(str, row.seeds))} | {parts[0]} | {parts[1]} | {row.disagreement}"
        f" | {row.plain_bytes:,} | {row.coded_bytes:,} | {row.minutes:.1f} |"
    )


def others(results: Sequence[CellResult], shipped: Sequence[Published] = ()) -> str:
    """Other people's figures, and beside them ours of the paper's best set-up, and of the models that ship."""
    lines = [
        "| | object F1: A / B | object Dice | object Hausdorff | how sure |",
        "| --- | --- | --- | --- | --- |",
        *(_published(each) for each in PUBLISHED),
    ]
    found = {row.cell.row: row for row in table_rows(results)}
    for cell in _ours():
        row = found.get(cell.row)
        if row is not None:
            both = [row.figures.get(part, ("–", "–", "–")) for part in PARTS]
            cells = " | ".join(f"{a} / {b}" for a, b in zip(*both, strict=True))
            lines.append(f"| **ours**, `{row.pattern}` | {cells} | seeds {', '.join(map(str, row.seeds))} |")
    if not any(cell.row in found for cell in _ours()):
        lines.append("| **ours**, the paper's set-up | not run | | | |")
    lines += [_published(each) for each in shipped]
    return "\n".join(lines)


def folds(results: Sequence[CellResult], held_out: Mapping[str, str]) -> str:
    """Part A beside patients held out, for each training that was run on all images."""
    cells = [cell for cell in _ours() if (cell.net, cell.selection, cell.n_networks) == ("lite", EVERY, 1)]
    rows = {row.cell.row: row for row in table_rows(results)}
    lines = [
        "| training on all images | seeds | part A: F1 / Dice / Hausdorff | held-out patients |",
        "| --- | --- | --- | --- |",
    ]
    for cell in cells:
        row = rows.get(cell.row)
        ours = ("–", "not run") if row is None else (", ".join(map(str, row.seeds)), " / ".join(row.figures["testA"]))
        lines.append(f"| `{cell.training}` | {' | '.join(ours)} | {held_out.get(cell.training, 'not run')} |")
    return "\n".join(lines)


def _ours() -> list[StudyCell]:
    """Cells of the set-ups whose figures the paper gives, and the same with all images."""
    numbers = (1, *sorted(set(NETWORKS.values())))
    first = StudyCell("lite", EVERY, "float", 1, 0)
    return [
        replace(first, net=net, selection=selection, training=training, n_networks=number)
        for net in ("lite", "fcn")
        for selection, training in (
            ("suggestive-inq-7", "inq-7"),
            ("suggestive-inq-5", "inq-5"),
            (EVERY, "float"),
            (EVERY, "inq-5"),
        )
        for number in numbers
    ]


def _published(row: Published) -> str:
    figures = ((row.f1, 3), (row.dice, 3), (row.hausdorff, 1))
    pairs = [f"{_short(a, digits)} / {_short(b, digits)}" for (a, b), digits in figures]
    return f"| {row.name} | {' | '.join(pairs)} | {row.sure} |"


def _short(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def saturation_table() -> str:
    """What INQ makes of normal weights with more and more bits."""
    lines = [
        "| bits | weights unlike those of 9 bits | relative error (RMSE) | entropy of the codes, bits |",
        "| --- | --- | --- | --- |",
    ]
    for each in saturation():
        share = f"{100 * each.differs_from_9:.3f} %"
        lines.append(f"| {each.bits} | {share} | {each.relative_rmse:.4f} | {each.entropy:.3f} |")
    return "\n".join(lines)


def not_run(results: Sequence[CellResult]) -> str:
    """Cells of the grid without a result."""
    parts = []
    for preset, number in NETWORKS.items():
        if preset != "cpu" and not any(result.cell.n_networks == number for result in results):
            parts.append(f"Preset `{preset}`: none of the {len(GRID[preset])} cells has been run.")
            continue
        groups = cells_not_run(results, preset)
        of_grid = set(GRID[preset])
        n_done = len({result.cell for result in results} & of_grid)
        parts.append(f"Preset `{preset}`: {n_done} of {len(of_grid)} cells have been run. Not run:")
        parts.append("\n".join(f"- `{place}`: {', '.join(names)}" for place, names in groups.items()) or "- none")
    return "\n\n".join(parts)
