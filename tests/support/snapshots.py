"""The database's content without ids and times, so that two histories can be compared."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from datacomp_server.database import Base, Database, UtcDateTime

UNTOLD = {"lease_until", "seconds", "log_tail", "key", "day"}
"""Columns that depend on the clock or on ids, beside those of times."""
TABLES = (
    "submissions", "runs", "attempts", "stored_files", "events", "outbox", "quota_entries", "scores", "seed_scores",
)  # fmt: skip


def snapshot(database: Database) -> dict[str, list[tuple[str, ...]]]:
    """Rows by table. Ids are told as names: a submission's method, a run's stage and seed, an attempt's fence."""
    with database.engine.connect() as connection:
        rows = {name: list(connection.execute(sa.select(Base.metadata.tables[name])).mappings()) for name in TABLES}
    names = {row["id"]: f"<{row['method']}>" for row in rows["submissions"]}
    names |= {row["id"]: f"{names[row['submission_id']]}/{row['stage']}-{row['seed']}" for row in rows["runs"]}
    names |= {row["id"]: f"{names[row['run_id']]}#{row['fence']}" for row in rows["attempts"]}
    for row in rows["submissions"]:
        names[row["user_id"]] = "a person"
    told = {name: [_told(Base.metadata.tables[name], row, names) for row in found] for name, found in rows.items()}
    # The order of events counts within one submission, that of other rows not at all.
    events = sorted(zip(rows["events"], told["events"], strict=True), key=lambda pair: _place(pair[0], names))
    told["events"] = [line for _, line in events]
    return {name: lines if name == "events" else sorted(lines) for name, lines in told.items()}


def _place(event: Any, names: dict[str, str]) -> tuple[str, int]:
    return names[event["submission_id"]], event["id"]


def _told(table: sa.Table, row: Any, names: dict[str, str]) -> tuple[str, ...]:
    cells = []
    for column in table.columns:
        value = row[column.name]
        if isinstance(column.type, UtcDateTime):
            value = "a time" if value is not None else None
        elif column.name in UNTOLD or (column.name == "id" and value not in names):
            continue
        cells.append(f"{column.name}={names.get(value, value) if isinstance(value, str) else value}")
    return tuple(cells)
