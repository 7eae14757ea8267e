"""Forgotten passwords: a link by mail or from an organiser, good once, for an hour, for whoever owns the address."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email import message_from_string
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from itsdangerous import TimestampSigner
from loopback import Mailbox, mailbox
from peopled_site import form_token
from server_site import ONLY_SQLITE, Site, codes, running
from typer.testing import CliRunner

from datacomp.cli import build
from datacomp_server.accounts import reset
from datacomp_server.accounts.models import Role, User
from datacomp_server.accounts.service import AccountService
from datacomp_server.clock import now
from datacomp_server.notices import sending
from datacomp_server.rates import BY_PASSWORD
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE
OLD, NEW = "the-old-password", "quite-another-password"
ADDRESS = "ada@mail.test"


@pytest.fixture
def letters() -> Iterator[Mailbox]:
    """Where mail arrives."""
    with mailbox() as made:
        yield made


@pytest.fixture
def mailing(make_settings: Callable[..., Settings], letters: Mailbox) -> Iterator[Site]:
    """A server that sends mail, and ada, who gave her address."""
    settings = make_settings(
        smtp_host="127.0.0.1", smtp_port=letters.port, smtp_security="none", mail_from="DataComp <no@dc.test>",
        notice_timeout=5, sign_in_tries=3,
    )  # fmt: skip
    with running(settings) as site:
        add(site, "ada")
        yield site


def add(site: Site, name: str, email: str | None = ADDRESS, role: Role = Role.PARTICIPANT, **changes: Any) -> None:
    with site.database.write() as session:
        accounts = AccountService(session, site.settings)
        accounts.create_user(name, role, **({"password": OLD, "email": email} | changes))
        site.tokens[name] = accounts.token_for(name, "test").token


def send(site: Site, path: str, **fields: str) -> Any:
    site.http.cookies.clear()
    page = site.http.get("/account/sign-in")
    return site.http.post(path, data={"csrf": form_token(page.text), **fields}, follow_redirects=False)


def ask(site: Site, email: str = ADDRESS) -> Any:
    return send(site, "/account/forgotten", email=email)


def links(letters: Mailbox) -> list[str]:
    """Of all mails that came."""
    texts = [message_from_string(mail).get_payload(decode=True) for _, mail in letters.mails]
    return [re.findall(r"https?://\S+/reset\S+", text.decode())[0] for text in texts if isinstance(text, bytes)]


def code_of(link: str) -> str:
    return urlsplit(link).query.removeprefix("code=")


def choose(site: Site, link: str, **changes: str) -> Any:
    fields = {"code": code_of(link), "new": NEW, "again": NEW} | changes
    return send(site, "/account/reset", **fields)


def is_in(site: Site, name: str, password: str) -> bool:
    return site.http.post("/api/tokens", json={"name": name, "password": password, "label": "x"}).status_code == 201


def acts(site: Site) -> list[str]:
    lines = site.http.get("/api/audit", headers=site.headers("organiser")).json()
    return [line["what"] for line in lines if "reset" in line["what"]]


def test_a_link_by_mail_gives_a_new_password_once(mailing: Site, letters: Mailbox) -> None:
    signed_in = send(mailing, "/account/sign-in", name="ada", password=OLD, next="/account").cookies
    token = mailing.headers("ada")
    assert ask(mailing, ADDRESS.upper()).status_code == 200
    (link,) = links(letters)
    assert letters.mails[0][0] == [ADDRESS]
    assert "For the account <strong>ada</strong>" in mailing.http.get(link.removeprefix("http://example.test")).text
    assert is_in(mailing, "ada", OLD), "following the link changes nothing"
    assert "was typed in two ways" in choose(mailing, link, again="something else").text
    assert choose(mailing, link, new="short", again="short").status_code == 422
    assert choose(mailing, link).status_code == 200
    assert (is_in(mailing, "ada", OLD), is_in(mailing, "ada", NEW)) == (False, True)
    mailing.http.cookies.clear()
    page = mailing.http.get("/account", cookies=dict(signed_in), follow_redirects=False)
    assert page.status_code == 303, "every browser is signed out"
    assert mailing.http.get("/api/accounts/me", headers=token).status_code == 200, "tokens go on unless it is asked for"
    again = choose(mailing, link, new="a third password", again="a third password")
    assert (again.status_code, "used already" in again.text) == (422, True)
    assert is_in(mailing, "ada", NEW)
    assert acts(mailing) == ["password-reset", "reset-link-sent"]


def test_the_answer_is_the_same_for_addresses_that_nobody_has(mailing: Site, letters: Mailbox) -> None:
    add(mailing, "worker-of-old", "worker@mail.test", Role.WORKER)
    add(mailing, "from-elsewhere", "elsewhere@mail.test", password=None)
    add(mailing, "olga", "olga@mail.test", Role.ORGANISER)
    known = ask(mailing)
    for email in ("nobody@mail.test", "worker@mail.test", "elsewhere@mail.test", "olga@mail.test", "ada%@mail.test"):
        reply = ask(mailing, email)
        hidden = re.compile(r'name="csrf" value="[^"]*"|<time.*?</time>|' + re.escape(email) + "|" + ADDRESS)
        assert (reply.status_code, hidden.sub("", reply.text)) == (200, hidden.sub("", known.text)), email
    assert len(letters.mails) == 1
    with mailing.database.write() as session:
        session.execute(sa.update(User).where(User.name == "olga").values(email_confirmed_at=now()))
    ask(mailing, "olga@mail.test")
    assert len(letters.mails) == 2, "organisers' addresses must be confirmed"


def test_accounts_are_looked_up_after_the_answer(mailing: Site, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time that an answer takes would tell who has an account."""
    import httpx

    monkeypatch.setattr(reset, "send_mail", lambda *_: time.sleep(3))
    with httpx.Client(base_url=address, timeout=20) as http:
        csrf = form_token(http.get("/account/sign-in").text)
        began = time.monotonic()
        reply = http.post("/account/forgotten", data={"csrf": csrf, "email": ADDRESS})
        assert (reply.status_code, time.monotonic() - began < 2.5) == (200, True)


@pytest.fixture
def address(mailing: Site) -> Iterator[str]:
    from server_site import serving

    with serving(mailing.app) as url:
        yield url


def test_nobodys_mailbox_is_flooded(mailing: Site, letters: Mailbox) -> None:
    for _ in range(reset.LINKS_A_DAY + 2):
        assert ask(mailing).status_code == 200
    assert len(letters.mails) == reset.LINKS_A_DAY
    assert {("POST", "/account/forgotten"), ("POST", "/account/reset")} <= BY_PASSWORD


def test_links_end(mailing: Site, letters: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ask(mailing)
    first, second, third = links(letters)
    assert choose(mailing, first[:-2]).status_code == 422
    with mailing.database.write() as session:
        session.execute(sa.update(User).where(User.name == "ada").values(email="new@mail.test"))
    assert choose(mailing, first).status_code == 422, "the address is no longer hers"
    with mailing.database.write() as session:
        session.execute(sa.update(User).where(User.name == "ada").values(email=ADDRESS))
    later = int(time.time()) + reset.LINK_SECONDS + 5
    with monkeypatch.context() as patch:
        patch.setattr(TimestampSigner, "get_timestamp", lambda _: later)
        assert choose(mailing, second).status_code == 422
    assert choose(mailing, second, tokens="yes").status_code == 200
    assert choose(mailing, third).status_code == 422, "the others end with the first that is used"
    assert "out of date" in mailing.http.get("/account/reset?code=nonsense").text


def test_a_lock_ends_with_a_new_password_and_tokens_on_request(mailing: Site, letters: Mailbox) -> None:
    token = mailing.headers("ada")
    for _ in range(3):
        assert not is_in(mailing, "ada", "a wrong one")
    assert not is_in(mailing, "ada", OLD), "locked"
    ask(mailing)
    assert choose(mailing, links(letters)[0], tokens="yes").status_code == 200
    assert is_in(mailing, "ada", NEW)
    assert mailing.http.get("/api/accounts/me", headers=token).status_code == 401


def test_a_mail_server_that_is_away_is_the_servers_matter(mailing: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sending.NotSent("it is away")

    monkeypatch.setattr(reset, "send_mail", fail)
    assert ask(mailing).status_code == 200


def test_without_mail_an_organiser_prints_the_link(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    add(site, "ada")
    assert "Ask the organisers" in site.http.get("/account/forgotten").text
    refused = ask(site)
    assert (refused.status_code, "sends no mail" in refused.text) == (403, True)
    for name, value in (
        ("DATA_DIR", str(tmp_path)),
        ("DATABASE_URL", site.settings.database_url),
        ("PUBLIC_URL", site.settings.public_url),
    ):
        monkeypatch.setenv(f"DATACOMP_{name}", value)
    done = CliRunner().invoke(build(), ["admin", "reset-password", "Ada"], catch_exceptions=False)
    link = done.stdout.strip()
    assert link.startswith("http://example.test/account/reset?code=")
    assert choose(site, link).status_code == 200
    assert is_in(site, "ada", NEW)
    assert acts(site) == ["password-reset", "reset-link-made"]
    with pytest.raises(Exception, match="account-unknown"):
        CliRunner().invoke(build(), ["admin", "reset-password", "nobody"], catch_exceptions=False)


def test_a_form_of_another_site_is_refused(mailing: Site, letters: Mailbox) -> None:
    reply = mailing.http.post("/account/forgotten", data={"email": ADDRESS}, headers={"Accept": "application/json"})
    assert (reply.status_code, codes(reply)) == (403, ["form-expired"])
    assert not letters.mails
