"""All tables, imported in one place: what Alembic compares with the migrations."""

from __future__ import annotations

from datacomp_server.accounts.models import ApiToken, Role, User, WebSession
from datacomp_server.boards.models import Board, StoredSuite
from datacomp_server.database import Base
from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run, Worker
from datacomp_server.submissions.models import Event, QuotaEntry, QuotaState, StoredFile, Submission
from datacomp_server.uploads.models import UploadPiece

__all__ = [
    "ApiToken",
    "Attempt",
    "AttemptState",
    "Base",
    "Board",
    "Event",
    "OutboxRow",
    "QuotaEntry",
    "QuotaState",
    "Role",
    "Run",
    "Score",
    "SeedScore",
    "StoredFile",
    "StoredSuite",
    "Submission",
    "UploadPiece",
    "User",
    "WebSession",
    "Worker",
]
