"""Accounts, passwords and tokens."""

from collections.abc import Callable

import sqlalchemy as sa
from server_site import ONLY_SQLITE, ORGANISER_TOKEN, WORKER_TOKEN, Site, codes, running

from datacomp_server.accounts.entry import Entry
from datacomp_server.accounts.models import ApiToken, User
from datacomp_server.settings import Settings

ADA = {"name": "ada", "password": "correct horse", "email": "ada@example.org"}


@ONLY_SQLITE
def test_registering_gives_a_token_that_works(site: Site) -> None:
    made = site.http.post("/api/accounts", json=ADA)
    assert made.status_code == 201
    token = made.json()["token"]
    me = site.http.get("/api/accounts/me", headers={"Authorization": f"Bearer {token}"})
    assert me.json() == {
        "name": "ada", "role": "participant", "team": None, "scopes": ["read", "submit", "account"],
    }  # fmt: skip
    with site.database.read() as session:
        used = session.scalar(sa.select(ApiToken.last_used_at).join(User).where(User.name == "ada"))
    assert used is not None


def test_names_are_taken_once_whatever_their_case(site: Site) -> None:
    site.headers("ada")
    for name in ("ada", "ADA", "worker", "Organiser"):
        reply = site.http.post("/api/accounts", json=ADA | {"name": name})
        assert (reply.status_code, codes(reply)) == (409, ["name-taken"])


@ONLY_SQLITE
def test_a_password_gives_further_tokens_and_a_wrong_one_none(site: Site) -> None:
    site.http.post("/api/accounts", json=ADA)
    good = site.http.post("/api/tokens", json={"name": "Ada", "password": ADA["password"], "label": "laptop"})
    assert (good.status_code, good.json()["label"]) == (201, "laptop")
    for name, password in (("ada", "wrong horse"), ("nobody", "correct horse"), ("worker", "")):
        reply = site.http.post("/api/tokens", json={"name": name, "password": password})
        assert (reply.status_code, codes(reply)) == (401, ["credentials-wrong"])


@ONLY_SQLITE
def test_no_secret_is_stored(site: Site) -> None:
    token = site.http.post("/api/accounts", json=ADA).json()["token"]
    with site.database.read() as session:
        digests = list(session.scalars(sa.select(ApiToken.digest)))
        hashed = session.scalar(sa.select(User.password_hash).where(User.name == "ada"))
    assert hashed is not None
    assert hashed.startswith("$argon2id$")
    everything = " ".join([*digests, hashed])
    for secret in (token, WORKER_TOKEN, ORGANISER_TOKEN, ADA["password"]):
        assert secret not in everything


@ONLY_SQLITE
def test_dead_tokens_are_told_apart_from_none(site: Site) -> None:
    none = site.http.get("/api/accounts/me")
    assert (none.status_code, codes(none), none.headers["www-authenticate"]) == (401, ["not-signed-in"], "Bearer")
    dead = site.http.get("/api/accounts/me", headers={"Authorization": "Bearer dc_dead"})
    assert (dead.status_code, codes(dead)) == (401, ["token-dead"])


@ONLY_SQLITE
def test_closed_registration(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(registration_open=False)) as site:
        reply = site.http.post("/api/accounts", json=ADA)
        assert (reply.status_code, codes(reply)) == (403, ["registration-closed"])


def test_provisioned_accounts_survive_a_restart_and_a_new_token(make_settings: Callable[..., Settings]) -> None:
    for token in (ORGANISER_TOKEN, ORGANISER_TOKEN, "another-organiser-token"):
        with running(make_settings(organiser_token=token)) as site:
            me = site.http.get("/api/accounts/me", headers={"Authorization": f"Bearer {token}"})
            assert (me.json()["name"], me.json()["role"]) == ("organiser", "organiser")


@ONLY_SQLITE
def test_a_browser_session_writes_only_with_its_token(site: Site) -> None:
    site.http.post("/api/accounts", json=ADA)
    signed_in = Entry(site.database, site.settings).sign_in("ada", ADA["password"])
    site.http.cookies.set("datacomp_session", signed_in.cookie)
    body = site.announce(b"x")
    refused = site.http.post("/api/submissions", json=body)
    assert (refused.status_code, codes(refused)) == (403, ["csrf"])
    allowed = site.http.post("/api/submissions", json=body, headers={"X-CSRF-Token": signed_in.viewer.csrf or ""})
    assert allowed.status_code == 201
