"""The project folder of suggestive annotation: images, versions of masks, rounds of training, suggestions.

One SQLite database names everything (``schema``); ``store`` opens it, ``migration`` brings it up to date.
``candidates`` judges images before ``images`` adds them, ``annotations`` keeps every version of a mask,
``mask_import`` finds masks in folders, ``validation`` draws images to validate on, ``rounds`` remembers trainings and
suggestions, ``jobs`` is the queue of long work, ``backup`` packs it all. Imports no torch.
"""

from __future__ import annotations

from frugalseg.project.annotations import NOT_ANNOTATED
from frugalseg.project.candidates import Candidate, check_images
from frugalseg.project.drafts import ConflictError, Draft, UnknownImageError
from frugalseg.project.drawings import Drawings
from frugalseg.project.jobs import Job, JobKind, JobQueue, JobSource, JobStatus
from frugalseg.project.lock import project_lock
from frugalseg.project.project import Project
from frugalseg.project.records import (
    Added,
    Annotation,
    Cost,
    Imported,
    Member,
    ProjectImage,
    Reason,
    Role,
    Round,
    Suggested,
    Window,
)
from frugalseg.project.strokes import Stroke, pack_labels

__all__ = [
    "NOT_ANNOTATED",
    "Added",
    "Annotation",
    "Candidate",
    "ConflictError",
    "Cost",
    "Draft",
    "Drawings",
    "Imported",
    "Job",
    "JobKind",
    "JobQueue",
    "JobSource",
    "JobStatus",
    "Member",
    "Project",
    "ProjectImage",
    "Reason",
    "Role",
    "Round",
    "Stroke",
    "Suggested",
    "UnknownImageError",
    "Window",
    "check_images",
    "pack_labels",
    "project_lock",
]
