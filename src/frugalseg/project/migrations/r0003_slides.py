"""Whole slides, and images that are windows of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of slides; say of every image where in which slide it lies, so far nowhere."""
    op.create_table(
        "slides",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("root_id", sa.Integer),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("pixel_size_um", sa.Float),
        sa.Column("factor", sa.Float, nullable=False),
        sa.Column("window_px", sa.Integer, nullable=False),
        sa.Column("tile_levels", sa.Integer, nullable=False),
        sa.Column("group", sa.String),
        sa.Column("role", sa.String),
        sa.Column("unusable_reason", sa.String),
        sa.Column("added_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_slides"),
        sa.UniqueConstraint("name", name="uq_slides_name"),
        sa.UniqueConstraint("sha256", name="uq_slides_sha256"),
        sa.ForeignKeyConstraint(["root_id"], ["roots.id"], name="fk_slides_root_id"),
        sa.CheckConstraint("role IN ('pool', 'validation')", name="ck_slides_role"),
    )
    # in place: a table made anew would lose its conditions
    op.execute("ALTER TABLE images ADD COLUMN slide_id INTEGER CONSTRAINT fk_images_slide_id REFERENCES slides (id)")
    for side in ("x", "y", "width", "height"):
        op.add_column("images", sa.Column(f"slide_{side}", sa.Integer))
