"""From dye concentrations to colours: Beer-Lambert absorption, light, optics and sensor of one slide.

References
----------
Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", Analytical and Quantitative
Cytology and Histology 23 (2001): the optical densities of haematoxylin and eosin in red, green and blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import Image
from frugalseg.synthetic.texture import Field

HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
EOSIN = np.array([0.072, 0.990, 0.105])


@dataclass(frozen=True)
class Stain:
    """What one slide looks like: its dyes, the lamp, the sharpness and the sensor."""

    haematoxylin: NDArray[np.float64]
    """Optical density of unit concentration in red, green, blue; eosin likewise. The strength is in the length."""
    eosin: NDArray[np.float64]
    white: NDArray[np.float64]
    """Colour of the empty slide, 0-255."""
    tilt: NDArray[np.float64]
    """Relative change of the light from the centre to the lower and to the right edge."""
    blur_px: float
    noise: float
    """Standard deviation of the sensor's noise, in grey levels of 0-255, at full light."""


def draw_stain(rng: np.random.Generator) -> Stain:
    """Stain of a random slide: dye vectors rotated by a few degrees, strengths from pale to heavy."""
    return Stain(
        haematoxylin=_turned(rng, HAEMATOXYLIN, 0.06) * rng.uniform(0.85, 1.5),
        eosin=_turned(rng, EOSIN, 0.06) * rng.uniform(0.5, 1.5),
        white=rng.uniform(236, 250) + rng.normal(0, 2, 3),
        tilt=rng.uniform(-0.05, 0.05, 2),
        blur_px=rng.uniform(0.45, 0.85),
        noise=rng.uniform(1.0, 3.5),
    )


def develop(rng: np.random.Generator, stain: Stain, haematoxylin: Field, eosin: Field) -> Image:
    """Colour image (H, W, 3) of the two dyes' concentrations (H, W)."""
    height, width = haematoxylin.shape
    density = haematoxylin[..., None] * stain.haematoxylin + eosin[..., None] * stain.eosin
    light = stain.white * np.exp(-density)
    slope = stain.tilt[0] * np.linspace(-1, 1, height)[:, None] + stain.tilt[1] * np.linspace(-1, 1, width)
    light *= (1 + slope)[..., None]
    light = ndimage.gaussian_filter(light, (stain.blur_px, stain.blur_px, 0), mode="nearest", truncate=3)
    # Shot noise: its variance is proportional to the light.
    light += rng.standard_normal(light.shape) * stain.noise * np.sqrt(np.clip(light, 0, 255) / 255)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _turned(rng: np.random.Generator, vector: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Unit vector near `vector`, no component negative (a dye cannot emit light)."""
    turned = np.clip(vector + rng.normal(0, spread, 3), 0.02, None)
    return np.asarray(turned / np.linalg.norm(turned), dtype=np.float64)
