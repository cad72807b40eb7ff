"""The project as a whole, its images in a list, and new ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from frugalseg.errors import InputError, Problem, StorageError
from frugalseg.images import is_image_name, is_mask_name
from frugalseg.project import SlideSettings, check_slides, divide_folder
from frugalseg.server.context import Context
from frugalseg.server.documents import Document, image_row, project_document, queue_document
from frugalseg.server.requests import Classes, Id, Reason
from frugalseg.slides.opening import SCANNER_SUFFIXES

SLIDE_SUFFIXES = SCANNER_SUFFIXES - {".dcm", ".mrxs", ".vms", ".vmu"}
"""Of slides that are one file each."""

MOST_IMAGES = 20_000
"""A project of more images is made by the command line."""


def project_routes(context: Context) -> APIRouter:
    """Routes about the project."""
    routes = APIRouter(prefix="/api", tags=["project"])

    @routes.get("/project")
    def project() -> Document:
        return project_document(context.project)

    @routes.put("/project/classes")
    def rename_classes(asked: Classes) -> Document:
        context.project.rename_classes(asked.classes)
        return project_document(context.project)

    @routes.get("/images")
    def images() -> Document:
        drawn = context.drawn()
        return {"images": [image_row(each, drawn) for each in context.project.images()]}

    @routes.get("/queue")
    def queue() -> Document:
        return queue_document(context.project, context.drawn())

    @routes.put("/images/{image_id}/unusable")
    def mark_unusable(image_id: Id, asked: Reason) -> Document:
        context.project.mark_unusable(context.image(image_id).name, asked.reason)
        return image_row(context.image(image_id), context.drawn())

    @routes.delete("/images/{image_id}/unusable")
    def mark_usable(image_id: Id) -> Document:
        context.project.mark_usable(context.image(image_id).name)
        return image_row(context.image(image_id), context.drawn())

    @routes.post(
        "/uploads",
        status_code=201,
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
    )
    async def upload(
        request: Request, response: Response, name: Annotated[str, Query(min_length=1, max_length=255)]
    ) -> Document:
        content = await request.body()
        return await run_in_threadpool(_add, context, name, content)

    return routes


def _add(context: Context, name: str, content: bytes) -> Document:
    """Judge an uploaded image and add it."""
    if len(context.project.images()) >= MOST_IMAGES:
        raise InputError(name, f"is too many: the page takes {MOST_IMAGES} images, 'frugalseg init' more")
    known = is_image_name(name) or Path(name).suffix.lower() in SLIDE_SUFFIXES
    if not name.isprintable() or name != Path(name).name or "\\" in name or not known:
        raise InputError(name, "is not the name of an image file (PNG, JPEG, BMP, TIFF, or a slide in one file)")
    if is_mask_name(name):
        raise InputError(name, "is named as the mask of an image; 'frugalseg import' takes masks")
    with tempfile.TemporaryDirectory(prefix="frugalseg-upload-") as folder:
        path = Path(folder) / name
        try:
            path.write_bytes(content)
            slides, _ = divide_folder(Path(folder))
            if slides:
                added = context.project.add_slides(check_slides(slides, SlideSettings()), None)
            else:
                added = context.project.add_images([path])
        except StorageError:
            raise
        except InputError as error:
            raise InputError.of(Problem(name, each.reason.replace(folder, "")) for each in error.problems) from None
        except OSError as error:
            raise InputError(name, f"cannot be stored ({error.strerror or error})") from None
    return {"added": list(added.added), "duplicate": bool(added.duplicates)}
