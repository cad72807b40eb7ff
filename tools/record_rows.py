"""The rows of tools/record_study.py: what each of them changes, and the rules of objects that are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

N_FOLDS = 3
GRADES = "grades.json"
BASE, SHIPPED = "base", "as many steps as the shipped models"
"""The second one is most like the model `glands`, whose rejector its objects teach."""

UNAVERAGED = "no averaging of weights"
"""Not trained: averaging does not change the steps, so the weights of the last checkpoint of `base` are the same."""

HALF = "half of the annotations"
"""Trained on every other image of each fold's training side, in a drawn order."""

TRAININGS: Mapping[str, dict[str, Any]] = {
    BASE: {},
    SHIPPED: {"steps": 3200 / 600},
    "no pretrained encoder": {"pretrained": False},
    "no stain augmentation": {"stain": 0.0, "brightness": 0.0},
    UNAVERAGED: {"ema_decay": 0.0},
    "small objects count as others": {"small_factor": 1.0},
    "gaps count as the rest": {"gap_factor": 0.0},
    "input a third larger": {"object_diameter_px": 83.0},
    "input a quarter smaller": {"object_diameter_px": 47.0},
    "half as many patches of 352 pixels": {"patch_px": 352, "batch_size": 2},
    "borders count three times": {"border_factor": 3.0},
    HALF: {},
}
"""Settings that a row changes; of the steps their multiple."""


@dataclasses.dataclass(frozen=True)
class Phase:
    """What follows the float training of the row `source`: settings, its float network as the teacher or none.

    With `elsewhere` the teacher also annotates the images that `source` did not train on: pseudo labels.
    """

    settings: Mapping[str, Any]
    source: str = BASE
    taught: bool = False
    elsewhere: bool = False


LSQ_3, LSQ_4, LSQ_5 = ({"method": "lsq", "bits": bits} for bits in (3, 4, 5))
PHASES: Mapping[str, Phase] = {
    "LSQ-5": Phase(LSQ_5),
    "LSQ-4": Phase(LSQ_4),
    "LSQ-3": Phase(LSQ_3),
    "INQ-5": Phase({"method": "inq", "bits": 5}),
    "float further": Phase({"method": "none"}),
    "LSQ-4 with codes that cost 20": Phase({**LSQ_4, "entropy_factor": 20.0}),
    "LSQ-4 with codes that cost 60": Phase({**LSQ_4, "entropy_factor": 60.0}),
    "LSQ-4 taught by its float network": Phase(LSQ_4, taught=True),
    "LSQ-3 taught by its float network": Phase(LSQ_3, taught=True),
    "LSQ-4 with codes that cost 60 taught by its float network": Phase({**LSQ_4, "entropy_factor": 60.0}, taught=True),
    "LSQ-4 from half of the annotations": Phase(LSQ_4, HALF),
    "LSQ-4 from half of the annotations taught by its float network": Phase(LSQ_4, HALF, taught=True),
    "LSQ-4 from half of the annotations taught on the other half too": Phase(LSQ_4, HALF, taught=True, elsewhere=True),
}

ROWS = (*TRAININGS, *PHASES)
PHASE = {"steps": 240, "learning_rate": 5e-4}
PLAIN, AVERAGED, BORDERLESS, JUDGED = "as it is", "averaged", "borders do not count", "with the rejector"
FIRST = "cores from .55, nothing rejoins"
VARIANTS: Mapping[str, Mapping[str, float]] = {
    BORDERLESS: {"border_weight": 1e-6},  # 0 would leave the cores out, too
    FIRST: {"core_threshold": 0.55, "fragment_area": 0.0, "opening_radius": 0.0},
    "thin spurs stay": {"opening_radius": 0.0},
    "cores from .65": {"core_threshold": 0.65},
}
"""Other rules of objects, tried with float networks of both lengths."""
