"""What all routes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frugalseg.project import Drawings, JobQueue, Project, ProjectImage
from frugalseg.server.pictures import Pictures
from frugalseg.server.slides import SlideTiles


@dataclass
class Context:
    """The project that is served."""

    project: Project
    queue: JobQueue
    drawings: Drawings
    pictures: Pictures = field(default_factory=Pictures)
    slides: SlideTiles = field(default_factory=SlideTiles)

    @classmethod
    def open(cls, folder: Path) -> Context:
        """Open the project in this folder."""
        project = Project.open(folder)
        return cls(project, JobQueue(project), Drawings(project))

    def image(self, image_id: int) -> ProjectImage:
        """The image of this number; an unknown one is an `UnknownImageError`."""
        return self.project.image_numbered(image_id)

    def drawn(self) -> Mapping[int, int]:
        """Strokes that wait for a version, by image."""
        return self.drawings.waiting()
