"""Object F1, object Dice and object Hausdorff of the GlaS challenge, with pixel Dice and IoU.

A metric is two steps: :func:`score_image` reduces a pair of label maps to what the figures need of every object
(:class:`ImageScores`), :func:`pool` and :func:`image_means` turn a list of those into figures. Pooling touches a few
sums per image only, so a bootstrap over images costs next to nothing.

**Definitions.** S predicted, G true, 0 background. The *partner* of an object is the object of the other map it
overlaps most; among equals, the lowest label (as MATLAB's ``mode``).

- *Object F1.* S_i is a true positive if it covers more than half of its partner: |S_i ∩ G_j| / |G_j| > 1/2, the area of
  the **true** object below the line. FP = #S - TP, FN = #G - TP.
- *Object Dice.* ½ [Σ_i w_i Dice(S_i, partner) + Σ_j v_j Dice(G_j, partner)], w and v the shares of the objects in their
  side's area; an object without a partner counts 0.
- *Object Hausdorff.* The same sum with H(A, B) = max(max_a min_b |a - b|, max_b min_a |a - b|) over all pixels of both
  objects (not only their outlines; holes stay holes); an object without a partner takes the object of the other map
  with the smallest H.

**Pooled** means over all objects of all images, as the challenge does: counts are added, and the weights are shares of
the area of the whole set. The mean over images of the per-image figures is another number; both are given.

**Degenerate cases**, each counted in the result:

- A pixel whose truth is ``UNKNOWN`` is background on both sides (`n_pixels_unknown`); an object that lies wholly on
  such pixels does not exist.
- No object on either side: F1 1, Dice 1, Hausdorff 0, as in the challenge's code; pixel Dice and IoU 1.
- One side empty in the whole set: F1 0, Dice gets a 0 term for that side. Its Hausdorff term does not exist, a 0
  would be a reward, so the other side's term stands alone.
- An object whose image holds no object on the other side (infinite in the challenge's code) counts the diagonal of
  the image in the Hausdorff sum (`hausdorff_diagonal_fallbacks`; `n_images_empty_truth`, `n_images_empty_pred`).
- Objects without overlap but with objects on the other side: `hausdorff_nearest_fallbacks`; ties: `n_partner_ties`.
- No image at all: every figure is NaN in :class:`Scores`, None in :meth:`Scores.as_dict`.

References
----------
Sirinukunwattana et al., "Gland segmentation in colon histology images: The GlaS challenge contest", Medical Image
Analysis 35 (2017), and the evaluation code published with it.
"""

from frugalseg.metrics.scores import (
    FIGURES,
    ImageScores,
    ObjectScores,
    Scores,
    image_means,
    object_dice,
    object_f1,
    object_hausdorff,
    pool,
    score_image,
    true_objects,
)
from frugalseg.metrics.sums import interval, pooled

__all__ = [
    "FIGURES",
    "ImageScores",
    "ObjectScores",
    "Scores",
    "image_means",
    "interval",
    "object_dice",
    "object_f1",
    "object_hausdorff",
    "pool",
    "pooled",
    "score_image",
    "true_objects",
]
