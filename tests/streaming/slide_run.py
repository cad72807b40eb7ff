"""One slide by the engine that sees darkness, in a process of its own: what tests kill, and whose memory they watch.

python slide_run.py SLIDE OUT [resume]
"""

from __future__ import annotations

import sys
from pathlib import Path

from frugalseg.engines.testing import DarknessEngine
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.slides import open_slide
from frugalseg.streaming.run import StreamSettings, segment_slide

CARD = ModelCard("lite", ("gland",), 0.5, 0.5, 60.0, InstanceSettings(min_area=30))


def main() -> None:
    slide, out = Path(sys.argv[1]), Path(sys.argv[2])
    with open_slide(slide) as opened:
        segment_slide(
            [DarknessEngine()], CARD, opened, slide.stem, out, StreamSettings(), resume="resume" in sys.argv[3:]
        )


if __name__ == "__main__":
    main()
