"""Rows of papers' tables.

Revision 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "published_scores",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("track", sa.String(length=24), nullable=False),
        sa.Column("scale", sa.Text(), nullable=False),
        sa.Column("suite", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("dataset_size", sa.BigInteger(), nullable=True),
        sa.Column("samples_seen", sa.BigInteger(), nullable=False),
        sa.Column("train_macs", sa.Double(), nullable=True),
        sa.Column("average", sa.Double(), nullable=True),
        sa.Column("main", sa.Double(), nullable=True),
        sa.Column("groups", JSON, nullable=False),
        sa.Column("tasks", JSON, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("citation", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("same_recipe", sa.Boolean(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_published_scores")),
    )
    op.create_index("ix_published_scores_scale", "published_scores", ["scale", "track", "suite"])


def downgrade() -> None:
    op.drop_table("published_scores")
