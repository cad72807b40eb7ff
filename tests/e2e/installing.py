"""The wheel as a user gets it: built from this checkout, installed into a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "src" / "frugalseg" / "server" / "static" / "index.html"


@dataclass(frozen=True)
class Installed:
    """An installed wheel, and how to run what is in it."""

    site: Path
    elsewhere: Path

    @property
    def env(self) -> dict[str, str]:
        """Makes Python import the package from the wheel."""
        return {"PYTHONPATH": str(self.site), "PYTHONNOUSERSITE": "1"}

    def package(self) -> Path:
        """Folder from which a process, started as the servers are, imports the package."""
        command = [sys.executable, "-c", "import frugalseg; print(frugalseg.__file__)"]
        told = subprocess.run(
            command, env={**os.environ, **self.env}, cwd=self.elsewhere, check=True, capture_output=True, text=True
        )
        return Path(told.stdout.strip()).parent


def install_wheel(folder: Path) -> Installed:
    """Build and install; test processes that share `folder` do it once."""
    site, elsewhere = folder / "site", folder / "elsewhere"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "done").exists():
            elsewhere.mkdir(exist_ok=True)
            _run("hatchling", "build", "-t", "wheel", "-d", str(folder / "dist"))
            (wheel,) = (folder / "dist").glob("*.whl")
            quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--no-compile")
            _run("pip", "install", *quiet, "--target", str(site), str(wheel))
            (folder / "done").touch()
    return Installed(site, elsewhere)


def _run(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
