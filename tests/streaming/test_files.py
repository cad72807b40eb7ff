"""Several slides, one after another: one that fails costs itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tifffile

import frugalseg.streaming.run as run_module
from frugalseg.engines.testing import DarknessEngine
from frugalseg.errors import TaskError
from frugalseg.streaming.files import segment_slides
from frugalseg.streaming.run import StreamSettings

from .builders import CARD, discs


def test_a_slide_that_fails_in_a_worker_does_not_stop_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = discs()[0][:600, :900]
    slides = [tmp_path / f"{name}.tif" for name in "ab"]
    for path in slides:
        tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    real = run_module._object_stage

    def fails_for_a(work: Any, *rest: Any) -> Any:
        if work.folder.name == "a.work":
            raise TaskError("block 00001_00001", "its worker died again and again")
        return real(work, *rest)

    monkeypatch.setattr(run_module, "_object_stage", fails_for_a)
    settings = StreamSettings(workers=1, formats=("geojson",))
    done, error = segment_slides([DarknessEngine()], CARD, slides, tmp_path / "out", settings, pixel_size_um=0.5)
    assert len(done) == 1
    assert (tmp_path / "out" / "b.summary.json").exists()
    assert str(error) == f"{slides[0]}: block 00001_00001: its worker died again and again"
