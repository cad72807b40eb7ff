"""Which images to annotate next, and why; numbers in, numbers out, without torch and without a single mask.

``scores`` turns the maps of an ensemble into numbers for each image, ``cover`` finds images that represent others,
``strategies`` chooses by them, ``reasons`` says why.
"""

from __future__ import annotations

from frugalseg.suggest.cover import coverage, greedy_cover, similarity
from frugalseg.suggest.pool import Ask, Pool
from frugalseg.suggest.reasons import Suggestion, explain
from frugalseg.suggest.scores import ImageScores, score_maps
from frugalseg.suggest.strategies import COMPARING, STRATEGIES, suggest

__all__ = [
    "COMPARING",
    "STRATEGIES",
    "Ask",
    "ImageScores",
    "Pool",
    "Suggestion",
    "coverage",
    "explain",
    "greedy_cover",
    "score_maps",
    "similarity",
    "suggest",
]
