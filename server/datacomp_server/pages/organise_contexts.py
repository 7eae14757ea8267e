"""What the templates for organisers are given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from datacomp.messages import BoardOut, QuotaOut
from datacomp.problems import Problem
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.leaderboard.rescoring import Plan
from datacomp_server.operation.acts import Outlook
from datacomp_server.operation.lists import AccountLine, PinnedLine, RunLine
from datacomp_server.operation.overview import Standing
from datacomp_server.pages.contexts import Fact, Page


@dataclass(frozen=True, kw_only=True)
class OrganisePage(Page):
    """`organise.html`: how everything stands, and where to go on."""

    template: ClassVar[str] = "organise.html"
    standing: Standing


@dataclass(frozen=True)
class SuiteChoice:
    """A suite that the server has."""

    digest: str
    name: str


@dataclass(frozen=True, kw_only=True)
class OrganiseBoardPage(Page):
    """`organise_board.html`: a board as it is configured, and what can be done with it."""

    template: ClassVar[str] = "organise_board.html"
    board: BoardOut
    settings: list[Fact]
    deviation: SeedDeviation
    pinned: list[PinnedLine]
    removed: int
    """Uids that were removed from its pool."""
    published: int
    """Rows of papers at its scale."""
    suites: list[SuiteChoice]
    done: str = ""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrganiseRescorePage(Page):
    """`organise_rescore.html`: what scoring a board again would change; nothing is written yet."""

    template: ClassVar[str] = "organise_rescore.html"
    board: BoardOut
    plan: Plan | None
    """None where it could not be made: see `problems`; or not yet, as `done` of `total` submissions are scored."""
    shown: int = 0
    """Rows of `plan.moved` that are listed; the figures above the table tell of all."""
    suite: str = ""
    """Digest that was chosen; empty: the board's own."""
    done: int = 0
    total: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class RunsAsked:
    """What the list of runs is filtered by, as the address says it; empty: all."""

    board: str = ""
    state: str = ""
    stage: str = ""
    worker: str = ""
    code: str = ""
    participant: str = ""


@dataclass(frozen=True, kw_only=True)
class OrganiseRunsPage(Page):
    """`organise_runs.html`: runs of everybody, and a choice of submissions to do something to."""

    template: ClassVar[str] = "organise_runs.html"
    asked: RunsAsked
    boards: list[BoardOut]
    states: list[str]
    stages: list[str]
    lines: list[RunLine]
    most: int
    """Submissions that may be chosen at once."""
    newer: str | None
    older: str | None
    """Addresses of the pages beside this one."""
    done: str = ""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class OrganiseConfirmPage(Page):
    """`organise_confirm.html`: what an act would do to each of the chosen submissions; asks for the reason."""

    template: ClassVar[str] = "organise_confirm.html"
    act: str
    """`requeue` or `cancel`."""
    outlooks: list[Outlook]
    reason: str = ""
    problems: list[Problem] = field(default_factory=list)

    @property
    def possible(self) -> list[Outlook]:
        """Those that it can be done to."""
        return [one for one in self.outlooks if one.possible]


@dataclass(frozen=True, kw_only=True)
class OrganiseUsersPage(Page):
    """`organise_users.html`: accounts."""

    template: ClassVar[str] = "organise_users.html"
    search: str
    role: str
    roles: list[str]
    lines: list[AccountLine]
    newer: str | None
    older: str | None


@dataclass(frozen=True, kw_only=True)
class OrganiseUserPage(Page):
    """`organise_user.html`: one account, and what can be done with it."""

    template: ClassVar[str] = "organise_user.html"
    account: AccountLine
    team: str | None
    quotas: list[QuotaOut]
    roles: list[str]
    own: bool
    """Whether it is the viewer's: nobody changes their own role."""
    link: str = ""
    """There once: by it the account's owner chooses a new password."""
    done: str = ""
    problems: list[Problem] = field(default_factory=list)
