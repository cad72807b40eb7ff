"""What the page may send, checked before anything looks at it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

LARGEST_ID = 2**53
N_OBJECTS = 100_000
N_PIXELS = 16_777_216

Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Side = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Label = Annotated[int, Field(ge=1, le=16_777_215)]
Edit = Annotated[str, StringConstraints(max_length=40)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z][a-z-]*$")]


class Request(BaseModel):
    """No field that is not known, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Classes(Request):
    """Names of the classes."""

    classes: Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(min_length=1, max_length=250)]


class StrokeRequest(Request):
    """One change of a drawing."""

    edit: Edit
    stroke: Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=r"^[0-9A-Za-z-]+$")]
    tool: Word
    x: Side
    y: Side
    w: Side
    h: Side
    labels: Annotated[str, StringConstraints(max_length=24 * 2**20)] = ""
    classes: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")], int | None], Field(max_length=N_OBJECTS)
    ] = {}
    accepted: Annotated[list[Label], Field(max_length=N_OBJECTS)] | None = None


class VersionRequest(Request):
    """Make a version of the drawing."""

    edit: Edit
    complete: bool | None = None
    why: Literal["submit", "leave", "timer"]


class EditRequest(Request):
    """Something that follows a state of the drawing."""

    edit: Edit


class ResolveRequest(EditRequest):
    """Which of two becomes the newest version."""

    keep: Literal["mine", "theirs"]


class StartRequest(EditRequest):
    """What to begin from."""

    source: Annotated[Literal["proposal", "empty"], Field(alias="from")]


class Reason(Request):
    """Why an image is unusable."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class JobRequest(Request):
    """Long work; the settings are judged by its kind."""

    kind: Literal["train", "suggest", "predict"]
    settings: Annotated[dict[str, Any], Field(max_length=20)] = {}
