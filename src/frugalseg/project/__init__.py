"""The project folder of suggestive annotation: images, versions of masks, rounds of training, suggestions.

One SQLite database names everything (``schema``); ``store`` opens it, ``migration`` brings it up to date.
``candidates`` judges images before ``images`` adds them, ``slides`` registers whole slides, and ``windows`` makes
images of parts of them. ``annotations`` keeps every version of a mask, ``mask_import`` finds masks in folders,
``validation`` draws images to validate on, ``rounds`` remembers trainings and suggestions, ``jobs`` queues long
work, ``backup`` packs it all. Imports no torch.
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
    NewWindow,
    ProjectImage,
    ProjectSlide,
    Reason,
    Role,
    Round,
    SlidePlace,
    Suggested,
    Window,
)
from frugalseg.project.slides import SlideCandidate, SlideSettings, check_slides, divide_folder
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
    "NewWindow",
    "Project",
    "ProjectImage",
    "ProjectSlide",
    "Reason",
    "Role",
    "Round",
    "SlideCandidate",
    "SlidePlace",
    "SlideSettings",
    "Stroke",
    "Suggested",
    "UnknownImageError",
    "Window",
    "check_images",
    "check_slides",
    "divide_folder",
    "pack_labels",
    "project_lock",
]
