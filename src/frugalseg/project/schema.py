"""The tables of a project's database, as SQLAlchemy sees them; :mod:`.migrations` holds how they came to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    LargeBinary,
    MetaData,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

HEAD = "0003"
"""The revision of the schema that this frugalseg works with."""

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""How constraints are named, so that later revisions can name them."""


class UtcDateTime(TypeDecorator[datetime]):
    """Moments in UTC; SQLite knows no time zones, so they are stored without one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A moment on its way into the database."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A moment on its way out."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        float: Float,
        bytes: LargeBinary,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class ProjectRow(Base):
    """What is said of the project as a whole: one row, number 1."""

    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    class_names: Mapped[list[Any]]
    made_with: Mapped[str]
    created_at: Mapped[datetime]


class RootRow(Base):
    """A folder outside the project where large images stay."""

    __tablename__ = "roots"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]


class SlideRow(Base):
    """A whole slide, which stays where it is; `factor` and `window_px` say how windows are cut from it."""

    __tablename__ = "slides"
    __table_args__ = (CheckConstraint("role IN ('pool', 'validation')", name="role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    root_id: Mapped[int | None] = mapped_column(ForeignKey("roots.id"))
    height: Mapped[int]
    width: Mapped[int]
    pixel_size_um: Mapped[float | None]
    factor: Mapped[float]
    window_px: Mapped[int]
    tile_levels: Mapped[int]
    group: Mapped[str | None]
    role: Mapped[str | None]
    unusable_reason: Mapped[str | None]
    added_at: Mapped[datetime]

    root: Mapped[RootRow | None] = relationship(lazy="joined")


class ImageRow(Base):
    """An image: in the project's folder, or below a root; a window of a slide says where in it."""

    __tablename__ = "images"
    __table_args__ = (CheckConstraint("role IN ('pool', 'validation')", name="role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    root_id: Mapped[int | None] = mapped_column(ForeignKey("roots.id"))
    height: Mapped[int]
    width: Mapped[int]
    pixel_size_um: Mapped[float | None]
    group: Mapped[str | None]
    role: Mapped[str | None] = mapped_column(index=True)
    unusable_reason: Mapped[str | None]
    added_at: Mapped[datetime]
    slide_id: Mapped[int | None] = mapped_column(ForeignKey("slides.id"))
    slide_x: Mapped[int | None]
    slide_y: Mapped[int | None]
    slide_width: Mapped[int | None]
    slide_height: Mapped[int | None]

    root: Mapped[RootRow | None] = relationship(lazy="joined")
    slide: Mapped[SlideRow | None] = relationship(lazy="joined")


class AnnotationRow(Base):
    """One version of an image's mask; rows are only appended."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("image_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    version: Mapped[int]
    mask: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    x: Mapped[int | None]
    y: Mapped[int | None]
    w: Mapped[int | None]
    h: Mapped[int | None]
    complete: Mapped[bool]
    source: Mapped[str]
    n_objects: Mapped[int]
    contour_px: Mapped[float]
    object_classes: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class RoundRow(Base):
    """A training of an ensemble."""

    __tablename__ = "rounds"
    __table_args__ = (CheckConstraint("status IN ('training', 'trained', 'abandoned')", name="status"),)

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[str]
    settings: Mapped[dict[str, Any]]
    labelled: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class MemberRow(Base):
    """One network of a round."""

    __tablename__ = "members"
    __table_args__ = (UniqueConstraint("round", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int] = mapped_column(ForeignKey("rounds.number"))
    index: Mapped[int]
    folder: Mapped[str]
    seed: Mapped[int]


class SuggestionRow(Base):
    """One suggested image of one ask."""

    __tablename__ = "suggestions"
    __table_args__ = (UniqueConstraint("ask", "rank"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int | None] = mapped_column(ForeignKey("rounds.number"))
    ask: Mapped[int]
    rank: Mapped[int]
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    x: Mapped[int | None]
    y: Mapped[int | None]
    w: Mapped[int | None]
    h: Mapped[int | None]
    strategy: Mapped[str]
    settings: Mapped[dict[str, Any]]
    uncertainty: Mapped[float | None]
    uncertainty_rank: Mapped[int | None]
    represents: Mapped[float | None]
    similarity: Mapped[float | None]
    nearest: Mapped[list[Any]]
    created_at: Mapped[datetime]


class DraftRow(Base):
    """What is being drawn on an image: where it began, and how many strokes followed."""

    __tablename__ = "drafts"

    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"), primary_key=True, autoincrement=False)
    base: Mapped[str]
    proposal: Mapped[str | None]
    n_strokes: Mapped[int]
    next_label: Mapped[int]
    object_classes: Mapped[dict[str, Any]]
    accepted: Mapped[list[Any]]
    updated_at: Mapped[datetime]


class StrokeRow(Base):
    """One change of a draft: the labels of a rectangle afterwards; rows go when a version holds them."""

    __tablename__ = "strokes"
    __table_args__ = (UniqueConstraint("image_id", "number"), UniqueConstraint("uuid"))

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id"))
    number: Mapped[int]
    uuid: Mapped[str]
    tool: Mapped[str]
    x: Mapped[int]
    y: Mapped[int]
    w: Mapped[int]
    h: Mapped[int]
    labels: Mapped[bytes]
    created_at: Mapped[datetime]


class JobRow(Base):
    """Long work: asked for, at it, or done."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("kind IN ('train', 'suggest', 'predict')", name="kind"),
        CheckConstraint("status IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    source: Mapped[str]
    settings: Mapped[dict[str, Any]]
    message: Mapped[str | None]
    round: Mapped[int | None]
    done: Mapped[int]
    total: Mapped[int]
    cancel: Mapped[bool]
    pid: Mapped[int | None]
    process_started: Mapped[float | None]
    attempts: Mapped[int]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
