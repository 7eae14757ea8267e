"""Sampling variances of scores, boards' deviations between seeds, and ranges of ranks.

Revision 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)
COLUMNS = {
    "boards": (sa.Column("seed_deviation", JSON, nullable=True),),
    "seed_scores": (sa.Column("variances", JSON, nullable=True),),
    "scores": (
        sa.Column("variances", JSON, nullable=True),
        sa.Column("public_variances", JSON, nullable=True),
        sa.Column("sampling_variance", sa.Double(), nullable=True),
        sa.Column("public_sampling_variance", sa.Double(), nullable=True),
    ),
}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, column.copy())
    op.create_table(
        "rankings",
        sa.Column("submission_id", sa.Text(), nullable=False),
        sa.Column("board_name", sa.Text(), nullable=False),
        sa.Column("lo", sa.Integer(), nullable=False),
        sa.Column("hi", sa.Integer(), nullable=False),
        sa.Column("holm_lo", sa.Integer(), nullable=False),
        sa.Column("holm_hi", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["board_name"], ["boards.name"], name=op.f("fk_rankings_board_name_boards")),
        sa.ForeignKeyConstraint(
            ["submission_id"], ["submissions.id"], name=op.f("fk_rankings_submission_id_submissions")
        ),
        sa.PrimaryKeyConstraint("submission_id", name=op.f("pk_rankings")),
    )
    op.create_index(op.f("ix_rankings_board_name"), "rankings", ["board_name"])
    op.create_table(
        "rank_sweeps",
        sa.Column("board_name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ranked", sa.Integer(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["board_name"], ["boards.name"], name=op.f("fk_rank_sweeps_board_name_boards")),
        sa.PrimaryKeyConstraint("board_name", name=op.f("pk_rank_sweeps")),
    )
    op.create_table(
        "rank_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("board_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["board_name"], ["boards.name"], name=op.f("fk_rank_changes_board_name_boards")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rank_changes")),
    )
    op.create_index(op.f("ix_rank_changes_board_name"), "rank_changes", ["board_name"])
    op.execute("insert into rank_changes (board_name) select distinct board_name from scores")


def downgrade() -> None:
    for table in ("rank_changes", "rank_sweeps", "rankings"):
        op.drop_table(table)
    for table, columns in COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)
