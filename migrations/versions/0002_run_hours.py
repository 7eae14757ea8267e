"""Runs get deadlines, attempts the hours they used, parties their turn; history can only grow.

Revision 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Columns are added with a default that stays: SQLite would have to copy a table to lose it, with all that refers to it.
ATTEMPTS = (
    sa.Column("device", sa.Text(), nullable=True),
    sa.Column("device_count", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("seconds", sa.Double(), nullable=False, server_default="0"),
    sa.Column("cpu_seconds", sa.Double(), nullable=False, server_default="0"),
)
KEPT = ("id", "at", "submission_id", "run_id", "stage", "what", "before", "after")
REFUSAL = "events is append-only"
ANONYMOUS = r"%\:deleted%"
"""What an actor may become when an account is deleted: `participant:deleted`, `organiser:deleted-17`, ..."""


def upgrade() -> None:
    for column in ATTEMPTS:
        op.add_column("attempts", column.copy())
    op.add_column("runs", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_runs_due_at"), "runs", ["due_at"])
    op.create_table(
        "turns",
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("party", name=op.f("pk_turns")),
    )
    op.execute("insert into turns (party, served_at) select id, served_at from users where served_at is not null")
    op.drop_column("users", "served_at")
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def _guard_postgresql() -> None:
    changed = " or ".join(f'new."{name}" is distinct from old."{name}"' for name in KEPT)
    op.execute(f"""
        create function events_append_only() returns trigger language plpgsql as $$
        begin
            if tg_op = 'DELETE' or {changed} or new.actor not like '{ANONYMOUS}' then
                raise exception '{REFUSAL}';
            end if;
            return new;
        end $$""")
    op.execute(
        "create trigger events_append_only before update or delete on events "
        "for each row execute function events_append_only()"
    )


def _guard_sqlite() -> None:
    changed = " or ".join(f'new."{name}" is not old."{name}"' for name in KEPT)
    refuse = f"begin select raise(abort, '{REFUSAL}'); end"
    op.execute(f"create trigger events_never_deleted before delete on events {refuse}")
    op.execute(
        f"create trigger events_never_changed before update on events "
        f"when {changed} or new.actor not like '{ANONYMOUS}' {refuse}"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("drop trigger events_append_only on events")
        op.execute("drop function events_append_only()")
    else:
        op.execute("drop trigger events_never_deleted")
        op.execute("drop trigger events_never_changed")
    op.add_column("users", sa.Column("served_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("update users set served_at = (select turns.served_at from turns where turns.party = users.id)")
    op.drop_table("turns")
    op.drop_index(op.f("ix_runs_due_at"), "runs")
    op.drop_column("runs", "due_at")
    for column in ATTEMPTS:
        op.drop_column("attempts", column.name)
