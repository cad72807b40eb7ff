"""Pictures of an image: tiles, thumbnail, where the networks differ, what they found."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response

from frugalseg.images.labels import read_stored_labels
from frugalseg.project.round_files import prediction_file, uncertainty_file
from frugalseg.server.context import Context
from frugalseg.server.pictures import BLUE, ORANGE, TILE_PX, n_levels, stretched
from frugalseg.server.requests import LARGEST_ID, Id

Number = Annotated[int, Path(ge=0, le=LARGEST_ID)]
Tag = Annotated[str | None, Header(alias="if-none-match", max_length=200)]

JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}}},
    304: {"description": "the browser has it"},
}


class NothingThereError(Exception):
    """There is no such picture."""


def image_routes(context: Context) -> APIRouter:
    """Routes of pictures. An image's file never changes, so browsers only ask whether theirs is the same."""
    routes = APIRouter(prefix="/api/images/{image_id}", tags=["images"])

    @routes.get("/tiles/{level}/{column}/{row}", responses=JPEG, response_class=Response)
    def tile(image_id: Id, level: Number, column: Number, row: Number, known: Tag = None) -> Response:
        image = context.image(image_id)
        side = TILE_PX << min(level, 40)
        exists = (
            level < n_levels(image.width, image.height) and column * side < image.width and row * side < image.height
        )
        if not exists:
            raise NothingThereError
        tag = f'"{image.sha256[-16:]}-{level}-{column}-{row}"'
        if known == tag:
            return Response(status_code=304, headers={"etag": tag})
        return picture(context.pictures.tile(image, level, column, row), tag)

    @routes.get("/thumbnail", responses=JPEG, response_class=Response)
    def thumbnail(image_id: Id, known: Tag = None) -> Response:
        image = context.image(image_id)
        tag = f'"{image.sha256[-16:]}-thumbnail"'
        if known == tag:
            return Response(status_code=304, headers={"etag": tag})
        return picture(context.pictures.thumbnail(image), tag)

    @routes.get("/uncertainty", responses={200: {"content": {"image/png": {}}}}, response_class=Response)
    def uncertainty(image_id: Id) -> Response:
        name = context.image(image_id).name
        for each in reversed(context.project.rounds()):
            path = uncertainty_file(context.project.folder, each.number, name)
            if each.status == "trained" and path.is_file():
                return Response(stretched(path), media_type="image/png")
        raise NothingThereError

    @routes.get("/overlay/{round_number}", responses=JPEG, response_class=Response)
    def overlay(image_id: Id, round_number: Number) -> Response:
        image = context.image(image_id)
        path = prediction_file(context.project.folder, round_number, image.name)
        if round_number > 10**9 or not path.is_file():
            raise NothingThereError
        layers = [(read_stored_labels(path), ORANGE)]
        if image.annotation is not None:
            layers.append((context.project.labels(image.annotation), BLUE))
        return Response(context.pictures.outlined(image, layers), media_type="image/jpeg")

    return routes


def picture(content: bytes, tag: str) -> Response:
    """A JPEG that browsers keep, and ask for again by its tag."""
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    return Response(content, media_type="image/jpeg", headers=headers)
