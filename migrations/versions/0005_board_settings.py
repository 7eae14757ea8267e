"""Opening windows, private tasks, disclosure, duplicates.

Revision 0005, after 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Columns are added with a default that stays: SQLite would have to copy a table to lose it, with all that refers to it.
BOARDS = (
    sa.Column("baseline_submissions", sa.JSON(none_as_null=True), nullable=False, server_default="[]"),
    sa.Column("opens_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("private_tasks", sa.JSON(none_as_null=True), nullable=False, server_default="[]"),
    sa.Column("reveals_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("disclosure", sa.String(length=24), nullable=False, server_default="never"),
    sa.Column("show_images", sa.Boolean(), nullable=False, server_default=sa.false()),
)
SCORES = (
    sa.Column("public_average", sa.Double(), nullable=True),
    sa.Column("public_main", sa.Double(), nullable=True),
    sa.Column("public_groups", sa.JSON(none_as_null=True), nullable=False, server_default="{}"),
)
SUBMISSIONS = (
    sa.Column("subset_digest", sa.Text(), nullable=True),
    sa.Column("duplicate_of", sa.Text(), nullable=True),
)


def upgrade() -> None:
    for table, columns in (("boards", BOARDS), ("scores", SCORES), ("submissions", SUBMISSIONS)):
        for column in columns:
            op.add_column(table, column.copy())
    op.execute("update scores set public_average = average, public_main = main, public_groups = groups")
    op.create_index(op.f("ix_scores_board_name_public_average"), "scores", ["board_name", "public_average"])
    op.create_index(op.f("ix_submissions_subset_digest"), "submissions", ["subset_digest"])


def downgrade() -> None:
    op.drop_index(op.f("ix_submissions_subset_digest"), "submissions")
    op.drop_index(op.f("ix_scores_board_name_public_average"), "scores")
    for table, columns in (("submissions", SUBMISSIONS), ("scores", SCORES), ("boards", BOARDS)):
        for column in columns:
            op.drop_column(table, column.name)
