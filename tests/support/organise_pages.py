"""The pages for organisers in every state: full, empty, with problems, with hostile names."""

from typing import Any

from page_examples import DIGEST, HOSTILE, NOW, PROBLEMS, SUITE, board, site
from people_pages import QUOTAS

from datacomp.messages import RunState, Stage
from datacomp_server.accounts.models import Role
from datacomp_server.boards.deviation import MEASURED, SeedDeviation
from datacomp_server.leaderboard.rescoring import Change, Means, Plan
from datacomp_server.operation.acts import Outlook
from datacomp_server.operation.lists import AccountLine, PinnedLine, RunLine
from datacomp_server.operation.overview import BoardStanding, QueueStanding, Standing
from datacomp_server.pages.contexts import Fact, Page, Site
from datacomp_server.pages.organise_contexts import (
    OrganiseBoardPage,
    OrganiseConfirmPage,
    OrganisePage,
    OrganiseRescorePage,
    OrganiseRunsPage,
    OrganiseUserPage,
    OrganiseUsersPage,
    RunsAsked,
    SuiteChoice,
)

NAME = HOSTILE.replace("/", "")
"""Names of accounts have no slash, and stand in addresses."""


def place(path: str) -> Site:
    return site(path, name="olga", role="organiser")


def change(number: int, before: int | None, after: int | None, **more: Any) -> Change:
    values: dict[str, Any] = {
        "submission": f"s{number}", "method": f"method {number}", "participant": "ada", "stored": {}, "seeds": {},
        "before": Means(0.4 if before else None, 0.3 if before else None, before),
        "after": Means(0.5, 0.3, after), "fresh": True,
    }  # fmt: skip
    return Change(**(values | more))


def rescore_pages() -> dict[str, Page]:
    at: dict[str, Any] = {"site": place("/organise/boards/filtering-tiny/rescore"), "board": board(), "shown": 2}
    changes = [change(1, 2, 1), change(2, 1, 2), change(3, None, None, method=HOSTILE, participant=HOSTILE)]
    other = Plan("filtering-tiny", SUITE, "tiny@0", tuple(changes))
    hostile = Plan("filtering-tiny", SUITE, HOSTILE, tuple(changes[::-1]))
    return {
        "organise-rescore": OrganiseRescorePage(**at, plan=other, suite=DIGEST),
        "organise-rescore-same": OrganiseRescorePage(**at, plan=Plan("filtering-tiny", SUITE, SUITE.id, ())),
        "organise-rescore-stale": OrganiseRescorePage(**at, plan=other, problems=PROBLEMS),
        "organise-rescore-hostile": OrganiseRescorePage(**at, plan=hostile, suite=HOSTILE),
        "organise-rescore-part": OrganiseRescorePage(**at, plan=None, suite=DIGEST, done=12, total=3456),
        "organise-rescore-unfit": OrganiseRescorePage(**at, plan=None, problems=PROBLEMS),
    }


def run(number: int, stage: Stage, state: RunState, **more: Any) -> RunLine:
    values: dict[str, Any] = {
        "id": f"r{number}", "submission": f"s{number // 2}", "method": "Caption agreement", "participant": "ada",
        "board": "filtering-tiny", "submission_state": "training 1 of 2", "rehearsal": False, "stage": stage, "seed": 0,
        "queue": "gpu", "state": state, "worker": "gpu-1", "attempts": 1, "since": NOW, "code": None,
    }  # fmt: skip
    return RunLine(**(values | more))


def runs_pages() -> dict[str, Page]:
    lists: dict[str, Any] = {
        "site": place("/organise/runs"), "boards": [board(), board("medium")], "most": 500,
        "states": [state.value for state in RunState], "stages": [stage.value for stage in Stage],
    }  # fmt: skip
    failed = {"method": HOSTILE, "participant": NAME, "worker": HOSTILE, "code": HOSTILE}
    lines = [
        run(0, Stage.SUBSET, RunState.DONE),
        run(1, Stage.TRAIN, RunState.RUNNING, seed=1),
        run(2, Stage.TRAIN, RunState.QUEUED, worker=None, since=None, rehearsal=True),
        run(4, Stage.TRAIN, RunState.FAILED, submission_state="failed", **failed),
        run(6, Stage.EVALUATE, RunState.DONE, submission_state="scored"),
    ]
    asked = RunsAsked("filtering-tiny", "failed", "train", HOSTILE, HOSTILE, HOSTILE)
    sure = Outlook("s1", HOSTILE, HOSTILE, "filtering-tiny", "failed", True, ("train, seed 1 is queued", HOSTILE))
    late = Outlook("s2", "Late", "ada", "filtering-tiny", "scored", False, ())
    confirm: dict[str, Any] = {"site": place("/organise/runs/confirm")}
    return {
        "organise-runs": OrganiseRunsPage(
            **lists, asked=RunsAsked(), lines=lines[:3], newer=None, older="/organise/runs?page=2"
        ),
        "organise-runs-hostile": OrganiseRunsPage(
            **lists, asked=asked, lines=lines, newer="/organise/runs?page=1", older=None, done="Done.",
            problems=PROBLEMS,
        ),
        "organise-runs-empty": OrganiseRunsPage(**lists, asked=asked, lines=[], newer=None, older=None),
        "organise-requeue": OrganiseConfirmPage(**confirm, act="requeue", outlooks=[sure, late]),
        "organise-cancel-hostile": OrganiseConfirmPage(
            **confirm, act="cancel", outlooks=[sure], reason=HOSTILE, problems=PROBLEMS
        ),
        "organise-cancel-none": OrganiseConfirmPage(**confirm, act="cancel", outlooks=[late]),
    }  # fmt: skip


def account(name: str, role: Role = Role.PARTICIPANT, **more: Any) -> AccountLine:
    values: dict[str, Any] = {
        "id": f"u-{name}", "name": name, "role": role, "created_at": NOW, "has_password": True, "tokens": 2,
        "submissions": 12, "used_today": 1, "used": 11, "last_seen": NOW,
    }  # fmt: skip
    return AccountLine(**(values | more))


def user_pages() -> dict[str, Page]:
    roles = [role.value for role in Role]
    lines = [account("ada"), account("olga", Role.ORGANISER), account(NAME, last_seen=None)]
    users: dict[str, Any] = {"site": place("/organise/users"), "roles": roles}
    one: dict[str, Any] = {"site": place("/organise/users/ada"), "roles": roles, "own": False}
    worker = account("worker", Role.WORKER, has_password=False)
    return {
        "organise-users": OrganiseUsersPage(
            **users, search="", role="", lines=lines, newer=None, older="/organise/users?page=2"
        ),
        "organise-users-none": OrganiseUsersPage(
            **users, search=HOSTILE, role="worker", lines=[], newer="/organise/users?page=1", older=None
        ),
        "organise-user": OrganiseUserPage(**one, account=lines[0], team="The Sieves", quotas=QUOTAS, done="Done."),
        "organise-user-link": OrganiseUserPage(
            **one, account=lines[2], team=HOSTILE, quotas=[], link="http://x/account/reset?code=dc_c"
        ),
        "organise-user-own": OrganiseUserPage(
            **(one | {"own": True}), account=lines[1], team=None, quotas=[], problems=PROBLEMS
        ),
        "organise-user-worker": OrganiseUserPage(**one, account=worker, team=None, quotas=[]),
    }


def organise_pages() -> dict[str, Page]:
    """All of them."""
    boards = [
        BoardStanding(board(closes_at=NOW), 1234, 5, 2),
        BoardStanding(board("medium", open=False, closed=True), 0, 0, 0),
        BoardStanding(board("small", open=False, closed=False, opens_at=NOW), 0, 0, 0),
    ]
    queues = [
        QueueStanding("cpu", 2, 0, 1, None),
        QueueStanding("gpu", 0, 3, 0, NOW),
        QueueStanding("x", 0, 0, 0, None),
    ]
    of_board: dict[str, Any] = {
        "site": place("/organise/boards/filtering-tiny"), "published": 29,
        "settings": [Fact("Name", "filtering-tiny", code=True, title=DIGEST), Fact("Pool", HOSTILE)],
        "suites": [SuiteChoice(DIGEST, "tiny@1"), SuiteChoice("0" * 64, HOSTILE)],
    }  # fmt: skip
    pinned = [PinnedLine("s1", HOSTILE, HOSTILE, "scored"), PinnedLine("s2", "No filtering", "organiser", "failed")]
    return {
        "organise": OrganisePage(site=place("/organise"), standing=Standing(boards, queues, 3, 10**11, 10**12)),
        "organise-empty": OrganisePage(site=place("/organise"), standing=Standing([], [], 0, None, None)),
        "organise-board-hostile": OrganiseBoardPage(
            **of_board, board=board(revealed=False, private_tasks=["tiny/digits"], reveals_at=NOW), pinned=pinned,
            removed=7, deviation=SeedDeviation(0.004, 0.003, source=MEASURED, freedom=4), problems=PROBLEMS,
        ),
        "organise-board-bare": OrganiseBoardPage(
            **of_board, board=board(open=False), pinned=[], removed=0, deviation=SeedDeviation(), done="Done."
        ),
        **rescore_pages(), **runs_pages(), **user_pages(),
    }  # fmt: skip
