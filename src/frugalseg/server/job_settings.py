"""What the page may ask of a job, which is less than a job can be told, and whether there is any work for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from frugalseg.errors import InputError, Problem
from frugalseg.jobs import SuggestJob, TrainJob
from frugalseg.project import JobKind, Project, ProjectImage
from frugalseg.server.requests import Id, Request

Count = Annotated[int, Field(ge=1, le=1000)]


class TrainSettings(Request):
    """The next round."""

    preset: Literal["smoke", "round"] = "round"
    members: Annotated[int, Field(ge=1, le=20)] = TrainJob.members
    then_suggest: Count | None = TrainJob.then_suggest


class SuggestSettings(Request):
    """Which images next."""

    k: Count = SuggestJob.k
    object_diameter_px: Annotated[float, Field(gt=0, le=100_000, strict=False)] | None = SuggestJob.object_diameter_px


class PredictSettings(Request):
    """A proposal for one image."""

    image: Id


KINDS: Mapping[str, type[Request]] = {"train": TrainSettings, "suggest": SuggestSettings, "predict": PredictSettings}


def check_job(project: Project, kind: JobKind, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with their defaults.

    Raises
    ------
    InputError
        Settings that are unknown or impossible, or nothing to do.
    """
    try:
        checked = KINDS[kind].model_validate(dict(settings)).model_dump()
    except ValidationError as error:
        raise InputError.of(
            Problem(".".join(map(str, ("settings", *each["loc"]))), each["msg"]) for each in error.errors()[:20]
        ) from None
    to_train = (*project.labelled(), *project.not_drawn()) if kind == "train" else ()
    if kind == "train" and not any(each.annotation.n_objects for each in to_train if each.annotation):
        raise InputError("train", "needs an image of the pool that is annotated completely, with an object in it")
    if kind == "suggest" and not _anything_left(project):
        raise InputError("suggest", "has no image left: all are annotated, unusable or set aside")
    if kind == "predict":
        image = project.image_numbered(checked["image"])
        if project.newest_trained() is None:
            raise InputError("predict", "needs a trained round")
        if image.role == "validation":
            raise InputError(image.name, "is for validation: it is drawn without a proposal, on purpose")
    return checked


def _anything_left(project: Project) -> bool:
    """Whether there is an image or, as far as is known without looking, a window of a slide to suggest."""
    if any(each.usable and each.role != "validation" for each in project.slides()):
        return True
    return any(each.usable and _open(each) for each in project.images())


def _open(image: ProjectImage) -> bool:
    return image.role != "validation" and (image.annotation is None or not image.annotation.complete)
