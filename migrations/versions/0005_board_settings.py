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
    sa.Column("standing", sa.Double(), nullable=False, server_default="1e300"),
    sa.Column("public_standing", sa.Double(), nullable=False, server_default="1e300"),
    sa.Column("handed_in_at", sa.DateTime(timezone=True), nullable=False, server_default="2026-01-01 00:00:00+00:00"),
    sa.Column("listed", sa.Boolean(), nullable=False, server_default=sa.false()),
)
SUBMISSIONS = (
    sa.Column("subset_digest", sa.Text(), nullable=True),
    sa.Column("duplicate_of", sa.Text(), nullable=True),
)
INDEXES = {"ix_scores_standing": "standing", "ix_scores_public_standing": "public_standing"}


def upgrade() -> None:
    for table, columns in (("boards", BOARDS), ("scores", SCORES), ("submissions", SUBMISSIONS)):
        for column in columns:
            op.add_column(table, column.copy())
    op.execute("update scores set public_average = average, public_main = main, public_groups = groups")
    op.execute("update scores set standing = -average, public_standing = -average where average is not null")
    op.execute(
        "update scores set handed_in_at = (select created_at from submissions s where s.id = submission_id), listed = "
        "(select s.state = 'scored' and not s.rehearsal from submissions s where s.id = submission_id)"
    )
    op.drop_index(op.f("ix_scores_board_name_average"), "scores")
    for name, standing in INDEXES.items():
        op.create_index(op.f(name), "scores", ["board_name", "listed", standing, "handed_in_at", "submission_id"])
    op.create_index(op.f("ix_submissions_subset_digest"), "submissions", ["subset_digest"])


def downgrade() -> None:
    op.drop_index(op.f("ix_submissions_subset_digest"), "submissions")
    for name in INDEXES:
        op.drop_index(op.f(name), "scores")
    op.create_index(op.f("ix_scores_board_name_average"), "scores", ["board_name", "average"])
    for table, columns in (("submissions", SUBMISSIONS), ("scores", SCORES), ("boards", BOARDS)):
        for column in columns:
            op.drop_column(table, column.name)
