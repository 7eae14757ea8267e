"""The few baselines of a board are found without looking at its other entries.

Revision 0013, after 0012.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

NAME = "ix_submissions_baselines"


def upgrade() -> None:
    op.create_index(
        NAME,
        "submissions",
        ["board_name"],
        postgresql_where=sa.text("baseline IS true"),
        sqlite_where=sa.text("baseline IS 1"),
    )


def downgrade() -> None:
    op.drop_index(NAME, table_name="submissions")
