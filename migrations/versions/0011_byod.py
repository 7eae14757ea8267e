"""What byod boards ask of datasets.

Revision 0011, after 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("boards", sa.Column("byod", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("boards", "byod")
