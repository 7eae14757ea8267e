"""Teams, scopes, sign-in by others, audit log, webhooks, quotas.

Revision 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)
EVERY_SCOPE = '["read", "submit", "account", "organise", "work"]'

# Columns are added with a default that stays: SQLite would have to copy a table to lose it, with all that refers to it.
COLUMNS = (
    ("users", sa.Column("email_confirmed_at", MOMENT, nullable=True)),
    ("users", sa.Column("mail_on_final", sa.Boolean(), nullable=False, server_default=sa.false())),
    ("users", sa.Column("deleted_at", MOMENT, nullable=True)),
    # Tokens of before could do whatever their account can.
    ("api_tokens", sa.Column("scopes", JSON, nullable=False, server_default=EVERY_SCOPE)),
    ("web_sessions", sa.Column("last_used_at", MOMENT, nullable=True)),
    ("web_sessions", sa.Column("client", sa.Text(), nullable=False, server_default="")),
    ("web_sessions", sa.Column("address", sa.Text(), nullable=True)),
    ("boards", sa.Column("submissions_total", sa.Integer(), nullable=True)),
    ("boards", sa.Column("submissions_concurrent", sa.Integer(), nullable=True)),
)
OF_TEAMS = ("submissions", "quota_entries")


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, column.copy())
    _create_teams()
    _create_identities()
    _create_audit_log()
    _create_notices()
    for table in OF_TEAMS:  # in words, because Alembic cannot add a column that refers to another table on SQLite
        name = f"fk_{table}_team_id_teams"
        op.execute(f"ALTER TABLE {table} ADD COLUMN team_id TEXT CONSTRAINT {name} REFERENCES teams (id)")
    op.create_index(op.f("ix_submissions_team_id_created_at"), "submissions", ["team_id", "created_at"])
    op.create_index(op.f("ix_quota_entries_team_id_board_name_day"), "quota_entries", ["team_id", "board_name", "day"])
    _forbid_updates()


def downgrade() -> None:
    _allow_updates()
    op.drop_index(op.f("ix_quota_entries_team_id_board_name_day"), "quota_entries")
    op.drop_index(op.f("ix_submissions_team_id_created_at"), "submissions")
    for table in OF_TEAMS:
        op.execute(f"ALTER TABLE {table} DROP COLUMN team_id")
    for table in ("notices", "webhooks", "audit_log", "identities", "team_invites", "team_members", "teams"):
        op.drop_table(table)
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column.name)


def _create_teams() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("name_key", name=op.f("uq_teams_name_key")),
    )
    op.create_table(
        "team_members",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Boolean(), nullable=False),
        sa.Column("joined_at", MOMENT, nullable=False),
        sa.Column("left_at", MOMENT, nullable=True),
        _refers("team_members", "team_id", "teams"),
        _refers("team_members", "user_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team_members")),
    )
    present = sa.text("left_at IS NULL")
    op.create_index(
        "ix_team_members_user_id_current",
        "team_members",
        ["user_id"],
        unique=True,
        sqlite_where=present,
        postgresql_where=present,
    )
    op.create_index(op.f("ix_team_members_team_id_left_at"), "team_members", ["team_id", "left_at"])
    op.create_table(
        "team_invites",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        _refers("team_invites", "team_id", "teams"),
        _refers("team_invites", "created_by", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team_invites")),
        sa.UniqueConstraint("digest", name=op.f("uq_team_invites_digest")),
    )
    op.create_index(op.f("ix_team_invites_team_id"), "team_invites", ["team_id"])


def _create_identities() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _refers("identities", "user_id", "users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("provider", "subject", name=op.f("uq_identities_provider_subject")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=True),
        sa.Column("subject_id", sa.Text(), nullable=True),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", JSON, nullable=False),
        _refers("audit_log", "actor_id", "users"),
        _refers("audit_log", "subject_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    for column in ("actor_id", "subject_id", "what"):
        op.create_index(op.f(f"ix_audit_log_{column}_id"), "audit_log", [column, "id"])


def _create_notices() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _refers("webhooks", "user_id", "users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index(op.f("ix_webhooks_user_id"), "webhooks", ["user_id"])
    op.create_table(
        "notices",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("submission_id", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("given_up_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        _refers("notices", "user_id", "users", ondelete="CASCADE"),
        _refers("notices", "submission_id", "submissions"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint(
            "submission_id", "event", "user_id", "target", name=op.f("uq_notices_submission_id_event_user_id_target")
        ),
    )
    op.create_index(op.f("ix_notices_due_at"), "notices", ["due_at"])
    op.create_index(op.f("ix_notices_user_id_created_at"), "notices", ["user_id", "created_at"])


def _refers(table: str, column: str, other: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{other}")
    return sa.ForeignKeyConstraint([column], [f"{other}.id"], name=name, ondelete=ondelete)


def _forbid_updates() -> None:
    """A line of the audit log stays as it was written. Deleting is left to retention."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
        return
    op.execute(
        "CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION audit_log_append_only()"
    )


def _allow_updates() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_log_append_only")
        return
    op.execute("DROP TRIGGER audit_log_append_only ON audit_log")
    op.execute("DROP FUNCTION audit_log_append_only()")
