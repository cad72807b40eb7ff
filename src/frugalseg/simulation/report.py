"""A simulation's results as a page, a picture and a table of numbers."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_bytes, write_json
from frugalseg.report import Figure, FigureSection, Section, TableSection, TextSection, write_report
from frugalseg.report.palette import LINES
from frugalseg.simulation.curves import BASELINE, Comparison, Curve, area_under

FIGURES = ("object_dice", "object_f1", "object_hausdorff")


def summarise(curves: Sequence[Curve], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All figures of a simulation, for JSON: means and standard deviations over seeds, differences from random."""
    return {
        "curves": {
            curve.name: {
                "budgets": list(curve.budgets),
                "seeds": list(curve.seeds),
                **{name: _spread(curve.figures(name)) for name in FIGURES},
                "objects": curve.objects.mean(axis=0).round(1).tolist(),
                "outline_px": curve.outline_px.mean(axis=0).round().tolist(),
                "area_object_dice": round(float(area_under(curve.budgets, curve.figures("object_dice")).mean()), 5),
            }
            for curve in curves
        },
        "against_random": {
            each.name: {
                "n_seeds": each.n_seeds,
                "object_dice": [[round(value, 5) for value in row] for row in each.by_budget],
                "area": [round(value, 5) for value in each.area],
                "saved": [[None if math.isnan(value) else round(value, 4) for value in row] for row in each.saved],
                "verdict": each.verdict,
            }
            for each in comparisons
        },
    }


def _spread(values: Any) -> dict[str, list[float | None]]:
    """Mean and standard deviation over the seeds; of a single seed there is none."""
    deviation = values.std(axis=0, ddof=1).round(5).tolist() if len(values) > 1 else [None] * values.shape[1]
    return {"mean": values.mean(axis=0).round(5).tolist(), "sd": deviation}


def write_simulation(
    out: Path, curves: Sequence[Curve], comparisons: Sequence[Comparison], about: str, unit: str = "images"
) -> Path:
    """Write ``summary.json``, ``curves.png`` and ``report.html`` into `out`; the page's path.

    Parameters
    ----------
    about
        What was played, in a sentence.
    unit
        What budgets count, in the plural: images or windows.
    """
    picture = curves_picture(curves, unit)
    write_json(out / "summary.json", summarise(curves, comparisons))
    write_bytes(out / "curves.png", picture)
    page = out / "report.html"
    alt = f"Object Dice against annotated {unit}, a line for each strategy with its spread over seeds"
    sections: list[Section] = [
        FigureSection(
            "How good after how many annotations?",
            (Figure(picture, alt),),
            "Lines: means over seeds. Bands: one standard deviation over seeds. The first point is common to all.",
        ),
        _table(curves, unit),
    ]
    sections += [_comparison_table(comparisons, unit)] if comparisons else [_no_baseline()]
    write_report(page, "Which images to annotate: strategies compared", sections, summary=about, footer="simulate")
    return page


def curves_picture(curves: Sequence[Curve], unit: str = "images") -> bytes:
    """Object Dice and object F1 against annotated images or windows, as PNG."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 4.2), dpi=120, layout="constrained")
    for place, (name, title) in enumerate((("object_dice", "Object Dice"), ("object_f1", "Object F1")), start=1):
        axes = canvas.add_subplot(1, 2, place)
        for index, curve in enumerate(curves):
            values = curve.figures(name)
            mean = values.mean(axis=0)
            colour, style = LINES[index % len(LINES)], "--" if curve.name == BASELINE else "-"
            axes.plot(curve.budgets, mean, style, color=colour, marker="o", markersize=4, label=curve.name)
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                axes.fill_between(curve.budgets, mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
        axes.set(xlabel=f"annotated {unit}", title=title)
        axes.grid(alpha=0.3)
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    stream = io.BytesIO()
    canvas.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _table(curves: Sequence[Curve], unit: str) -> TableSection:
    rows: list[tuple[str | int | float | None, ...]] = []
    for curve in curves:
        spreads = {name: _spread(curve.figures(name)) for name in FIGURES}
        for at, budget in enumerate(curve.budgets):
            rows.append(
                (
                    curve.name,
                    budget,
                    round(float(curve.objects[:, at].mean())),
                    *(spreads[name]["mean"][at] for name in FIGURES),
                    spreads["object_dice"]["sd"][at],
                    len(curve.seeds),
                )
            )
    columns = ("strategy", unit, "objects", "object Dice", "object F1", "Hausdorff (px)", "s.d. of Dice", "seeds")
    return TableSection("Figures", columns, tuple(rows), decimals=(0, 0, 0, 3, 3, 1, 3, 0))


def _comparison_table(comparisons: Sequence[Comparison], unit: str) -> TableSection:
    rows = []
    for each in comparisons:
        known = [row for row in each.saved if not math.isnan(row[1])]
        saved = "; ".join(f"{_percent(share)} at {budget} [{_percent(low)}, {_percent(high)}]"
                          for budget, share, low, high in known)  # fmt: skip
        area, low, high = each.area
        rows.append((each.name, each.n_seeds, f"{area:+.4f} [{low:+.4f}, {high:+.4f}]", saved or "–", each.verdict))
    caption = (
        f"Difference of the areas under the curves of object Dice, and the share of annotated {unit} saved at equal"
        " Dice; in brackets 95 % intervals of a paired bootstrap over test images and seeds."
    )
    columns = ("strategy", "seeds", "area against random", "annotation saved", "verdict")
    return TableSection(f"Against random {unit}", columns, tuple(rows), caption)


def _no_baseline() -> TextSection:
    return TextSection("Against random images", ("Random images were not played: add the strategy 'random'.",))


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"
