"""What each template is given: one frozen dataclass per template, and nothing else.

A context holds values as they are (numbers, times, messages); how they are written is the filters' matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from datacomp.messages import (
    BoardOut,
    Failure,
    LeaderboardRow,
    Progress,
    QuotaOut,
    SubmissionKind,
    SubmissionOut,
    TaskScore,
)
from datacomp.problems import Problem
from datacomp.suite import Task
from datacomp_server.accounts.providers import Provider
from datacomp_server.pages.kept import KeptView
from datacomp_server.pages.table import Leaderboard, group_label
from datacomp_server.runs.schemas import QueueOut
from datacomp_server.submissions.opening import ACCEPTED

KINDS = (SubmissionKind.UIDS, SubmissionKind.EXPRESSION, SubmissionKind.CODE, SubmissionKind.DATASET)
"""In the order in which the form names them."""


@dataclass(frozen=True)
class Person:
    """Who is signed in."""

    name: str
    role: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the frame around every page needs."""

    viewer: Person | None
    csrf: str
    """Value of the hidden field that every form carries."""
    path: str
    """Path of the page, to mark the current entry of the navigation."""
    public_url: str
    now: datetime
    registration_open: bool = True

    @property
    def organising(self) -> bool:
        """Whether it is one of the pages for organisers."""
        return self.path == "/audit" or self.path.startswith("/organise")

    @property
    def section(self) -> str:
        """The entry of the navigation that the page belongs to."""
        if self.path == "/boards" or self.path.endswith("/rules"):
            return "/boards"
        if self.path.startswith("/docs/"):
            return "/docs"
        return "/leaderboard" if self.path.startswith("/boards/") else self.path


@dataclass(frozen=True, kw_only=True)
class Page:
    """Base of all contexts."""

    template: ClassVar[str]
    site: Site


@dataclass(frozen=True)
class Fact:
    """One labelled figure."""

    label: str
    value: str
    code: bool = False
    """Whether the value is a digest, a file name or a command: shown in a fixed-width face."""
    title: str = ""
    """The full value, where `value` is shortened."""


@dataclass(frozen=True)
class Front:
    """How a board stands, in short."""

    entries: int
    under_way: int
    leader: LeaderboardRow | None
    """The entry of the best average."""


@dataclass(frozen=True, kw_only=True)
class HomePage(Page):
    """`home.html`: what this is, how it works, and the boards."""

    template: ClassVar[str] = "home.html"
    boards: list[BoardOut]
    standings: dict[str, Front]
    """By the name of every board."""


@dataclass(frozen=True, kw_only=True)
class LeaderboardPage(Page):
    """`leaderboard.html`: one board's table, with the boards as tabs."""

    template: ClassVar[str] = "leaderboard.html"
    board: BoardOut
    boards: list[BoardOut]
    table: Leaderboard
    published: list[LeaderboardRow] = field(default_factory=list)
    """What papers report of the same recipe; no part of the table, because it is not ranked."""

    @property
    def published_groups(self) -> list[tuple[str, str]]:
        """Names and labels of the groups that papers have means of."""
        found = dict.fromkeys(group for row in self.published for group in row.groups if group != "main")
        return [(group, group_label(group)) for group in found]


@dataclass(frozen=True)
class TaskGroup:
    """Tasks of a suite under one group's name."""

    label: str
    tasks: list[Task]


@dataclass(frozen=True, kw_only=True)
class BoardsPage(Page):
    """`boards.html`: every board with its rules in short."""

    template: ClassVar[str] = "boards.html"
    boards: list[BoardOut]


@dataclass(frozen=True, kw_only=True)
class RulesPage(Page):
    """`rules.html`: what one board holds constant, its tasks and its quotas."""

    template: ClassVar[str] = "rules.html"
    board: BoardOut
    boards: list[BoardOut]
    recipe: list[Fact]
    groups: list[TaskGroup]


@dataclass(frozen=True)
class SubmitValues:
    """What the participant has filled in so far."""

    board: str = ""
    kind: str = "uids"
    expression: str = ""
    method: str = ""
    description: str = ""
    link: str = ""
    rehearsal: bool = False


def kinds_of(board: BoardOut) -> list[str]:
    """What a board takes, in the form's order."""
    return [kind.value for kind in KINDS if kind in ACCEPTED[board.track]]


@dataclass(frozen=True)
class ExpressionFault:
    """Where an expression is wrong: place in the text from 0, line and column from 1, and the text of the line."""

    at: int
    line: int
    column: int
    text: str


@dataclass(frozen=True)
class UnfinishedUpload:
    """A file that did not arrive to its end."""

    id: str
    filename: str
    arrived: int
    size: int
    values: SubmitValues


@dataclass(frozen=True, kw_only=True)
class SubmitPage(Page):
    """`submit.html`: the form; `problems` are shown at their fields where `where` names one."""

    template: ClassVar[str] = "submit.html"
    boards: list[BoardOut]
    """Those that take submissions."""
    values: SubmitValues
    problems: list[Problem] = field(default_factory=list)
    file_problems: list[Problem] = field(default_factory=list)
    """Of the file's content: `where` is a place in it."""
    unfinished: list[UnfinishedUpload] = field(default_factory=list)
    """The viewer's uploads that can be gone on with."""
    resume: str = ""
    """Id of the one that was chosen."""
    fault: ExpressionFault | None = None
    quotas: list[QuotaOut] = field(default_factory=list)
    """What counts against the viewer."""

    @property
    def left(self) -> dict[str, int]:
        """How many more each board takes from the viewer now, where it says."""
        found = {}
        for quota in self.quotas:
            known = [count.left for count in (quota.day, quota.total, quota.concurrent) if count.left is not None]
            if known and not quota.rehearsal:
                found[quota.board] = min(known)
        return found

    @property
    def kinds(self) -> dict[str, list[str]]:
        """What each board takes."""
        return {board.name: kinds_of(board) for board in self.boards}

    @property
    def offered(self) -> list[str]:
        """What at least one of the boards takes."""
        return [kind.value for kind in KINDS if any(kind in found for found in self.kinds.values())]


@dataclass(frozen=True)
class Step:
    """One run in the timeline."""

    label: str
    state: str
    mark: str
    """`done`, `now`, `next`, `bad` or `off`."""
    run: str
    queue: str
    worker: str | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    took: timedelta | None
    """Time of the run so far, or in all."""
    waited: timedelta | None
    deadline: datetime | None
    reused_from: str | None
    waiting_note: str
    progress: Progress | None
    fraction: float | None
    """Of the work done, when the total is known."""
    remaining: timedelta | None
    """Estimated from the rate, when there is one."""
    facts: list[Fact]
    log_tail: str


@dataclass(frozen=True)
class ScoreGroup:
    """A submission's tasks under one group's name, with the group's mean."""

    label: str
    mean: float | None
    tasks: list[TaskScore]


@dataclass(frozen=True, kw_only=True)
class ReceiptPage(Page):
    """`receipt.html`, and `receipt_body.html` as the fragment that replaces its live part."""

    template: ClassVar[str] = "receipt.html"
    receipt: SubmissionOut
    steps: list[Step]
    waiting: Step | None
    """The queued step that the queue card speaks of."""
    failure: Failure | None
    failed_step: Step | None
    groups: list[ScoreGroup]
    curves: str
    """The loss curves in words; empty where there are none."""
    commands: list[str]
    can_cancel: bool
    can_withdraw: bool
    is_own: bool
    """Whether the viewer, or a team of theirs, handed it in."""
    has_manifest: bool
    board_title: str = ""
    kept: KeptView | None = None
    """None before the stage `subset` is done."""
    problems: list[Problem] = field(default_factory=list)
    """Of an action (cancel, withdraw) that was refused."""


@dataclass(frozen=True, kw_only=True)
class ManifestPage(Page):
    """`manifest.html`: everything a result depends on, by digest."""

    template: ClassVar[str] = "manifest.html"
    receipt: SubmissionOut
    digest: str
    entries: list[tuple[str, str]]
    """Dotted path and value of every leaf."""

    @property
    def parts(self) -> dict[str, list[tuple[str, str]]]:
        """The entries by the first word of their paths; what has no other word is in a part without a name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for path, value in self.entries:
            words = re.split(r"[.\[]", path, maxsplit=1)
            found.setdefault(words[0] if len(words) > 1 else "", []).append((path, value))
        return found


@dataclass(frozen=True, kw_only=True)
class QueuePage(Page):
    """`queue.html`: every queue's runs, and the workers."""

    template: ClassVar[str] = "queue.html"
    queue: QueueOut


@dataclass(frozen=True)
class TokenLine:
    """An API token, without its secret."""

    id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None
    scopes: list[str] = field(default_factory=list)
    expires_at: datetime | None = None
    expired: bool = False


@dataclass(frozen=True)
class SubmissionLine:
    """A submission in a list."""

    id: str
    method: str
    board: str
    kind: str
    state: str
    rehearsal: bool
    created_at: datetime
    subset_size: int | None


@dataclass(frozen=True, kw_only=True)
class AccountPage(Page):
    """`account.html`: submissions, quotas, tokens. `new_token` is there once, right after it was made."""

    template: ClassVar[str] = "account.html"
    tokens: list[TokenLine]
    submissions: list[SubmissionLine]
    quotas: list[QuotaOut] = field(default_factory=list)
    team: str | None = None
    scopes: list[str] = field(default_factory=list)
    """What a new token may be made for."""
    new_token: str | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def next_day(self) -> datetime:
        """When today's allowances are new."""
        today = self.site.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today + timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class SignInPage(Page):
    """`sign_in.html`: sign in, or make an account."""

    template: ClassVar[str] = "sign_in.html"
    register: bool
    """Whether the form makes a new account."""
    name: str
    email: str
    next_path: str
    """Where to go afterwards; always a path of this site."""
    providers: list[Provider] = field(default_factory=list)
    """Others that one may sign in with."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ErrorPage(Page):
    """`error.html`: any refusal or fault."""

    template: ClassVar[str] = "error.html"
    status: int
    title: str
    problems: list[Problem]
