"""Sketches of subsets, from which receipts tell overlaps.

Revision 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subset_sketches",
        sa.Column("subset_digest", sa.Text(), nullable=False),
        sa.Column("sketch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subset_digest", name=op.f("pk_subset_sketches")),
    )


def downgrade() -> None:
    op.drop_table("subset_sketches")
