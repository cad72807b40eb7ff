"""What the annotation page needs: drafts and their strokes, jobs, rounds that were abandoned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the new tables, and allow a round to be abandoned."""
    _drafts()
    _jobs()
    with op.batch_alter_table("rounds") as rounds:
        rounds.drop_constraint("ck_rounds_status", type_="check")
        rounds.create_check_constraint("ck_rounds_status", "status IN ('training', 'trained', 'abandoned')")


def _drafts() -> None:
    op.create_table(
        "drafts",
        sa.Column("image_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("proposal", sa.String),
        sa.Column("n_strokes", sa.Integer, nullable=False),
        sa.Column("next_label", sa.Integer, nullable=False),
        sa.Column("object_classes", sa.JSON, nullable=False),
        sa.Column("accepted", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("image_id", name="pk_drafts"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_drafts_image_id"),
    )
    op.create_table(
        "strokes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("uuid", sa.String, nullable=False),
        sa.Column("tool", sa.String, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in "xywh"),
        sa.Column("labels", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_strokes"),
        sa.UniqueConstraint("image_id", "number", name="uq_strokes_image_id"),
        sa.UniqueConstraint("uuid", name="uq_strokes_uuid"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_strokes_image_id"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("message", sa.String),
        sa.Column("round", sa.Integer),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("pid", sa.Integer),
        sa.Column("process_started", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("started_at", sa.DateTime),
        sa.Column("finished_at", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.CheckConstraint("kind IN ('train', 'suggest', 'predict')", name="ck_jobs_kind"),
        sa.CheckConstraint("status IN ('queued', 'running', 'done', 'failed', 'cancelled')", name="ck_jobs_status"),
    )
    op.create_index("ix_jobs_status", "jobs", ["status"])
