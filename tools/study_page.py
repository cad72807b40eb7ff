"""Make docs/results/study.md and its picture from the results in docs/results/study.

    python tools/study_page.py [--results DIR]

Results are cells of `frugalseg reproduce glas`: copy the files of DIR/ledger there. What is between the page's markers
is made anew; what lies outside them is written by hand. The figures of the models that ship come from
models/figures.json, those of patients held out from docs/results/record (tools/record_study.py). Rows that were scored
on test part A get a line in its ledger.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

from record_study import held_out_figures

from frugalseg.atomic import write_bytes, write_text
from frugalseg.study.literature import Published
from frugalseg.study.page import render
from frugalseg.study.picture import study_picture
from frugalseg.study.reading import CellResult, read_results
from frugalseg.study.tables import table_rows

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results" / "study"
PAGE = RESULTS.parent / "study.md"
LEDGER = RESULTS.parent / "test-a-ledger.md"
FIGURES = DOCS.parent / "models" / "figures.json"
CARDS = "../../models/"
PICTURE = DOCS / "images" / "study.png"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: docs/results/study")
    results = read_results(parser.parse_args(arguments).results)
    nets = sorted({result.cell.net for result in results}, reverse=True)  # lite before fcn
    if nets:
        write_bytes(PICTURE, study_picture(results, nets[0]))
    page = render(
        PAGE.read_text(encoding="utf-8"),
        results,
        "../images/study.png" if nets else None,
        shipped=shipped_models(),
        held_out=held_out_figures({"float": "float further", "inq-5": "INQ-5"}),
    )
    write_text(PAGE, page)
    write_ledger(results)


def shipped_models() -> list[Published]:
    """Rows of the gland models that ship, as measured from their files: as they are, and averaged."""
    rows = []
    for name, model in json.loads(FIGURES.read_text(encoding="utf-8")).items():
        for how in ("", ", averaged"):
            parts = [model["scores"].get(f"{part}{how}", {}) for part in ("testA", "testB")]
            f1, dice, hausdorff = (
                tuple(scores.get(f"object_{figure}", math.nan) for scores in parts)
                for figure in ("f1", "dice", "hausdorff")
            )
            about = f"[its card]({CARDS}{Path(model['file']).stem}.md), [ablation](glands.md#ingredients)"
            networks = f"{model['members']} network{'s' if model['members'] > 1 else ''}"
            title = f"**ours**, `{name}`{how}: {networks}, {model['bytes'] / 1e6:.1f} MB"
            rows.append(Published(title, f1, dice, hausdorff, about))
    return rows


def write_ledger(results: Sequence[CellResult]) -> None:
    """A line for each row whose seeds are not in the ledger of test part A yet."""
    before = LEDGER.read_text(encoding="utf-8").rstrip("\n") + "\n"
    commit = subprocess.run(
        ["git", "-C", str(DOCS), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = ""
    for row in table_rows(results):
        seeds = ", ".join(map(str, row.seeds))
        command = f"`reproduce glas`, cells {row.cell.row}, seeds {seeds}, no averaging at test time"
        if "testA" in row.figures and command not in before:
            figures = " / ".join(row.figures["testA"])
            lines += f"| {datetime.date.today().isoformat()} | {commit or 'unknown'} | {command} | {figures} |\n"
    if lines:
        write_text(LEDGER, before + lines)


if __name__ == "__main__":
    main()
