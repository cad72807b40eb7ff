"""Object metrics: the package against the slow reference of the tests, on the same label maps.

    python benchmarks/bench_metrics.py [--images N] [--reference-images N]

Truths are the label maps of GlaS test part A where ``FRUGALSEG_DATA`` (default ``../shared/data``) has them, otherwise
random blobs of that size. The predictions are those truths blurred and disturbed, so that objects merge, split, vanish
and appear. The reference needs a table of all pixel pairs of two objects, so it gets maps thinned fourfold per axis;
ratio is taken on these, the seconds at full size are the package's alone. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference import glas_reference  # noqa: E402

from frugalseg.images.labels import read_label_map  # noqa: E402
from frugalseg.metrics import FIGURES, pool, score_image  # noqa: E402

SIZE = (522, 775)
THINNED = 4
Pairs = list[tuple[np.ndarray, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60, help="images for the package")
    parser.add_argument("--reference-images", type=int, default=5, help="of these, thinned, for the reference too")
    args = parser.parse_args()
    source, pairs = make_pairs(args.images)
    thinned = [(pred[::THINNED, ::THINNED], truth[::THINNED, ::THINNED]) for pred, truth in pairs]
    thinned = thinned[: args.reference_images]
    full_s, scores = timed(lambda: pool([score_image(*pair) for pair in pairs]))
    fast_s, fast = timed(lambda: pool([score_image(*pair) for pair in thinned]))
    slow_s, slow = timed(lambda: glas_reference.figures(thinned))
    apart = max(abs(getattr(fast, name) - slow[name]) for name in FIGURES)
    statistics = [score_image(*pair) for pair in thinned]
    pool_s, _ = timed(lambda: [pool(statistics * 12) for _ in range(1000)])
    print(f"{source}; {platform.processor() or platform.machine()}, numpy {np.__version__}, one process\n")
    print("| what | images | true / predicted objects | seconds | ratio |")
    print("|---|---|---|---|---|")
    counts = f"{scores.n_objects_truth} / {scores.n_objects_pred}"
    print(f"| package, full size {SIZE[1]}x{SIZE[0]} | {len(pairs)} | {counts} | {full_s:.2f} | |")
    counts = f"{fast.n_objects_truth} / {fast.n_objects_pred}"
    print(f"| package, thinned {THINNED}x | {len(thinned)} | {counts} | {fast_s:.3f} | 1 |")
    print(f"| reference, thinned {THINNED}x | {len(thinned)} | {counts} | {slow_s:.2f} | {slow_s / fast_s:.0f} |")
    print(f"| pooling {12 * len(statistics)} images, 1000 times | | | {pool_s:.2f} | |")
    print(f"\nLargest difference between package and reference: {apart:.1e}")


def make_pairs(n_images: int) -> tuple[str, Pairs]:
    """Name of the source, and pairs of prediction and truth."""
    rng = np.random.default_rng(0)
    folder = Path(os.environ.get("FRUGALSEG_DATA", ROOT.parent / "shared" / "data")) / "glas" / "testA"
    files = sorted(folder.glob("*_anno.*"))[:n_images]
    if files:
        truths, source = [read_label_map(path) for path in files], "GlaS test part A"
    else:
        truths, source = [components(noise(rng, 22) > 0.25) for _ in range(n_images)], "synthetic blobs"
    return source, [(disturbed(truth, rng), truth) for truth in truths]


def disturbed(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A prediction with the usual mistakes."""
    blurred = ndimage.gaussian_filter((truth > 0).astype(float), 4)
    return components(blurred + 0.15 * noise(rng, 12, truth.shape) > 0.5)


def noise(rng: np.random.Generator, sigma: float, shape: tuple[int, ...] = SIZE) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return (smooth - smooth.mean()) / smooth.std()


def components(mask: np.ndarray) -> np.ndarray:
    return ndimage.label(mask, structure=np.ones((3, 3)))[0]


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
