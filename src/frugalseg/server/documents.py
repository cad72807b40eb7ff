"""What the server says, as JSON; the page's own words for a project, its images, suggestions and jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from frugalseg.project import Annotation, Draft, Job, Project, ProjectImage, Round, Suggested
from frugalseg.project.round_files import proposal_file, uncertainty_file
from frugalseg.server.pictures import TILE_PX, n_levels

Document = dict[str, Any]


def moment(value: datetime | None) -> str | None:
    """A moment in UTC."""
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%SZ")


def image_row(image: ProjectImage, drawn: Mapping[int, int]) -> Document:
    """An image in a list; `drawn` says how many strokes wait for a version, by image."""
    annotation = image.annotation
    return {
        "id": image.id,
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "role": image.role,
        "unusable_reason": image.unusable_reason,
        "state": _state(image, drawn),
        "version": None if annotation is None else annotation.version,
        "n_objects": None if annotation is None else annotation.n_objects,
        "has_draft": drawn.get(image.id, 0) > 0,
    }


def _state(image: ProjectImage, drawn: Mapping[int, int]) -> str:
    if not image.usable:
        return "unusable"
    if drawn.get(image.id, 0):
        return "draft"
    if image.annotation is None:
        return "todo"
    return "annotated" if image.annotation.complete else "incomplete"


def project_document(project: Project) -> Document:
    """The project as a whole."""
    images, slides = project.images(), project.slides()
    usable = [each for each in images if each.usable]
    validation = [each for each in usable if each.role == "validation"]
    cost = project.cost()
    suggested = project.suggestions()
    ids = {each.name: each.id for each in images}
    return {
        "name": project.folder.resolve().name,
        "classes": list(project.class_names),
        "n_images": len(images),
        "n_slides": len(slides),
        "first_run": not images and not slides,
        "n_annotated": sum(each.role != "validation" and each.annotated for each in usable),
        "n_pool": sum(each.may_be_suggested for each in usable),
        "n_validation": len(validation),
        "n_validation_annotated": sum(each.annotated for each in validation),
        "n_unusable": len(images) - len(usable),
        "cost": {"images": cost.images, "objects": cost.objects, "contour_px": cost.contour_px},
        "rounds": [_round(each, ids) for each in project.rounds()],
        "newest_ask": suggested[0].ask if suggested else None,
    }


def _round(each: Round, ids: Mapping[str, int]) -> Document:
    metrics = each.metrics
    dices = metrics.get("worst_dice") or {}
    return {
        "number": each.number,
        "status": each.status,
        "n_labelled": len(each.labelled),
        "n_members": len(each.members),
        "object_dice": metrics.get("object_dice"),
        "object_f1": metrics.get("object_f1"),
        "interval": metrics.get("object_dice_interval"),
        "n_validation": metrics.get("n_images", 0),
        "worst": [
            {"image": ids[name], "name": name, "object_dice": dices.get(name)}
            for name in metrics.get("worst") or []
            if name in ids
        ],
        "finished_at": moment(each.finished_at),
    }


def queue_document(project: Project, drawn: Mapping[int, int]) -> Document:
    """The newest suggestions and why, and the validation images that wait."""
    images = {each.name: each for each in project.images()}
    rows = {name: image_row(each, drawn) for name, each in images.items()}
    suggested = project.suggestions()
    first = suggested[0] if suggested else None
    return {
        "ask": None if first is None else first.ask,
        "round": None if first is None else first.round,
        "strategy": None if first is None else first.strategy,
        "suggestions": [_suggestion(project, each, rows) for each in suggested],
        "validation": [
            rows[each.name]
            for each in images.values()
            if each.usable and each.role == "validation" and not each.annotated
        ],
    }


def _suggestion(project: Project, each: Suggested, rows: Mapping[str, Document]) -> Document:
    reason, number = each.reason, each.round
    return {
        "rank": each.rank,
        "image": rows[each.image],
        "window": None if reason.window is None else list(reason.window),
        "uncertainty": reason.uncertainty,
        "uncertainty_rank": reason.uncertainty_rank,
        "represents": reason.represents,
        "nearest": [rows[name] for name in reason.nearest if name in rows],
        "has_proposal": number is not None and proposal_file(project.folder, number, each.image).is_file(),
        "has_uncertainty": number is not None and uncertainty_file(project.folder, number, each.image).is_file(),
    }


def drawing_document(
    draft: Draft, drawn: Mapping[int, int], *, proposal: int | None, has_uncertainty: bool
) -> Document:
    """An image and where its drawing stands."""
    image = draft.image
    kinds = {"e": "empty", "p": "proposal", "v": "version"}
    return {
        **image_row(image, drawn),
        "edit": draft.edit,
        "base": "proposal" if draft.proposal is not None else kinds[draft.base[0]],
        "window": None if draft.window is None else list(draft.window),
        "next_label": draft.next_label,
        "object_classes": {str(label): index for label, index in draft.object_classes.items()},
        "accepted": list(draft.accepted),
        "tile_px": TILE_PX,
        "levels": n_levels(image.width, image.height),
        "pixel_size_um": image.pixel_size_um,
        "has_proposal": proposal is not None,
        "proposal_round": proposal,
        "has_uncertainty": has_uncertainty,
        "slide": None if image.slide is None else dataclasses.asdict(image.slide),
    }


def version_document(each: Annotation) -> Document:
    """A version of a mask in a list."""
    return {
        "version": each.version,
        "created_at": moment(each.created_at),
        "source": each.source,
        "complete": each.complete,
        "n_objects": each.n_objects,
        "window": None if each.window is None else list(each.window),
    }


def job_document(job: Job) -> Document:
    """A job in a list."""
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "settings": dict(job.settings),
        "message": job.message,
        "source": job.source,
        "round": job.round,
        "done": job.done,
        "total": job.total,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
    }


def jobs_document(jobs: Sequence[Job]) -> Document:
    """A list of jobs."""
    return {"jobs": [job_document(each) for each in jobs]}
