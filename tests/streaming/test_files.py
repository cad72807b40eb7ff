"""Several slides, one after another: one that fails costs itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import frugalseg.streaming.files as files_module
import frugalseg.streaming.run as run_module
from frugalseg.engines.testing import DarknessEngine
from frugalseg.errors import ConfigError, InputError, TaskError
from frugalseg.project.slides import divide_folder
from frugalseg.slides import open_slide
from frugalseg.streaming.files import divide_inputs, segment_slides
from frugalseg.streaming.run import StreamSettings

from .builders import CARD, discs


def test_masks_beside_slides_are_none(tmp_path: Path) -> None:
    for name in ("t", "t_mask", "u_mask"):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as writer:
            writer.write(np.zeros((512, 512, 3), np.uint8), tile=(256, 256), photometric="rgb", subifds=1)
            writer.write(np.zeros((256, 256, 3), np.uint8), tile=(256, 256), photometric="rgb", subfiletype=1)
    slides, others = divide_inputs([tmp_path])
    assert [path.name for path in slides] == ["t.tif", "u_mask.tif"]
    assert others == []
    assert [path.name for path in divide_folder(tmp_path)[0]] == ["t.tif", "u_mask.tif"]
    assert divide_inputs([tmp_path / "t_mask.tif"])[0] == [tmp_path / "t_mask.tif"]
    odd = (tmp_path / "t.tif").rename(tmp_path / os.fsdecode(b"caf\xe9.tif"))
    with pytest.raises(InputError, match="has a name that is not UTF-8 text"):
        divide_inputs([odd])


def test_a_slide_that_needs_a_missing_library_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = [tmp_path / f"{name}.tif" for name in "ab"]
    for path in slides:
        tifffile.imwrite(path, discs()[0][:600, :900], tile=(256, 256), photometric="rgb")

    def opened(path: Path) -> Any:
        if path == slides[0]:
            raise ConfigError("slides", "needs OpenSlide: pip install 'frugalseg[wsi]'")
        return open_slide(path)

    monkeypatch.setattr(files_module, "open_slide", opened)
    settings = StreamSettings(workers=1, formats=("geojson",))
    done, error = segment_slides([DarknessEngine()], CARD, slides, tmp_path / "out", settings, pixel_size_um=0.5)
    assert len(done) == 1
    assert str(error) == f"{slides[0]}: slides: needs OpenSlide: pip install 'frugalseg[wsi]'"


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
