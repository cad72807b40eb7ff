"""Curves of a training run."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frugalseg.report.palette import LINES

if TYPE_CHECKING:  # half a second to import, which segmenting should not wait for
    from matplotlib.axes import Axes

_SIDES = ("validation_", "training_")


def curves_png(metrics: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss, scores and Hausdorff distance against steps, on held-out and on training images, as PNG.

    Parameters
    ----------
    metrics
        Rows of ``metrics.jsonl``. Of each row: ``step``, ``loss`` and every number named ``validation_…`` or
        ``training_…``; what is missing, None or not finite leaves a gap. Panels without a number are left out.

    Notes
    -----
    Draws on a figure of its own without pyplot, so that it works in threads and leaves no window or global state.
    """
    names = sorted({name for row in metrics for name in row if name == "loss" or name.startswith(_SIDES)})
    series = {name: points for name in names if (points := _points(metrics, name))}
    scores = [name for name in series if not name.endswith(("loss", "hausdorff"))]
    panels = {
        "Loss": [name for name in series if name.endswith("loss")],
        "Score on held-out images": [name for name in scores if name.startswith("validation_")],
        "Score on training images": [name for name in scores if name.startswith("training_")],
        "Hausdorff distance (px)": [name for name in series if name.endswith("hausdorff")],
    }
    filled = {title: members for title, members in panels.items() if members}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * max(1, len(filled)), 3.4), dpi=120, layout="constrained")
    if not filled:
        figure.text(0.5, 0.5, "No measurements yet", ha="center", va="center", color="#555555")
    for position, (title, members) in enumerate(filled.items(), start=1):
        axes = figure.add_subplot(1, len(filled), position)
        _draw(axes, title, {name: series[name] for name in members})
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _points(metrics: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of the rows that have a finite number there."""
    return [
        (float(row["step"]), float(value))
        for row in metrics
        if isinstance(value := row.get(name), int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def _draw(axes: Axes, title: str, series: Mapping[str, list[tuple[float, float]]]) -> None:
    markers = "os^Dvx"
    for number, (name, points) in enumerate(series.items()):
        steps, values = zip(*points, strict=True)
        label = _label(name, title)
        # Markers as well as colours, for print and for any colour vision.
        axes.plot(
            steps,
            values,
            color=LINES[number % len(LINES)],
            marker=markers[number % len(markers)] if len(points) <= 40 else None,
            markersize=4,
            linewidth=1.6,
            label=label,
        )
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("step")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if title.startswith("Score"):
        axes.set_ylim(min(0.0, *(value for points in series.values() for _, value in points)), 1.0)
    else:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)


def _label(name: str, title: str) -> str:
    """What a curve is called in its panel; the side only where the panel's title does not say it."""
    if name.endswith("hausdorff"):
        return "held-out images" if name.startswith("validation_") else "training images"
    for side in _SIDES:
        name = name.removeprefix(side)
    return name.replace("_", " ")
