"""The page's own unit tests, which need no browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
VITEST = WEB / "node_modules" / "vitest" / "vitest.mjs"


def test_what_needs_no_browser() -> None:
    if not VITEST.exists():
        pytest.skip("the page was not built here (make page)")
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # make gets Node where it is old
    done = subprocess.run(
        ["node", str(VITEST), "run"], cwd=WEB, env={**os.environ, "PATH": places}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
