"""``tools/study_page.py``: one command from results to the page, its picture and the ledger of test part A."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from .builders import put_cell

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, at work on copies of the page and of the ledger."""
    monkeypatch.syspath_prepend(ROOT / "tools")  # one tool uses another
    spec = importlib.util.spec_from_file_location("study_page", ROOT / "tools" / "study_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("PAGE", "LEDGER"):
        setattr(module, name, Path(shutil.copy(getattr(module, name), tmp_path)))
    lines = module.LEDGER.read_text(encoding="utf-8").splitlines(keepends=True)
    without_study = "".join(line for line in lines if "`reproduce glas`" not in line)  # whose rows the tests make up
    module.LEDGER.write_text(without_study, encoding="utf-8")
    module.PICTURE = tmp_path / "images" / "study.png"
    return module


def test_the_committed_page_is_that_of_the_committed_results(tool: ModuleType) -> None:
    before = tool.PAGE.read_text(encoding="utf-8")
    tool.main([])
    assert tool.PAGE.read_text(encoding="utf-8") == before, "run: python tools/study_page.py"


def test_results_reach_page_picture_and_ledger_once(tool: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for seed in (0, 1):
        put_cell(results, f"lite/half/random/float/x1/seed-{seed}", [0.8, 0.9])
    lines = tool.LEDGER.read_text(encoding="utf-8").splitlines()
    for _ in range(2):
        tool.main(["--results", str(results)])
        (new,) = tool.LEDGER.read_text(encoding="utf-8").splitlines()[len(lines) :]
        assert "cells lite/half/random/float/x1, seeds 0, 1," in new
        assert "| 1.000 ± 0.000 / 0.850 ± 0.000 / 3.0 ± 0.0 |" in new
    assert "| `lite/half/random/float/x1/*` | 0, 1 |" in tool.PAGE.read_text(encoding="utf-8")
    assert tool.PICTURE.read_bytes().startswith(b"\x89PNG")
    put_cell(results, "lite/half/random/float/x1/seed-2", [0.8, 0.9])
    tool.main(["--results", str(results)])
    assert len(tool.LEDGER.read_text(encoding="utf-8").splitlines()) == len(lines) + 2, "earlier lines stay"
