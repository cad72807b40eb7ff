"""The study's questions, and the answers that its results allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frugalseg.study.comparing import DISAGREEMENT, LOWER_IS_BETTER, Contrast, Difference, difference
from frugalseg.study.grid import EVERY, NETS
from frugalseg.study.reading import PARTS, CellResult

NOT_RUN = "not run"


@dataclass(frozen=True)
class Question:
    """A question and the contrasts that bear on it.

    Attributes
    ----------
    title
        The question.
    contrasts
        Each is told in a sentence of its own, for each network.
    answers
        Words for a difference above 0, one below 0, and one that the interval does not tell from 0; above means better
        or, of disagreement, larger.
    """

    title: str
    contrasts: tuple[Contrast, ...]
    answers: tuple[str, str, str] = ("helps", "hurts", "not shown")


@dataclass(frozen=True)
class Answer:
    """What the results say to a contrast of a question on one part of the data."""

    contrast: Contrast
    net: str
    part: str
    found: Difference | None
    verdict: str


def _selections(members: Sequence[str], right: str) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(f"images suggested by {label(name)} members against {_theirs(right)}", "selection", name, right)
        for name in (f"suggestive-{each}" for each in members)
    )


def _theirs(selection: str) -> str:
    return "random ones" if selection == "random" else f"those of {label(selection)} members"


def _trainings(names: Sequence[str], right: str) -> tuple[Contrast, ...]:
    return tuple(Contrast(f"{label(name)} against {label(right)}", "training", name, right) for name in names)


def _disagreements(names: Sequence[str]) -> tuple[Contrast, ...]:
    return tuple(
        Contrast(f"members trained with {label(name)} against float ones", "training", name, "float", {}, DISAGREEMENT)
        for name in names
    )


def label(name: str) -> str:
    """A selection's or training's name in words."""
    words = {
        "random": "random images",
        "float": "float training",
        "float-plain": "float without further steps",
        "freeze": "freezing alone",
        "decay": "stronger weight decay",
        "suggestive-float": "float",
        EVERY: "all images",
    }
    if name in words:
        return words[name]
    bare = name.removeprefix("suggestive-")
    method, _, bits = bare.partition("-")
    if method == "noise":
        return f"noise as large as INQ-{bits}'s error"
    return {"inq": f"INQ-{bits}", "dorefa": f"DoReFa-{bits}", "twn": f"TWN-{bits}"}.get(method, bare)


QUESTIONS: tuple[Question, ...] = (
    Question(
        "Does quantized suggestion (QSA) help?",
        (
            *_selections(("inq-5", "float"), "random"),
            *_selections(("inq-5",), "suggestive-float"),
        ),
    ),
    Question(
        "Does quantized training (QNT) help?",
        (*_trainings(("inq-5", "inq-7", "inq-3"), "float"), *_trainings(("float",), "float-plain")),
    ),
    Question(
        "Is 7 bits better than 5 or 3?",
        (
            *_trainings(("inq-7",), "inq-5"),
            *_trainings(("inq-7",), "inq-3"),
            *_selections(("inq-7",), "suggestive-inq-5"),
            *_selections(("inq-7",), "suggestive-inq-3"),
        ),
        ("better", "worse", "no difference shown"),
    ),
    Question(
        "Do DoReFa and TWN fail?",
        (*_trainings(("dorefa-1", "twn-2"), "float"), *_selections(("dorefa-1", "twn-2"), "suggestive-float")),
        ("better, not worse", "worse", "no difference shown"),
    ),
    Question(
        "Is it the quantization, or noise or freezing of that size?",
        (
            *_trainings(("inq-5",), "noise-5"),
            *_trainings(("inq-5",), "freeze"),
            *_trainings(("noise-5", "freeze", "decay"), "float"),
        ),
    ),
    Question(
        "Do quantized members differ more?",
        _disagreements(("inq-5", "inq-3", "inq-7", "noise-5")),
        ("they differ more", "they differ less", "not shown"),
    ),
    Question(
        "What does an ensemble do?",
        (
            Contrast("float ensembles against single float networks", "n_networks", 0, 1, {"training": ("float",)}),
            Contrast("INQ-5 ensembles against single INQ-5 networks", "n_networks", 0, 1, {"training": ("inq-5",)}),
        ),
    ),
    Question(
        "Is half of the images enough?",
        (
            Contrast("half of them, suggested by INQ-5 members, against all", "selection", "suggestive-inq-5", EVERY),
            Contrast("half of them, at random, against all", "selection", "random", EVERY),
        ),
        ("better than all", "worse than all", "no difference shown"),
    ),
)


def answer(question: Question, results: Sequence[CellResult]) -> list[Answer]:
    """An answer to each contrast for each network and part that was run; one without a difference where none was."""
    answers = []
    for contrast in question.contrasts:
        pairs = contrast.pairs(results)
        found = [
            Answer(contrast, net, part, gap, _verdict(question, contrast, gap))
            for net in sorted({left.cell.net for left, _ in pairs}, key=NETS.index)
            for part in PARTS
            if (gap := difference([pair for pair in pairs if pair[0].cell.net == net], part, contrast.figure))
        ]
        answers += found or [Answer(contrast, "", "", None, NOT_RUN)]
    return answers


def _verdict(question: Question, contrast: Contrast, found: Difference) -> str:
    sign = -found.sign if contrast.figure in LOWER_IS_BETTER else found.sign
    word = question.answers[{1: 0, -1: 1, 0: 2}[sign]]
    return f"{word} in the only seed, which shows nothing of others" if sign and found.n_seeds == 1 else word
