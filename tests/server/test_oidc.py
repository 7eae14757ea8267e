"""Sign-in by another provider: the way there and back, new people, known ones, and everybody who pretends."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from provider import CLIENT, SECRET, Provider, provider, signing_key
from pydantic import SecretStr, ValidationError
from server_site import ONLY_SQLITE, Site, running

from datacomp_server.accounts.models import Identity, User
from datacomp_server.clock import now
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE
PASSWORD = "correct horse battery"
ADA = {"sub": "unchanging-1", "preferred_username": "Ada L.", "email": "ada@example.org", "email_verified": True}


@pytest.fixture
def elsewhere() -> Iterator[Provider]:
    with provider() as made:
        made.person = dict(ADA)
        yield made


@pytest.fixture
def site(make_settings: Callable[..., Settings], elsewhere: Provider) -> Iterator[Site]:
    """A server at which one may sign in elsewhere, by both ways."""
    settings = make_settings(
        oidc_issuer=elsewhere.url, oidc_client_id=CLIENT, oidc_client_secret=SecretStr(SECRET), oidc_name="University",
        github_client_id=CLIENT, github_client_secret=SecretStr(SECRET),
        github_url=elsewhere.url, github_api_url=elsewhere.url,
    )  # fmt: skip
    with running(settings) as made:
        yield made


def leave(site: Site, key: str = "oidc", target: str = "/account") -> str:
    """To the provider, where the person agrees; the path that the browser comes back to."""
    away = site.http.get(f"/account/with/{key}", params={"next": target}, follow_redirects=False)
    assert away.status_code == 302, away.text
    back = httpx.get(away.headers["location"])
    parts = urlsplit(back.headers["location"])
    assert f"{parts.scheme}://{parts.netloc}" == site.settings.public_url
    return f"{parts.path}?{parts.query}"


def arrive(site: Site, path: str) -> httpx.Response:
    reply: httpx.Response = site.http.get(path, follow_redirects=False)
    return reply


def form(site: Site, path: str) -> str:
    return re.findall(r'name="csrf" value="([^"]+)"', site.http.get(path).text)[0]


def choose(site: Site, name: str) -> httpx.Response:
    body = {"csrf": form(site, "/account/with/new"), "name": name}
    reply: httpx.Response = site.http.post("/account/with/new", data=body, follow_redirects=False)
    return reply


def join(site: Site, name: str) -> None:
    """Somebody new comes and chooses a name."""
    assert arrive(site, leave(site)).headers["location"] == "/account/with/new"
    assert choose(site, name).headers["location"] == "/account"


def whoami(site: Site) -> str | None:
    reply = site.http.get("/api/accounts/me")
    return reply.json()["name"] if reply.status_code == 200 else None


def sign_out(site: Site) -> None:
    site.http.post("/account/sign-out", data={"csrf": form(site, "/team" if whoami(site) else "/account/sign-in")})


def test_somebody_new_chooses_a_name_and_comes_back_by_the_same_way(site: Site, elsewhere: Provider) -> None:
    assert "Sign in with University" in site.http.get("/account/sign-in").text
    path = leave(site, target="/submit")
    assert arrive(site, path).headers["location"] == "/account/with/new"
    assert 'value="Ada-L"' in site.http.get("/account/with/new").text
    assert choose(site, "no good name!").status_code == 422
    assert choose(site, "organiser").status_code == 409
    assert choose(site, "ada").headers["location"] == "/submit"
    assert whoami(site) == "ada"
    with site.database.read() as session:
        user = session.scalar(sa.select(User).where(User.name == "ada"))
    assert user is not None
    assert (user.password_hash, user.email) == (None, "ada@example.org")
    assert user.email_confirmed_at is not None
    sign_out(site)
    assert whoami(site) is None
    elsewhere.person |= {"preferred_username": "renamed", "email": "other@example.org"}
    assert arrive(site, leave(site)).headers["location"] == "/account"
    assert whoami(site) == "ada", "known by the id that never changes"


def test_an_account_is_never_taken_over_by_its_address(site: Site) -> None:
    made = site.http.post("/api/accounts", json={"name": "ada", "password": PASSWORD, "email": "ADA@example.org"})
    assert made.status_code == 201
    assert arrive(site, leave(site)).headers["location"] == "/account/with/new"
    assert "sign in to it" in site.http.get("/account/with/new").text
    assert whoami(site) is None
    with site.database.write() as session:
        session.execute(sa.update(User).values(email_confirmed_at=now()))
    refused = site.http.get(leave(site), headers={"Accept": "text/html"}, follow_redirects=False)
    assert refused.status_code == 409
    assert "connect oidc on its settings page" in refused.text
    assert choose_refused(site) == 403
    assert whoami(site) is None


def choose_refused(site: Site) -> int:
    """The choice of a name, without looking at its page, which refuses as well."""
    body = {"csrf": form(site, "/account/sign-in"), "name": "second"}
    return site.http.post("/account/with/new", data=body, follow_redirects=False).status_code


def test_signed_in_one_connects_and_disconnects(site: Site) -> None:
    site.http.post("/api/accounts", json={"name": "ada", "password": PASSWORD, "email": "ada@example.org"})
    sign_in(site, "ada")
    assert "Connect University" in site.http.get("/account/settings").text
    assert arrive(site, leave(site)).headers["location"] == "/account/settings?done=connected"
    page = site.http.get("/account/settings").text
    assert "Ada L." in page
    sign_out(site)
    assert arrive(site, leave(site)).headers["location"] == "/account"
    assert whoami(site) == "ada"
    identity = re.findall(r"/account/identities/([0-9a-f]+)/disconnect", page)[0]
    csrf = form(site, "/account/settings")
    gone = site.http.post(f"/account/identities/{identity}/disconnect", data={"csrf": csrf}, follow_redirects=False)
    assert gone.headers["location"] == "/account/settings?done=disconnected"
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Identity)) == 0


def sign_in(site: Site, name: str) -> None:
    body = {"csrf": form(site, "/account/sign-in"), "name": name, "password": PASSWORD}
    assert site.http.post("/account/sign-in", data=body, follow_redirects=False).status_code == 303


def test_the_only_way_in_stays_and_a_password_may_be_set(site: Site) -> None:
    join(site, "ada")
    page = site.http.get("/account/settings").text
    identity = re.findall(r"/account/identities/([0-9a-f]+)/disconnect", page)[0]
    csrf = form(site, "/account/settings")
    path = f"/account/identities/{identity}/disconnect"
    assert site.http.post(path, data={"csrf": csrf}, follow_redirects=False).status_code == 403
    new = {"csrf": csrf, "new": PASSWORD, "again": PASSWORD}
    assert site.http.post("/account/password", data=new, follow_redirects=False).status_code == 303
    assert site.http.post(path, data={"csrf": csrf}, follow_redirects=False).status_code == 303
    sign_out(site)
    sign_in(site, "ada")


def test_one_identity_belongs_to_one_account(site: Site) -> None:
    join(site, "ada")
    sign_out(site)
    site.http.post("/api/accounts", json={"name": "grace", "password": PASSWORD})
    sign_in(site, "grace")
    assert arrive(site, leave(site)).status_code == 409
    assert whoami(site) == "grace"


def test_a_connection_begun_by_one_is_not_ended_by_another(site: Site) -> None:
    for name in ("ada", "grace"):
        site.http.post("/api/accounts", json={"name": name, "password": PASSWORD})
    sign_in(site, "ada")
    back = leave(site)
    sign_out(site)
    sign_in(site, "grace")
    assert arrive(site, back).status_code == 403
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Identity)) == 0


def test_what_comes_back_must_belong_to_what_went_away(site: Site, elsewhere: Provider) -> None:
    back = leave(site)
    query = parse_qs(urlsplit(back).query)
    forged = f"/account/with/oidc/callback?code={query['code'][0]}&state=another"
    assert arrive(site, forged).status_code == 403
    assert arrive(site, back).status_code in {303, 403}
    assert arrive(site, back).status_code == 403, "only once"
    other = leave(site)
    site.http.cookies.delete("datacomp_elsewhere")
    assert arrive(site, other).status_code == 403, "in another browser it is worth nothing"
    assert arrive(site, "/account/with/oidc/callback?error=access_denied").status_code == 403
    assert site.http.get("/account/with/nowhere").status_code == 404
    assert site.http.get("/account/with/new").status_code == 403
    assert elsewhere.asked


def test_id_tokens_that_are_not_for_us_prove_nothing(site: Site, elsewhere: Provider) -> None:
    wrong: list[dict[str, Any]] = [
        {"nonce": "another"}, {"aud": "another"}, {"iss": "http://another"}, {"exp": 1}, {"sub": None},
    ]  # fmt: skip
    for changes in wrong:
        elsewhere.changes = changes
        assert arrive(site, leave(site)).status_code == 403, changes
    assert whoami(site) is None


def test_a_foreign_signature_proves_nothing(site: Site, elsewhere: Provider) -> None:
    elsewhere.forger = signing_key("somebody else")
    assert arrive(site, leave(site)).status_code == 403


def test_an_address_that_was_not_verified_is_not_believed(site: Site, elsewhere: Provider) -> None:
    elsewhere.person["email_verified"] = "true"  # a text is not a truth
    join(site, "ada")
    with site.database.read() as session:
        assert session.scalar(sa.select(User.email).where(User.name == "ada")) is None


def test_a_provider_that_is_away_is_said_to_be(site: Site, elsewhere: Provider) -> None:
    elsewhere.show = lambda path: None  # type: ignore[method-assign]
    away = site.http.get("/account/with/oidc", follow_redirects=False)
    assert away.status_code == 503


def test_github_people_are_known_by_their_number(site: Site, elsewhere: Provider) -> None:
    elsewhere.person = {
        "id": 4711, "login": "ada-l",
        "emails": [
            {"email": "first@example.org", "primary": False, "verified": True},
            {"email": "ada@example.org", "primary": True, "verified": True},
        ],
    }  # fmt: skip
    back = leave(site, "github")
    reply = arrive(site, back)
    assert reply.headers["location"] == "/account/with/new", reply.text
    assert choose(site, "ada").status_code == 303
    with site.database.read() as session:
        row = session.scalar(sa.select(Identity))
    assert row is not None
    assert (row.provider, row.subject, row.login, row.user.email) == ("github", "4711", "ada-l", "ada@example.org")


def test_what_belongs_together_is_asked_for_together(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValidationError, match="DATACOMP_OIDC_CLIENT_ID, DATACOMP_OIDC_CLIENT_SECRET"):
        make_settings(oidc_issuer="https://example.org")
    with running(make_settings()) as plain:
        assert "Sign in with" not in plain.http.get("/account/sign-in").text
        assert plain.http.get("/account/with/oidc").status_code == 404
