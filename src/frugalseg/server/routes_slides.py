"""Pictures of whole slides: what lies around a window that is annotated."""

from __future__ import annotations

from fastapi import APIRouter, Response

from frugalseg.server.context import Context
from frugalseg.server.requests import Id
from frugalseg.server.routes_images import JPEG, NothingThereError, Number, Tag, picture
from frugalseg.server.slides import has_tile


def slide_routes(context: Context) -> APIRouter:
    """Routes of slides. A slide's file never changes, so browsers only ask whether theirs is the same."""
    routes = APIRouter(prefix="/api/slides/{slide_id}", tags=["slides"])

    @routes.get("/tiles/{level}/{column}_{row}", responses=JPEG, response_class=Response)
    def tile(slide_id: Id, level: Number, column: Number, row: Number, known: Tag = None) -> Response:
        slide = context.project.slide_numbered(slide_id)
        if not has_tile(slide, level, column, row):
            raise NothingThereError
        tag = f'"{slide.sha256[-16:]}-{level}-{column}-{row}"'
        if known == tag:
            return Response(status_code=304, headers={"etag": tag})
        return picture(context.slides.tile(slide, level, column, row), tag)

    return routes
