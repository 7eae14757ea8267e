"""Accounts, for organisers: look for them, change what they are for, give out links for forgotten passwords."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.problems import BadInput, Problem
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.reset import PasswordReset
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.clock import now
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings, get_storage
from datacomp_server.errors import NotFound
from datacomp_server.operation.lists import ListRepository
from datacomp_server.pages.organise_contexts import OrganiseUserPage, OrganiseUsersPage
from datacomp_server.pages.signed import OrganiserForm, OrganiserPage, attempt
from datacomp_server.pages.web import answer, site_for
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.teams.repository import TeamRepository

router = APIRouter(prefix="/organise/users", include_in_schema=False)
PAGE = 50
ROLES = [role.value for role in Role]


@router.get("")
def users_page(
    request: Request,
    viewer: OrganiserPage,
    database: DatabaseDep,
    search: Annotated[str, Query(max_length=200)] = "",
    role: Annotated[str, Query(max_length=20)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """The list, filtered by the address."""
    wanted = Role(role) if role in ROLES else None
    with database.read() as session:
        found = ListRepository(session).accounts(search.strip(), wanted, PAGE + 1, (page - 1) * PAGE, now().date())

    def address(other: int) -> str:
        return "/organise/users?" + urlencode({"search": search, "role": role, "page": other})

    shown = OrganiseUsersPage(
        site=site_for(request, viewer),
        search=search,
        role=role,
        roles=ROLES,
        lines=found[:PAGE],
        newer=address(page - 1) if page > 1 else None,
        older=address(page + 1) if len(found) > PAGE else None,
    )
    return answer(request, shown)


@router.get("/{account}")
def user_page(
    account: str, request: Request, viewer: OrganiserPage, done: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """One account."""
    told = "The account's role is changed." if done == "role" else ""
    return answer(request, _page(request, viewer, account, done=told))


@router.post("/{account}/role")
def set_role(
    account: str, request: Request, sent: OrganiserForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Change what an account is for."""

    def act() -> str:
        role = sent.text("role")
        if role not in ROLES:
            raise BadInput.of("choice-missing", "choose a role", where="role")
        _line(request, account)
        with database.write() as session:
            AccountService(session, settings).set_role(account, Role(role), actor=sent.viewer.user_id)
        return f"/organise/users/{quote(account, safe='')}?done=role"

    return attempt(request, act, lambda problems: _page(request, sent.viewer, account, problems=problems))


@router.post("/{account}/reset-link")
def reset_link(
    account: str, request: Request, sent: OrganiserForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """A link by which the account's owner chooses a new password, shown in this one answer."""

    def act() -> OrganiseUserPage:
        _line(request, account)
        link = PasswordReset(database, settings).link_for(account, sent.viewer.user_id)
        return _page(request, sent.viewer, account, link=link)

    return attempt(request, act, lambda problems: _page(request, sent.viewer, account, problems=problems))


def _line(request: Request, account: str) -> None:
    """`NotFound` unless there is such an account, and it is not deleted."""
    with get_database(request).read() as session:
        if ListRepository(session).account(account, now().date()) is None:
            raise _unknown(account)


def _unknown(account: str) -> NotFound:
    return NotFound.of("account-unknown", f"there is no account {account!r}", where="name")


def _page(
    request: Request,
    viewer: Viewer,
    account: str,
    *,
    link: str = "",
    done: str = "",
    problems: list[Problem] | None = None,
) -> OrganiseUserPage:
    with get_database(request).read() as session:
        line = ListRepository(session).account(account, now().date())
        if line is None:
            raise _unknown(account)
        membership = TeamRepository(session).membership(line.id)
        of_account = Viewer(line.id, line.name, line.role)
        quotas = SubmissionService(session, get_settings(request), get_storage(request)).standings(of_account)
        return OrganiseUserPage(
            site=site_for(request, viewer),
            account=line,
            team=membership.team.name if membership else None,
            quotas=[quota for quota in quotas if not quota.rehearsal or quota.day.used],
            roles=ROLES,
            own=line.id == viewer.user_id,
            link=link,
            done=done,
            problems=problems or [],
        )
