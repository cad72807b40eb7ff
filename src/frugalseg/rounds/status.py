"""How far a project is, what the next round may bring, and whether it is worth the annotator's hour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frugalseg.project import Project, Round


@dataclass(frozen=True)
class Progress:
    """One trained round on the validation images.

    Attributes
    ----------
    number, n_labelled
        Number of the round, and of the images it was trained on.
    dice
        Object Dice of its ensemble on the validation images; None where none was annotated.
    low, high
        Ends of its 95 % interval.
    """

    number: int
    n_labelled: int
    dice: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Outlook:
    """What annotating more may bring.

    Attributes
    ----------
    gain
        Expected rise of object Dice by the next `k` images; None where too little is known.
    stop
        Whether to stop; None where too little is known.
    reason
        Why, in a sentence.
    """

    gain: float | None
    stop: bool | None
    reason: str


def progress(project: Project) -> list[Progress]:
    """The trained rounds, the oldest first."""
    return [_of_round(each) for each in project.rounds() if each.status == "trained"]


def _of_round(each: Round) -> Progress:
    low, high = each.metrics.get("object_dice_interval") or (None, None)
    return Progress(each.number, len(each.labelled), each.metrics.get("object_dice"), low, high)


def outlook(rounds: Sequence[Progress], k: int) -> Outlook:
    """Extrapolate the validation curve by k images.

    Errors fall about as a power of the number of annotated images (Hestness et al. 2017): a straight line through
    log(1 - Dice) against log(n), by least squares. A gain below half the interval's half-width cannot be seen on these
    validation images, so it is no reason to annotate more.
    """
    known = [(each.n_labelled, each.dice, each) for each in rounds if each.dice is not None and each.dice < 1]
    if len({n for n, _, _ in known}) < 2:
        missing = "a second one" if known else "one scored on annotated validation images"
        return Outlook(None, None, f"nothing can be said before there is {missing}")
    x = [math.log(n) for n, _, _ in known]
    y = [math.log(1 - dice) for _, dice, _ in known]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    n = known[-1][0]

    def error(count: int) -> float:
        return math.exp(mean_y + slope * (math.log(count) - mean_x))

    gain = error(n) - error(n + k)
    last = known[-1][2]
    if last.low is None or last.high is None:
        return Outlook(gain, None, "too few validation images to say whether that would show")
    visible = (last.high - last.low) / 4
    if gain < visible:
        reason = f"less than the {visible:.3f} that these validation images could show: stop, or annotate more of them"
        return Outlook(gain, True, reason)
    return Outlook(gain, False, "worth another round")
