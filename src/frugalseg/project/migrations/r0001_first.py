"""The first schema: roots, images, annotations, rounds, members, suggestions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "project",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("class_names", sa.JSON, nullable=False),
        sa.Column("made_with", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
    )
    op.create_table(
        "roots",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_roots"),
        sa.UniqueConstraint("name", name="uq_roots_name"),
    )
    _images()
    _annotations()
    _rounds()
    _suggestions()


def _images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("root_id", sa.Integer),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("pixel_size_um", sa.Float),
        sa.Column("group", sa.String),
        sa.Column("role", sa.String),
        sa.Column("unusable_reason", sa.String),
        sa.Column("added_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("name", name="uq_images_name"),
        sa.UniqueConstraint("sha256", name="uq_images_sha256"),
        sa.ForeignKeyConstraint(["root_id"], ["roots.id"], name="fk_images_root_id"),
        sa.CheckConstraint("role IN ('pool', 'validation')", name="ck_images_role"),
    )
    op.create_index("ix_images_role", "images", ["role"])


def _annotations() -> None:
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("mask", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        *(sa.Column(name, sa.Integer) for name in "xywh"),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("n_objects", sa.Integer, nullable=False),
        sa.Column("contour_px", sa.Float, nullable=False),
        sa.Column("object_classes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_annotations"),
        sa.UniqueConstraint("image_id", "version", name="uq_annotations_image_id"),
        sa.UniqueConstraint("mask", name="uq_annotations_mask"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_annotations_image_id"),
    )


def _rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("labelled", sa.JSON, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("finished_at", sa.DateTime),
        sa.PrimaryKeyConstraint("number", name="pk_rounds"),
        sa.CheckConstraint("status IN ('training', 'trained')", name="ck_rounds_status"),
    )
    op.create_table(
        "members",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("folder", sa.String, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        sa.UniqueConstraint("round", "index", name="uq_members_round"),
        sa.ForeignKeyConstraint(["round"], ["rounds.number"], name="fk_members_round"),
    )


def _suggestions() -> None:
    op.create_table(
        "suggestions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer),
        sa.Column("ask", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Integer) for name in "xywh"),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("uncertainty", sa.Float),
        sa.Column("uncertainty_rank", sa.Integer),
        sa.Column("represents", sa.Float),
        sa.Column("similarity", sa.Float),
        sa.Column("nearest", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_suggestions"),
        sa.UniqueConstraint("ask", "rank", name="uq_suggestions_ask"),
        sa.ForeignKeyConstraint(["round"], ["rounds.number"], name="fk_suggestions_round"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_suggestions_image_id"),
    )
