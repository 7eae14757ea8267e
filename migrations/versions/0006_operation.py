"""Retention, and uids that were removed on request.

Revision 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("stored_files", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "removed_uids",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool", "uid", name=op.f("pk_removed_uids")),
    )


def downgrade() -> None:
    op.drop_table("removed_uids")
    op.drop_column("stored_files", "deleted_at")
