"""Drawing on an image: its state, its labels, strokes, versions."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response

from frugalseg.arrays import LabelMap
from frugalseg.errors import InputError
from frugalseg.images.labels import read_stored_labels
from frugalseg.project import Draft, Stroke, pack_labels
from frugalseg.project.round_files import proposal_file, uncertainty_file
from frugalseg.server.context import Context
from frugalseg.server.documents import Document, drawing_document, version_document
from frugalseg.server.requests import (
    LARGEST_ID,
    N_PIXELS,
    EditRequest,
    Id,
    ResolveRequest,
    StartRequest,
    StrokeRequest,
    VersionRequest,
)

Begin = Annotated[int, Query(ge=0, le=LARGEST_ID)]
Length = Annotated[int, Query(ge=1, le=LARGEST_ID)]
OCTETS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}


def drawing_routes(context: Context) -> APIRouter:
    """Routes of drawings."""
    routes = APIRouter(prefix="/api/images/{image_id}", tags=["drawings"])
    drawings = context.drawings

    @routes.get("")
    def state(image_id: Id) -> Document:
        context.pictures.prepare(context.image(image_id))
        draft = drawings.state(image_id)
        folder, name = context.project.folder, draft.image.name
        shown = any(uncertainty_file(folder, each.number, name).is_file() for each in context.project.rounds())
        proposal = drawings.newest_proposal(draft)
        return drawing_document(draft, context.drawn(), proposal=proposal, has_uncertainty=shown)

    @routes.get("/labels", responses=OCTETS, response_class=Response)
    def labels(
        image_id: Id,
        x: Begin,
        y: Begin,
        w: Length,
        h: Length,
        step: Annotated[int, Query(ge=1, le=4096)] = 1,
        version: Annotated[int | None, Query(ge=1, le=LARGEST_ID)] = None,
        proposal: bool = False,
    ) -> Response:
        image = context.image(image_id)
        if x + w > image.width or y + h > image.height:
            raise InputError("x, y, w, h", f"must lie within the image, {image.width} x {image.height}")
        if -(-w // step) * -(-h // step) > N_PIXELS:
            raise InputError("w, h", f"are more than {N_PIXELS} pixels; take a larger step")
        if version is None and not proposal:
            edit, part = drawings.labels(image_id, (x, y, w, h), step)
            return Response(pack_labels(part), media_type="application/octet-stream", headers={"x-edit": edit})
        whole = drawings.version_labels(image_id, version) if version is not None else _proposal(context, image_id)
        part = np.ascontiguousarray(whole[y : y + h : step, x : x + w : step])
        return Response(pack_labels(part), media_type="application/octet-stream")

    @routes.get("/proposed")
    def proposed(image_id: Id) -> Document:
        return {"open": drawings.open_proposals(image_id)}

    @routes.post("/strokes")
    def draw(image_id: Id, asked: StrokeRequest) -> Document:
        after = drawings.draw(image_id, asked.edit, _stroke(asked))
        return {"edit": after.edit, "next_label": after.next_label}

    @routes.get("/versions")
    def versions(image_id: Id) -> Document:
        history = context.project.history(context.image(image_id).name)
        return {"versions": [version_document(each) for each in reversed(history)]}

    @routes.post("/versions", status_code=201)
    def keep(image_id: Id, asked: VersionRequest, response: Response) -> Document:
        before = context.image(image_id).annotation
        version, after = drawings.keep(image_id, asked.edit, asked.why, asked.complete)
        number = None if version is None else version.version
        if (before is not None and before.version == number) or number is None:
            response.status_code = 200
        return {"version": number, "edit": after.edit}

    @routes.post("/versions/{number}/restore", status_code=201)
    def restore(image_id: Id, number: Id, asked: EditRequest) -> Document:
        version, after = drawings.restore(image_id, asked.edit, number)
        return {"version": version.version, "edit": after.edit}

    @routes.post("/resolve")
    def resolve(image_id: Id, asked: ResolveRequest) -> Document:
        version, after = drawings.resolve(image_id, asked.edit, mine=asked.keep == "mine")
        return {"version": version.version, "edit": after.edit}

    @routes.post("/start")
    def start(image_id: Id, asked: StartRequest) -> Document:
        after: Draft = drawings.start(image_id, asked.edit, asked.source)
        return {"edit": after.edit, "next_label": after.next_label}

    return routes


def _stroke(asked: StrokeRequest) -> Stroke:
    try:
        labels = base64.b64decode(asked.labels, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("labels", f"are not base64 ({error})") from None
    return Stroke(
        uuid=asked.stroke,
        tool=asked.tool,
        window=(asked.x, asked.y, asked.w, asked.h),
        labels=labels,
        object_classes={int(label): index for label, index in asked.classes.items()},
        accepted=None if asked.accepted is None else tuple(asked.accepted),
    )


def _proposal(context: Context, image_id: int) -> LabelMap:
    draft = context.drawings.state(image_id)
    number = context.drawings.newest_proposal(draft)
    if number is None:
        raise InputError(draft.image.name, "has no proposal")
    return read_stored_labels(proposal_file(context.project.folder, number, draft.image.name))
