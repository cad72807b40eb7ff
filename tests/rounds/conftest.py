"""A small project before and after its first round; tests work on copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from narrow_nets import narrow_unet

from frugalseg.ensemble.config import EnsembleConfig
from frugalseg.executors import open_executor
from frugalseg.images import open_dataset, read_label_map
from frugalseg.project import Project
from frugalseg.rounds.training import train_round
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.config import TrainConfig

TINY = TrainConfig(
    net="unet", steps=2, patch_px=32, batch_size=2, threads=1, precision="fp32", validate_every=2, seed=1, device="cpu",
    min_confidence=0.0,
)  # fmt: skip
FLOATS = EnsembleConfig(members=2, method="none")
N_IMAGES = 8


@pytest.fixture(scope="session")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of four patients with their masks, for reading only."""
    folder = tmp_path_factory.mktemp("glands")
    write_synthetic_dataset(folder, N_IMAGES, 0, 1, height=72, width=88)
    return folder


@pytest.fixture
def annotate(glands: Path) -> Callable[..., None]:
    """Give images of a project their true masks."""

    def work(project: Project, *names: str, complete: bool = True) -> None:
        for name in names:
            project.annotate(name, read_label_map(glands / f"{name}_anno.png"), complete=complete, source="test")

    return work


@pytest.fixture(scope="session")
def empty_project(glands: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "project"
    Project.create(folder).add_images(open_dataset(glands).samples)
    return folder


@pytest.fixture
def project(empty_project: Path, tmp_path: Path) -> Project:
    """Eight images, nothing annotated, no roles drawn."""
    return Project.open(Path(shutil.copytree(empty_project, tmp_path / "project")))


@pytest.fixture(scope="session")
def trained_project(
    empty_project: Path, glands: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, str]]:
    """A project after its first round, and which image is what in it.

    Two images are annotated, one incompletely, one is annotated but unusable, two are bare, two for validation.
    """
    folder = Path(shutil.copytree(empty_project, tmp_path_factory.mktemp("trained") / "project"))
    project = Project.open(folder)
    project.draw_validation(0.2, 0)
    validation = [image.name for image in project.validation()]
    pool = [image.name for image in project.pool()]
    kinds = dict(zip(pool, ("complete", "complete", "incomplete", "unusable", "bare", "bare"), strict=True))
    kinds |= dict.fromkeys(validation, "validation")
    for name, kind in kinds.items():
        if kind != "bare":
            labels = read_label_map(glands / f"{name}_anno.png")
            project.annotate(name, labels, complete=kind != "incomplete", source="test")
    project.mark_unusable(next(name for name, kind in kinds.items() if kind == "unusable"), "out of focus")
    with narrow_unet():
        train_round(project, TINY, EnsembleConfig(members=2, quantize_steps=1), open_executor("serial"))
    return folder, kinds


@pytest.fixture
def trained(trained_project: tuple[Path, dict[str, str]], narrow: None, tmp_path: Path) -> Project:
    return Project.open(Path(shutil.copytree(trained_project[0], tmp_path / "project")))


@pytest.fixture
def named(trained_project: tuple[Path, dict[str, str]]) -> Callable[[str], list[str]]:
    """Names of the trained project's images of a kind."""
    return lambda kind: sorted(name for name, each in trained_project[1].items() if each == kind)


@pytest.fixture
def tiny(narrow: None) -> TrainConfig:
    """Settings of a training of two small steps."""
    return TINY


@pytest.fixture
def floats() -> EnsembleConfig:
    """Two float members: the quickest ensemble."""
    return FLOATS
