"""Tokens with scopes and an end, browser sessions, changes of password, and the lock after wrong ones."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, running, uids

from datacomp.messages import Scope
from datacomp_server.accounts.entry import Entry
from datacomp_server.accounts.models import ApiToken, User
from datacomp_server.accounts.security import password_matches
from datacomp_server.accounts.service import AccountService
from datacomp_server.audit.models import AuditLine
from datacomp_server.clock import now
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE
PASSWORD = "correct horse battery"


def join(site: Site, name: str) -> dict[str, str]:
    token = site.http.post("/api/accounts", json={"name": name, "password": PASSWORD}).json()["token"]
    site.tokens[name] = token
    return {"Authorization": f"Bearer {token}"}


def token(site: Site, name: str, **wish: Any) -> Any:
    return site.http.post("/api/tokens", json={"name": name, "password": PASSWORD, **wish})


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_token_does_what_it_was_made_for_and_nothing_else(site: Site) -> None:
    join(site, "ada")
    opened = site.open("ada", b"content")
    reader = bearer(token(site, "ada", scopes=["read"]).json()["token"])
    sender = bearer(token(site, "ada", scopes=["submit"]).json()["token"])
    assert site.http.get(f"/api/submissions/{opened.id}", headers=reader).status_code == 200
    assert site.http.get("/api/accounts/me", headers=reader).json()["scopes"] == ["read"]
    refused = site.http.post("/api/submissions", json=site.announce(b"x"), headers=reader)
    assert (refused.status_code, codes(refused)) == (403, ["scope-missing"])
    assert site.http.post(f"/api/submissions/{opened.id}/cancel", headers=reader).status_code == 403
    assert site.http.post("/api/submissions", json=site.announce(b"x"), headers=sender).status_code == 201
    for headers in (reader, sender):
        refused = site.http.get("/api/tokens", headers=headers)
        assert (refused.status_code, codes(refused)) == (403, ["scope-missing"])


def test_an_organisers_token_without_the_scope_is_a_participants(site: Site) -> None:
    others = site.submit("ada", uids(1))
    with site.database.write() as session:
        made = AccountService(session, site.settings).token_for("organiser", "narrow", [Scope.READ, Scope.SUBMIT])
    narrow = bearer(made.token)
    assert site.http.post(f"/api/submissions/{others.id}/cancel", headers=narrow).status_code == 403
    refused = site.http.get("/api/audit", headers=narrow)
    assert (refused.status_code, codes(refused)) == (403, ["scope-missing"])


def test_nobody_makes_a_token_for_more_than_the_account_may(site: Site) -> None:
    join(site, "ada")
    for scope in ("organise", "work"):
        refused = token(site, "ada", scopes=["read", scope])
        assert (refused.status_code, codes(refused)) == (422, ["scope-not-yours"])
    worker = site.http.post("/api/worker/claim", json={"worker": "w", "queues": ["cpu"]}, headers=site.headers("ada"))
    assert (worker.status_code, codes(worker)) == (403, ["workers-only"])


def test_tokens_end(site: Site) -> None:
    join(site, "ada")
    made = token(site, "ada", label="short", expires_days=1)
    headers = bearer(made.json()["token"])
    assert site.http.get("/api/accounts/me", headers=headers).status_code == 200
    with site.database.write() as session:
        session.execute(sa.update(ApiToken).where(ApiToken.label == "short").values(expires_at=now()))
    assert codes(site.http.get("/api/accounts/me", headers=headers)) == ["token-dead"]
    lines = site.http.get("/api/tokens", headers=site.headers("ada")).json()
    assert [(line["label"], line["expired"], line["current"]) for line in lines] == [
        ("short", True, False), ("cli", False, True),
    ]  # fmt: skip
    assert not any("token" in line or "digest" in line for line in lines)


def test_tokens_are_recognisable_and_revoked_by_their_owner_alone(site: Site) -> None:
    ada = join(site, "ada")
    join(site, "grace")
    assert site.tokens["ada"].startswith("dc_")
    (line,) = site.http.get("/api/tokens", headers=ada).json()
    assert site.http.delete(f"/api/tokens/{line['id']}", headers=site.headers("grace")).status_code == 404
    assert site.http.delete("/api/tokens/current", headers=ada).status_code == 204
    assert site.http.get("/api/accounts/me", headers=ada).status_code == 401


def test_sessions_are_listed_and_closed(site: Site) -> None:
    ada = join(site, "ada")
    entry = Entry(site.database, site.settings)
    cookies = [entry.sign_in("ada", PASSWORD).cookie for _ in range(3)]
    lines = site.http.get("/api/accounts/me/sessions", headers=ada).json()
    assert len(lines) == 3
    assert site.http.delete(f"/api/accounts/me/sessions/{lines[0]['id']}", headers=ada).status_code == 204
    assert [alive(site, cookie) for cookie in cookies] == [True, True, False]
    assert site.http.delete("/api/accounts/me/sessions", headers=ada).status_code == 204
    assert not any(alive(site, cookie) for cookie in cookies)
    assert site.http.get("/api/accounts/me", headers=ada).status_code == 200, "tokens go on"
    assert site.http.delete("/api/accounts/me/sessions?tokens=true", headers=ada).status_code == 204
    assert site.http.get("/api/accounts/me", headers=ada).status_code == 401


def alive(site: Site, cookie: str) -> bool:
    with site.database.read() as session:
        return AccountService(session, site.settings).viewer_of_cookie(cookie) is not None


def test_a_changed_password_closes_other_sessions(site: Site) -> None:
    ada = join(site, "ada")
    cookie = Entry(site.database, site.settings).sign_in("ada", PASSWORD).cookie
    wrong = site.http.post("/api/accounts/me/password", json={"current": "no", "new": "a new password"}, headers=ada)
    assert (wrong.status_code, codes(wrong)) == (401, ["credentials-wrong"])
    change = {"current": PASSWORD, "new": "a new password"}
    assert site.http.post("/api/accounts/me/password", json=change, headers=ada).status_code == 204
    assert not alive(site, cookie)
    assert token(site, "ada").status_code == 401
    with site.database.read() as session:
        stored = session.scalar(sa.select(User.password_hash).where(User.name == "ada"))
    assert password_matches(stored, "a new password")


def test_wrong_passwords_lock_a_name_for_a_while(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(sign_in_tries=4)) as site:
        check_lock(site)


def check_lock(site: Site) -> None:
    join(site, "ada")
    join(site, "grace")
    for _ in range(site.settings.sign_in_tries):
        assert token(site, "ada", password="wrong").status_code == 401
    locked = token(site, "ada")
    assert (locked.status_code, codes(locked)) == (429, ["sign-in-locked"]), "the right one is not told apart"
    assert 0 < int(locked.headers["retry-after"]) <= site.settings.sign_in_lock_seconds
    assert token(site, "grace").status_code == 201
    assert site.http.get("/api/accounts/me", headers=site.headers("ada")).status_code == 200
    forward(site, site.settings.sign_in_lock_seconds)
    assert token(site, "ada").status_code == 201


def forward(site: Site, seconds: float) -> None:
    """As if what was noted had happened earlier. Lines cannot be changed: they are written anew."""
    with site.database.write() as session:
        lines = list(session.scalars(sa.select(AuditLine)))
        kept = [{c.key: getattr(line, c.key) for c in AuditLine.__table__.columns} for line in lines]
        session.execute(sa.delete(AuditLine))
        for line in kept:
            line["at"] -= timedelta(seconds=seconds)
        session.execute(sa.insert(AuditLine), kept)


def test_a_right_password_starts_the_count_anew(site: Site) -> None:
    join(site, "ada")
    entry = Entry(site.database, site.settings)
    for _ in range(2):
        for _ in range(site.settings.sign_in_tries - 1):
            assert token(site, "ada", password="wrong").status_code == 401
        entry.sign_in("ada", PASSWORD)


def test_outdated_hashes_are_renewed_when_the_password_is_known(site: Site) -> None:
    from argon2 import PasswordHasher

    join(site, "ada")
    with site.database.write() as session:
        weak = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(PASSWORD)
        session.execute(sa.update(User).where(User.name == "ada").values(password_hash=weak))
    assert token(site, "ada").status_code == 201
    with site.database.read() as session:
        stored = session.scalar(sa.select(User.password_hash).where(User.name == "ada"))
    assert stored != weak
    assert password_matches(stored, PASSWORD)


@pytest.mark.parametrize("password", ["", "x" * 201])
def test_odd_passwords_are_refused_not_hashed(site: Site, password: str) -> None:
    reply = token(site, "ada", password=password)
    assert reply.status_code in {401, 422}
