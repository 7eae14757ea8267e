"""What endpoints and pages ask FastAPI for: sessions, the viewer, services.

The session commits once per request, after the endpoint returned and before the answer is sent: what a client was
told is on disk.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from datacomp.messages import Scope
from datacomp_server.accounts.entry import Entry
from datacomp_server.accounts.leaving import LeavingService
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService
from datacomp_server.audit.service import Audit
from datacomp_server.boards.service import BoardService
from datacomp_server.charts.studio import Studio
from datacomp_server.database import Database
from datacomp_server.errors import Forbidden, Unauthorised
from datacomp_server.leaderboard.answers import Answers
from datacomp_server.leaderboard.comparing import Comparisons
from datacomp_server.leaderboard.service import LeaderboardService
from datacomp_server.notices.service import NoticeService
from datacomp_server.notices.wishes import Wishes
from datacomp_server.runs.queue import QueueService
from datacomp_server.runs.service import WorkerService
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.events import Hub
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.teams.service import TeamService

SESSION_COOKIE = "datacomp_session"
CSRF_HEADER = "X-CSRF-Token"
TURNS = 32
"""Fewer than the threads that serve requests (40) and the connections of the pool (50)."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bearer_scheme = HTTPBearer(auto_error=False, description="An API token")
cookie_scheme = APIKeyCookie(name=SESSION_COOKIE, auto_error=False, description="A browser session")
BearerDep = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
CookieDep = Annotated[str | None, Depends(cookie_scheme)]


def get_settings(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.settings
    return settings


def get_database(request: Request) -> Database:
    """The application's database."""
    database: Database = request.app.state.database
    return database


def get_answers(request: Request) -> Answers:
    """Ready answers of the application."""
    answers: Answers = request.app.state.answers
    return answers


def get_studio(request: Request) -> Studio:
    """Where the application's charts are drawn."""
    studio: Studio = request.app.state.studio
    return studio


def get_comparisons(request: Request) -> Comparisons:
    """Comparisons of entries that the application has made."""
    comparisons: Comparisons = request.app.state.comparisons
    return comparisons


def get_hub(request: Request) -> Hub:
    """The application's event streams."""
    hub: Hub = request.app.state.hub
    return hub


def get_storage(request: Request) -> Storage:
    """The application's storage."""
    storage: Storage = request.app.state.storage
    return storage


SettingsDep = Annotated[Settings, Depends(get_settings)]
DatabaseDep = Annotated[Database, Depends(get_database)]
StorageDep = Annotated[Storage, Depends(get_storage)]
AnswersDep = Annotated[Answers, Depends(get_answers)]
StudioDep = Annotated[Studio, Depends(get_studio)]
ComparisonsDep = Annotated[Comparisons, Depends(get_comparisons)]
HubDep = Annotated[Hub, Depends(get_hub)]


async def take_turn(request: Request) -> AsyncIterator[None]:
    """One of `TURNS` at the database, from before the first statement until the transaction has ended.

    A request that holds a transaction still needs a thread to make its answer. If more requests held one than there
    are threads, all threads could wait for connections that those requests hold, and nobody would go on.
    """
    turns: asyncio.Semaphore = request.app.state.turns
    async with turns:
        yield


TurnDep = Annotated[None, Depends(take_turn, scope="function")]


def get_session(request: Request, database: DatabaseDep, _turn: TurnDep) -> Iterator[Session]:
    """One transaction for the request: a snapshot for safe methods, else one that commits at the end."""
    with database.read() if request.method in SAFE_METHODS else database.write() as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def get_viewer(
    request: Request, database: DatabaseDep, settings: SettingsDep, bearer: BearerDep, cookie: CookieDep
) -> Viewer | None:
    """Who is asking: None for nobody, `Unauthorised` for a dead token.

    A short transaction of its own, so that streaming endpoints hold no connection. A browser session may write only
    with its CSRF token in a header, which a foreign page cannot send.
    """
    return find_viewer(request, database, settings, bearer.credentials if bearer else None, cookie)


def find_viewer(
    request: Request, database: Database, settings: Settings, token: str | None, cookie: str | None
) -> Viewer | None:
    """As `get_viewer`, for callers outside dependency injection."""
    if token is None and cookie is None:
        return None
    with database.read() as session:
        accounts = AccountService(session, settings)
        viewer = accounts.viewer_of_token(token) if token is not None else accounts.viewer_of_cookie(cookie or "")
        due = viewer is not None and accounts.use_is_due(viewer)
    if viewer is not None and due:
        with database.write() as session:
            AccountService(session, settings).note_use(viewer)
    if token is not None:
        if viewer is None:
            raise Unauthorised.of("token-dead", "the token is unknown or expired", hint="sign in: datacomp login URL")
        return viewer
    if viewer is not None and request.method not in SAFE_METHODS and request.url.path.startswith("/api/"):
        sent = request.headers.get(CSRF_HEADER, "")
        if not secrets.compare_digest(sent.encode(), (viewer.csrf or "").encode()):
            raise Forbidden.of("csrf", f"a browser session must send its {CSRF_HEADER} header to change anything")
    return viewer


MaybeViewer = Annotated[Viewer | None, Depends(get_viewer)]


def require_somebody(viewer: MaybeViewer) -> Viewer:
    """Somebody, or 401."""
    if viewer is None:
        raise Unauthorised.of("not-signed-in", "this needs an account", hint="sign in: datacomp login URL")
    return viewer


SomebodyDep = Annotated[Viewer, Depends(require_somebody)]


def require_viewer(request: Request, viewer: SomebodyDep) -> Viewer:
    """Somebody whose token was made for this: to read, or to submit where something changes."""
    viewer.require(Scope.READ if request.method in SAFE_METHODS else Scope.SUBMIT)
    return viewer


def require_account(viewer: SomebodyDep) -> Viewer:
    """Somebody whose token was made to change the account too."""
    viewer.require(Scope.ACCOUNT)
    return viewer


ViewerDep = Annotated[Viewer, Depends(require_viewer)]
AccountDep = Annotated[Viewer, Depends(require_account)]


def require_organiser(viewer: SomebodyDep) -> Viewer:
    """An organiser, or 403."""
    if viewer.role is Role.ORGANISER:
        viewer.require(Scope.ORGANISE)
    if not viewer.organiser:
        raise Forbidden.of("organisers-only", "only organisers may do this")
    return viewer


def require_worker(viewer: SomebodyDep) -> Viewer:
    """A worker, or 403."""
    if viewer.role is not Role.WORKER:
        raise Forbidden.of("workers-only", "this interface is for workers", hint="use a worker's token")
    viewer.require(Scope.WORK)
    return viewer


OrganiserDep = Annotated[Viewer, Depends(require_organiser)]
WorkerDep = Annotated[Viewer, Depends(require_worker)]


def get_accounts(session: SessionDep, settings: SettingsDep) -> AccountService:
    """The accounts service of this request."""
    return AccountService(session, settings)


def get_entry(database: DatabaseDep, settings: SettingsDep) -> Entry:
    """The ways in by password; with transactions of their own."""
    return Entry(database, settings)


def get_sessions(session: SessionDep, settings: SettingsDep) -> SessionService:
    """The browser sessions service of this request."""
    return SessionService(session, settings)


def get_audit(session: SessionDep, settings: SettingsDep) -> Audit:
    """The audit log of this request."""
    return Audit(session, settings)


def get_teams(session: SessionDep, settings: SettingsDep) -> TeamService:
    """The teams service of this request."""
    return TeamService(session, settings)


def get_leaving(session: SessionDep, settings: SettingsDep, storage: StorageDep) -> LeavingService:
    """The deletion of accounts in this request."""
    return LeavingService(session, settings, storage)


def get_notices(session: SessionDep, settings: SettingsDep) -> NoticeService:
    """The webhooks and mail settings of this request."""
    return NoticeService(session, settings)


def get_wishes(database: DatabaseDep, settings: SettingsDep) -> Wishes:
    """Changes of mail settings; with transactions of their own."""
    return Wishes(database, settings)


def get_boards(session: SessionDep) -> BoardService:
    """The boards service of this request."""
    return BoardService(session)


def get_submissions(session: SessionDep, settings: SettingsDep, storage: StorageDep) -> SubmissionService:
    """The submissions service of this request."""
    return SubmissionService(session, settings, storage)


def get_leaderboard(session: SessionDep, settings: SettingsDep) -> LeaderboardService:
    """The leaderboard service of this request."""
    return LeaderboardService(session, settings)


def get_queue(session: SessionDep, settings: SettingsDep) -> QueueService:
    """The queue service of this request."""
    return QueueService(session, settings)


def get_worker_service(session: SessionDep, settings: SettingsDep, storage: StorageDep) -> WorkerService:
    """The worker protocol of this request."""
    return WorkerService(session, settings, storage)


AccountServiceDep = Annotated[AccountService, Depends(get_accounts)]
EntryDep = Annotated[Entry, Depends(get_entry)]
SessionServiceDep = Annotated[SessionService, Depends(get_sessions)]
AuditDep = Annotated[Audit, Depends(get_audit)]
LeavingDep = Annotated[LeavingService, Depends(get_leaving)]
NoticeServiceDep = Annotated[NoticeService, Depends(get_notices)]
WishesDep = Annotated[Wishes, Depends(get_wishes)]
TeamServiceDep = Annotated[TeamService, Depends(get_teams)]
BoardServiceDep = Annotated[BoardService, Depends(get_boards)]
SubmissionServiceDep = Annotated[SubmissionService, Depends(get_submissions)]
LeaderboardServiceDep = Annotated[LeaderboardService, Depends(get_leaderboard)]
QueueServiceDep = Annotated[QueueService, Depends(get_queue)]
WorkerServiceDep = Annotated[WorkerService, Depends(get_worker_service)]
