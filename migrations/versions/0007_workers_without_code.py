"""Workers say why they cannot run participants' code.

Revision 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("no_code", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("workers", "no_code")
