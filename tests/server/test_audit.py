"""The audit log: what is noted, who may read it, and that it stays as it was written."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, running, uids

from datacomp_server.accounts.housekeeping import forget_old
from datacomp_server.accounts.models import TeamInvite
from datacomp_server.audit.models import AuditLine
from datacomp_server.clock import now
from datacomp_server.settings import Settings

PASSWORD = "correct horse battery"


def lines(site: Site, **query: Any) -> list[dict[str, Any]]:
    reply = site.http.get("/api/audit", params=query, headers=site.headers("organiser"))
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()
    return found


def register(site: Site, name: str) -> None:
    made = site.http.post("/api/accounts", json={"name": name, "password": PASSWORD})
    site.tokens[name] = made.json()["token"]


@ONLY_SQLITE
def test_what_matters_is_noted_with_actor_address_and_request(site: Site) -> None:
    register(site, "ada")
    given = {"X-Request-ID": "from-the-proxy-1"}
    failed = site.http.post("/api/tokens", json={"name": "ada", "password": "wrong"}, headers=given)
    assert failed.headers["x-request-id"] == "from-the-proxy-1"
    (line,) = lines(site, what="sign-in-failed")
    assert (line["actor"], line["subject"]) == (None, "ada")
    assert (line["request_id"], line["address"]) == ("from-the-proxy-1", "testclient")
    acts = [item["what"] for item in lines(site, account="ADA")]
    assert acts == ["sign-in-failed", "token-made", "registered"]
    forged = site.http.get("/healthz", headers={"X-Request-ID": "a b\tc"})
    assert forged.headers["x-request-id"].isalnum()


@ONLY_SQLITE
def test_organisers_acts_on_others_submissions_are_noted(site: Site) -> None:
    theirs, own = site.submit("ada", uids(1)), site.submit("ada", uids(2))
    site.act("organiser", theirs.id, "cancel")
    site.act("ada", own.id, "cancel")
    (line,) = lines(site, what="submission-cancelled")
    assert (line["actor"], line["subject"], line["about"]) == ("organiser", "ada", theirs.id)


@ONLY_SQLITE
def test_roles_and_a_page_after_the_other(site: Site) -> None:
    from datacomp_server.accounts.models import Role
    from datacomp_server.accounts.service import AccountService

    site.headers("ada")
    with site.database.write() as session:
        AccountService(session, site.settings).set_role("ada", Role.ORGANISER)
    (line,) = lines(site, what="role-changed")
    assert line["details"] == {"before": "participant", "after": "organiser"}
    every = lines(site)
    pages = [lines(site, limit=1)]
    while pages[-1]:
        pages.append(lines(site, limit=1, before=pages[-1][-1]["id"]))
    assert [line for page in pages for line in page] == every
    unknown = site.http.get("/api/audit", params={"account": "nobody"}, headers=site.headers("organiser"))
    assert (unknown.status_code, codes(unknown)) == (404, ["account-unknown"])


@ONLY_SQLITE
def test_addresses_are_kept_only_where_they_may_be(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(record_addresses=False)) as site:
        register(site, "ada")
        assert {line["address"] for line in lines(site)} == {None}


def test_what_is_past_its_time_is_forgotten(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings()) as site:
        register(site, "ada")
        site.http.post("/api/team", json={"name": "The Sieves"}, headers=site.headers("ada"))
        site.http.post("/api/team/invites", json={}, headers=site.headers("ada"))
        forget_old(site.database, site.settings)
        assert {line["what"] for line in lines(site)} >= {"registered", "team-invited"}
        before = now() - timedelta(days=3)
        with site.database.write() as session:
            session.execute(sa.update(TeamInvite).values(expires_at=before))
            old = AuditLine(what="signed-in", about="old", details={}, at=before)
            session.add_all([old, AuditLine(what="signed-in", about="young", details={})])
        forget_old(site.database, make_settings(keep_audit_days=1))
        assert [line["about"] for line in lines(site, what="signed-in")] == ["young"]
        assert site.http.get("/api/team", headers=site.headers("ada")).json()["invites"] == []


def test_a_line_cannot_be_changed(site: Site) -> None:
    site.headers("ada")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), site.database.write() as session:
        session.execute(sa.text("update audit_log set what = 'nothing'"))
