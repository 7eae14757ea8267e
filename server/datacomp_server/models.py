"""All tables, imported in one place: what Alembic compares with the migrations."""

from __future__ import annotations

from datacomp_server.accounts.models import ApiToken, Identity, Role, Team, TeamInvite, TeamMember, User, WebSession
from datacomp_server.audit.models import AuditLine
from datacomp_server.boards.models import Board, StoredSuite
from datacomp_server.boards.removals import RemovedUid
from datacomp_server.database import Base
from datacomp_server.leaderboard.models import RankChange, Ranking, RankSweep, Score, SeedScore
from datacomp_server.notices.models import Notice, NoticeKind, Webhook
from datacomp_server.published.models import PublishedScore
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run, Worker
from datacomp_server.submissions.models import Event, QuotaEntry, StoredFile, Submission, SubsetSketch
from datacomp_server.uploads.models import UploadPiece

__all__ = [
    "ApiToken",
    "Attempt",
    "AttemptState",
    "AuditLine",
    "Base",
    "Board",
    "Event",
    "Identity",
    "Notice",
    "NoticeKind",
    "OutboxRow",
    "PublishedScore",
    "QuotaEntry",
    "RankChange",
    "RankSweep",
    "Ranking",
    "RemovedUid",
    "Role",
    "Run",
    "Score",
    "SeedScore",
    "StoredFile",
    "StoredSuite",
    "Submission",
    "SubsetSketch",
    "Team",
    "TeamInvite",
    "TeamMember",
    "UploadPiece",
    "User",
    "WebSession",
    "Webhook",
    "Worker",
]
