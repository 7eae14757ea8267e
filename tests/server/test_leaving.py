"""Taking one's data along, and leaving: what goes, what stays, and who may say so."""

from typing import Any

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, uids

from datacomp.messages import AccountExport
from datacomp_server.accounts.models import ApiToken, User, WebSession
from datacomp_server.submissions.models import Event

PASSWORD = "correct horse battery"


def join(site: Site, name: str) -> None:
    body = {"name": name, "password": PASSWORD, "email": f"{name}@example.org"}
    site.tokens[name] = site.http.post("/api/accounts", json=body).json()["token"]


def leave(site: Site, who: str, /, **changes: Any) -> Any:
    body = {"submissions": "anonymise", "password": PASSWORD, "name": who} | changes
    return site.http.post("/api/accounts/me/delete", json=body, headers=site.headers(who))


def whole_database(site: Site) -> str:
    """Everything that is stored, as text."""
    with site.database.read() as session:
        tables = sa.inspect(session.connection()).get_table_names()
        return "\n".join(
            str(tuple(row)) for table in tables for row in session.execute(sa.text(f"select * from {table}"))
        )


def test_what_stays_of_somebody_who_left_names_nobody(site: Site) -> None:
    join(site, "adalovelace")
    scored, running = site.score("adalovelace", uids(1)), site.submit("adalovelace", uids(2))
    cancelled = site.submit("adalovelace", uids(3))
    site.act("adalovelace", cancelled.id, "cancel")
    assert "adalovelace" in whole_database(site)
    assert leave(site, "adalovelace").status_code == 204
    assert "adalovelace" not in whole_database(site)
    (row,) = site.board().rows
    assert row.submission == scored.id
    assert row.participant.startswith("deleted-")
    assert site.receipt(running.id).state == "cancelled"
    assert site.receipt(cancelled.id).state == "cancelled"
    gone = site.http.get("/api/accounts/me", headers=site.headers("adalovelace"))
    assert (gone.status_code, codes(gone)) == (401, ["token-dead"])
    again = site.http.post("/api/accounts", json={"name": "adalovelace", "password": PASSWORD})
    assert again.status_code == 201, "the name is free, and a new account owns nothing of the old one"
    site.tokens["adalovelace"] = again.json()["token"]
    assert site.http.get("/api/submissions", headers=site.headers("adalovelace")).json() == []


@ONLY_SQLITE
def test_results_are_withdrawn_on_request(site: Site) -> None:
    join(site, "ada")
    scored = site.score("ada", uids(1))
    assert leave(site, "ada", submissions="withdraw").status_code == 204
    assert site.board().rows == []
    assert site.receipt(scored.id).state == "withdrawn"
    with site.database.read() as session:
        reasons = list(session.scalars(sa.select(Event.reason).where(Event.after == "withdrawn")))
        assert session.scalar(sa.select(sa.func.count()).select_from(WebSession)) == 0
        owners = set(session.scalars(sa.select(User.name).join(ApiToken, ApiToken.user_id == User.id)))
    assert len(reasons) == 1
    assert reasons[0].startswith("withdrawn by deleted-")
    assert owners == {"worker", "organiser"}


@ONLY_SQLITE
def test_only_the_owner_leaves_and_says_so_twice(site: Site) -> None:
    join(site, "ada")
    for changes, status in (
        ({"password": "wrong"}, 401),
        ({"password": ""}, 401),
        ({"name": "grace"}, 422),
        ({"submissions": "sell"}, 422),
    ):
        assert leave(site, "ada", **changes).status_code == status
    reader = site.http.post("/api/tokens", json={"name": "ada", "password": PASSWORD, "scopes": ["submit"]}).json()
    body = {"submissions": "anonymise", "password": PASSWORD, "name": "ada"}
    refused = site.http.post(
        "/api/accounts/me/delete", json=body, headers={"Authorization": f"Bearer {reader['token']}"}
    )
    assert (refused.status_code, codes(refused)) == (403, ["scope-missing"])
    worker = site.http.post("/api/accounts/me/delete", json=body | {"name": "worker"}, headers=site.headers("worker"))
    assert worker.status_code == 403
    assert site.http.get("/api/accounts/me", headers=site.headers("ada")).status_code == 200


@ONLY_SQLITE
def test_a_team_that_goes_on_keeps_what_is_its_own(site: Site) -> None:
    for name in ("ada", "grace"):
        join(site, name)
    site.http.post("/api/team", json={"name": "The Sieves"}, headers=site.headers("ada"))
    code = site.http.post("/api/team/invites", json={}, headers=site.headers("ada")).json()["code"]
    site.http.post("/api/team/join", json={"code": code}, headers=site.headers("grace"))
    scored = site.score("grace", uids(1))
    running = site.submit("grace", uids(2))
    assert codes(leave(site, "ada")) == ["owner-must-hand-over"]
    assert site.http.get("/api/accounts/me", headers=site.headers("ada")).status_code == 200, "nothing was done"
    assert leave(site, "grace", submissions="withdraw").status_code == 204
    (row,) = [row for row in site.board().rows if row.submission == scored.id]
    assert row.team == "The Sieves"
    assert site.receipt(running.id).state == "validating"
    assert site.act("ada", running.id, "cancel").status_code == 200


@ONLY_SQLITE
def test_the_export_holds_all_and_no_secret(site: Site) -> None:
    join(site, "ada")
    join(site, "grace")
    scored = site.score("ada", uids(1))
    site.submit("grace", uids(2))
    site.http.post("/api/team", json={"name": "The Sieves"}, headers=site.headers("ada"))
    reply = site.http.get("/api/accounts/me/export", headers=site.headers("ada"))
    export = AccountExport.model_validate(reply.json())
    assert (export.name, export.email, export.has_password) == ("ada", "ada@example.org", True)
    assert [item.receipt.id for item in export.submissions] == [scored.id]
    assert export.submissions[0].events[-1].after == "scored"
    assert [membership.team for membership in export.teams] == ["The Sieves"]
    assert {line.what for line in export.audit} >= {"registered", "token-made", "team-made", "account-exported"}
    with site.database.read() as session:
        secrets = [site.tokens["ada"], PASSWORD, *session.scalars(sa.select(ApiToken.digest))]
        secrets += [stored for stored in session.scalars(sa.select(User.password_hash)) if stored]
    assert not any(secret in reply.text for secret in secrets)
    assert "grace" not in reply.text


@ONLY_SQLITE
@pytest.mark.parametrize(
    "path", ["/api/accounts/me/export", "/api/notices", "/api/webhooks", "/api/accounts/me/sessions"]
)
def test_readers_tokens_see_nothing_of_the_account(site: Site, path: str) -> None:
    join(site, "ada")
    reader = site.http.post("/api/tokens", json={"name": "ada", "password": PASSWORD, "scopes": ["read"]}).json()
    reply = site.http.get(path, headers={"Authorization": f"Bearer {reader['token']}"})
    assert (reply.status_code, codes(reply)) == (403, ["scope-missing"])
