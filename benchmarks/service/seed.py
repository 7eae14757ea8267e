"""A board with many entries, written straight into the database."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from datacomp.suite import load_suite
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import AccountService
from datacomp_server.database import Database
from datacomp_server.leaderboard.columns import pack
from datacomp_server.leaderboard.models import Score
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

BOARD = "filtering-small"
SUITE = "datacomp-38"
BOARDS = f"""
[[boards]]
name = "{BOARD}"
title = "Filtering, small"
scale = "small"
suite = "{SUITE}@1"
pool = "small"
submissions_per_day = 1000000
train_queue = "cpu"
"""
BLOCK = 2000


def write_boards(folder: Path) -> Path:
    """The boards file."""
    path = folder / "boards.toml"
    path.write_text(BOARDS)
    return path


def people(database: Database, settings: Settings, count: int) -> dict[str, str]:
    """Participants with a token each, by name."""
    tokens = {}
    with database.write() as session:
        accounts = AccountService(session, settings)
        for number in range(count):
            name = f"participant-{number:04d}"
            accounts.create_user(name, Role.PARTICIPANT)
            tokens[name] = accounts.token_for(name, "benchmark").token
    return tokens


def fill(database: Database, count: int) -> list[str]:
    """Scored submissions with scores on every task; their ids."""
    rng = random.Random(0)
    suite = load_suite(SUITE)
    with database.read() as session:
        users = list(session.scalars(sa.text("select id from users where role = 'participant'")))
    made: list[str] = []
    start = datetime(2026, 1, 1, tzinfo=UTC)
    while len(made) < count:
        rows = range(len(made), min(len(made) + BLOCK, count))
        entries = [_entry(rng, number, users, start) for number in rows]
        with database.write() as session:
            session.execute(sa.insert(Submission), entries)
            session.execute(sa.insert(Score), [_score(rng, entry, suite) for entry in entries])
        made += [entry["id"] for entry in entries]
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("analyze"))
    return made


def _entry(rng: random.Random, number: int, users: list[str], start: datetime) -> dict[str, Any]:
    user = users[number % len(users)]
    at = start + timedelta(minutes=number)
    return {
        "id": f"{number:016x}", "board_name": BOARD, "user_id": user, "kind": "uids", "method": f"method {number}",
        "description": "", "link": "", "filename": "uids.npy", "digest": f"{number:064x}", "size": 16,
        "rehearsal": False, "state": "scored", "created_at": at, "uploaded_at": at, "finished_at": at,
        "baseline": number % 5000 == 0, "subset_size": rng.randrange(10**6, 10**7),
    }  # fmt: skip


def _score(rng: random.Random, entry: dict[str, Any], suite: Any) -> dict[str, Any]:
    level = rng.betavariate(4, 12)
    tasks = {task.key: {"value": round(level + rng.uniform(-0.1, 0.1), 4), "n": 5000} for task in suite.tasks}
    groups = dict.fromkeys(suite.groups(), level)
    means = {"average": level, "main": level + 0.01, "groups": groups, "standing": -level}
    return {
        "submission_id": entry["id"], "board_name": BOARD, "tasks": tasks, "seeds": 1, "listed": True,
        "handed_in_at": entry["created_at"], "task_values": pack(tasks),
        **means, **{f"public_{name}": value for name, value in means.items()},
    }  # fmt: skip
