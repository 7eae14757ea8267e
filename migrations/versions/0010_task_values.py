"""Every task's score of an entry in few bytes, for boards that are sorted by a task.

Revision 0010, after 0009.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BLOCK = 1000
SCORES = sa.table(
    "scores", sa.column("submission_id"), sa.column("tasks", sa.JSON), sa.column("task_values", sa.LargeBinary)
)


def upgrade() -> None:
    op.add_column("scores", sa.Column("task_values", sa.LargeBinary(), nullable=True))
    connection, last = op.get_bind(), ""
    while True:
        query = sa.select(SCORES.c.submission_id, SCORES.c.tasks).where(SCORES.c.submission_id > last)
        rows = connection.execute(query.order_by(SCORES.c.submission_id).limit(BLOCK)).all()
        if not rows:
            return
        statement = sa.update(SCORES).where(SCORES.c.submission_id == sa.bindparam("entry"))
        values = [{"entry": row.submission_id, "packed": _packed(row.tasks)} for row in rows]
        connection.execute(statement.values(task_values=sa.bindparam("packed")), values)
        last = rows[-1].submission_id


def downgrade() -> None:
    with op.batch_alter_table("scores") as table:
        table.drop_column("task_values")


def _packed(tasks: Any) -> bytes:
    """As `datacomp_server.leaderboard.columns.pack` had it when this was written."""
    tasks = json.loads(tasks) if isinstance(tasks, str) else tasks
    values = [tasks[key].get("value") for key in sorted(tasks)]
    return struct.pack(f"<{len(values)}d", *(math.nan if value is None else value for value in values))
