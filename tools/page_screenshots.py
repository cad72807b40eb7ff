"""Takes the screenshots of the documentation's pages on annotating anew, from the tests that walk through the page.

    python tools/page_screenshots.py [--from DIR]

Runs those tests with FRUGALSEG_E2E_OUT set, or takes what an earlier run has left in DIR; then shrinks the pictures to
docs/images/page-*.png. Needs Chromium and the built page ('make page'), and takes about as long as the tests.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
TESTS = ("tests/e2e/test_first_rounds.py", "tests/e2e/test_slides.py")
WIDTH = 960
LARGEST_BYTES = 200_000
PICTURES = {
    "round-2-images": "page-images",
    "round-4-queue": "page-first-suggestions",
    "round-5-polygon": "page-polygon",
    "round-6-drawn": "page-drawn",
    "round-7-train": "page-train",
    "round-8-progress": "page-progress",
    "round-9-queue": "page-next-suggestions",
    "round-10-proposal": "page-proposal",
    "round-12-left": "page-left",
    "slide-slide": "page-slide",
}
"""Ends of the names of tests, with their steps; and what their pictures are called in the documentation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="pictures of an earlier run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.source is None:
            env = {**os.environ, "FRUGALSEG_E2E_OUT": folder}
            subprocess.run([sys.executable, "-m", "pytest", *TESTS], cwd=ROOT, env=env, check=True)
        for step, name in PICTURES.items():
            found = sorted((args.source or Path(folder)).glob(f"*_{step}.png"))
            if not found:
                raise SystemExit(f"no picture of step {step}")
            shrink(found[-1], ROOT / "docs" / "images" / f"{name}.png")


def shrink(source: Path, target: Path) -> None:
    """A narrower copy with as many colours as its size allows."""
    picture = Image.open(source).convert("RGB")
    picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= LARGEST_BYTES:
            return
    raise SystemExit(f"{target}: larger than {LARGEST_BYTES} bytes")


if __name__ == "__main__":
    main()
