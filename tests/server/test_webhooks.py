"""Webhooks and mail: signed, tried again, given up, never to where they must not go."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpcore
import pytest
import sqlalchemy as sa
from loopback import Hook, Mailbox, hook, mailbox
from server_site import ONLY_SQLITE, Site, codes, running, uids

from datacomp_server.accounts.models import User
from datacomp_server.clock import now
from datacomp_server.notices.addresses import check_url, public_addresses
from datacomp_server.notices.models import Notice
from datacomp_server.notices.notifier import Notifier
from datacomp_server.settings import Settings


@pytest.fixture
def end() -> Iterator[Hook]:
    """Where calls arrive."""
    with hook() as made:
        yield made


@pytest.fixture
def letters() -> Iterator[Mailbox]:
    """Where mail arrives."""
    with mailbox() as made:
        yield made


@pytest.fixture
def calling(make_settings: Callable[..., Settings], letters: Mailbox) -> Iterator[Site]:
    """A server that calls webhooks on the loopback, and sends mail."""
    with ExitStack() as stack:
        settings = make_settings(
            webhooks=True, webhook_private=True, notice_tries=3, notice_seconds=60, notice_timeout=5,
            smtp_host="127.0.0.1", smtp_port=letters.port, smtp_security="none", mail_from="DataComp <no@dc.test>",
        )  # fmt: skip
        yield stack.enter_context(running(settings))


def add(site: Site, name: str, url: str) -> Any:
    return site.http.post("/api/webhooks", json={"url": url}, headers=site.headers(name))


def step(site: Site) -> int:
    return Notifier(site.database, site.settings).step()


def wait_over(site: Site) -> None:
    """As if the pause before the next try were over."""
    with site.database.write() as session:
        session.execute(sa.update(Notice).where(Notice.due_at.is_not(None)).values(due_at=now()))


def told(site: Site, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.http.get("/api/notices", headers=site.headers(name)).json()
    return found


def ended(site: Site, name: str, seed: int = 1) -> str:
    """A submission that ended: cancelled."""
    receipt = site.submit(name, uids(seed))
    assert site.act(name, receipt.id, "cancel").status_code == 200
    return receipt.id


def test_the_end_is_told_once_and_signed(calling: Site, end: Hook) -> None:
    secret = add(calling, "ada", end.url + "/here?x=1").json()["secret"]
    submission = ended(calling, "ada")
    assert (step(calling), step(calling)) == (1, 0)
    (call,) = end.heard
    assert call.path == "/here?x=1"
    payload = json.loads(call.body)
    assert (payload["type"], payload["data"]["submission"]) == ("submission.cancelled", submission)
    identity, moment = call.headers["webhook-id"], call.headers["webhook-timestamp"]
    assert abs(int(moment) - time.time()) < 60
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{identity}.{moment}.".encode() + call.body, hashlib.sha256).digest()
    assert call.headers["webhook-signature"] == f"v1,{base64.b64encode(signature).decode()}"
    (line,) = told(calling, "ada")
    assert (line["id"], line["tries"], line["due_at"]) == (identity, 1, None)
    assert line["delivered_at"]


def test_failures_are_tried_again_with_growing_pauses_and_given_up(calling: Site, end: Hook) -> None:
    end.statuses = [500, 302, 404]
    end.location = end.url + "/elsewhere"
    add(calling, "ada", end.url + "/here")
    ended(calling, "ada")
    pauses = []
    for _ in range(3):
        assert step(calling) == 1
        assert step(calling) == 0, "not before the pause is over"
        (line,) = told(calling, "ada")
        if line["due_at"]:
            due = calling.database.read()
            with due as session:
                row = session.scalar(sa.select(Notice))
            assert row is not None
            assert row.due_at is not None
            pauses.append(round((row.due_at - now()).total_seconds(), -1))
        wait_over(calling)
    assert pauses == [60, 120]
    assert {call.path for call in end.heard} == {"/here"}, "redirects are not followed"
    assert len({call.headers["webhook-id"] for call in end.heard}) == 1
    assert (line["tries"], line["error"], line["due_at"]) == (3, "the answer was 404", None)
    assert line["given_up_at"]
    assert step(calling) == 0


@ONLY_SQLITE
def test_killed_between_sending_and_noting_it_is_sent_once_more(calling: Site, end: Hook) -> None:
    add(calling, "ada", end.url)
    ended(calling, "ada")
    killed = Notifier(calling.database, calling.settings)
    (letter,) = killed._take()
    killed._send(letter)
    assert step(calling) == 0, "another leaves it alone for a while"
    wait_over(calling)
    assert step(calling) == 1
    assert len({call.headers["webhook-id"] for call in end.heard}) == 1 < len(end.heard)


@ONLY_SQLITE
def test_a_slow_end_is_not_waited_for(make_settings: Callable[..., Settings], end: Hook) -> None:
    end.slow = 0.2  # a byte now and then would hold a connection for long
    with running(make_settings(webhooks=True, webhook_private=True, notice_timeout=1)) as site:
        add(site, "ada", end.url)
        ended(site, "ada")
        began = time.monotonic()
        step(site)
        assert time.monotonic() - began < 3
        assert "no answer" in told(site, "ada")[0]["error"]


@ONLY_SQLITE
def test_members_of_the_team_are_told_and_nobody_else(calling: Site, end: Hook) -> None:
    code = None
    calling.http.post("/api/team", json={"name": "The Sieves"}, headers=calling.headers("ada"))
    code = calling.http.post("/api/team/invites", json={}, headers=calling.headers("ada")).json()["code"]
    calling.http.post("/api/team/join", json={"code": code}, headers=calling.headers("grace"))
    for name in ("ada", "grace", "edsger"):
        assert add(calling, name, f"{end.url}/{name}").status_code == 201
    ended(calling, "ada")
    step(calling)
    assert {call.path for call in end.heard} == {"/ada", "/grace"}


@ONLY_SQLITE
def test_webhooks_are_few_and_deleted_by_their_owner(calling: Site, end: Hook) -> None:
    made = [add(calling, "ada", end.url) for _ in range(6)]
    assert [reply.status_code for reply in made] == [201] * 5 + [409]
    webhook = made[0].json()["id"]
    assert calling.http.delete(f"/api/webhooks/{webhook}", headers=calling.headers("grace")).status_code == 404
    ended(calling, "ada")
    assert calling.http.delete(f"/api/webhooks/{webhook}", headers=calling.headers("ada")).status_code == 204
    assert step(calling) == 4, "what was owed to it is not sent"
    listed = calling.http.get("/api/webhooks", headers=calling.headers("ada")).json()
    assert len(listed) == 4
    assert "secret" not in listed[0]


@ONLY_SQLITE
def test_off_unless_configured(site: Site) -> None:
    refused = add(site, "ada", "https://example.org/hook")
    assert (refused.status_code, codes(refused)) == (403, ["webhooks-off"])
    mail = site.http.put("/api/accounts/me/mail", json={"on_final": True}, headers=site.headers("ada"))
    assert (mail.status_code, codes(mail)) == (403, ["mail-off"])
    ended(site, "ada")
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Notice)) == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "https://", "https:///path", "https://user:pw@example.org/",
        "https://127.0.0.1/", "https://[::1]/", "https://10.1.2.3/", "https://169.254.169.254/latest/meta-data",
        "https://192.168.0.1/", "https://172.16.0.1/", "https://100.64.0.1/", "https://0.0.0.0/", "https://224.0.0.1/",
        "https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/", "https://example.org:0/", "https://exa mple.org/", "https://example.org/#part",
        "https://ex\u00e4mple.org/", "https://[oops/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_addresses_that_are_never_called(url: str) -> None:
    from datacomp.problems import BadInput

    with pytest.raises(BadInput, match="webhook-address"):
        check_url(url, private=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
def test_names_are_looked_up_and_every_address_checked(host: str) -> None:
    with pytest.raises(httpcore.ConnectError, match="public internet"):
        public_addresses(host, 443, private=False)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def resolve(*_: object, **__: object) -> list[Any]:
        return [(0, 0, 0, "", (address, 443)) for address in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(httpcore.ConnectError, match="public internet"):
        public_addresses("rebinding.example", 443, private=False)


@ONLY_SQLITE
def test_a_name_that_leads_home_is_not_called(
    make_settings: Callable[..., Settings], end: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is looked at again with every call, whatever it was when the webhook was made."""
    with running(make_settings(webhooks=True)) as site:
        port = end.url.rpartition(":")[2]
        assert add(site, "ada", f"https://localhost:{port}/").status_code == 201
        ended(site, "ada")
        assert step(site) == 1
        assert end.heard == []
        assert "public internet" in told(site, "ada")[0]["error"]


# --- mail


def wish(site: Site, name: str, **body: Any) -> Any:
    return site.http.put("/api/accounts/me/mail", json=body, headers=site.headers(name))


@ONLY_SQLITE
def test_mail_goes_to_addresses_that_were_confirmed_alone(calling: Site, letters: Mailbox) -> None:
    set_up = wish(calling, "ada", email="ada@example.org", on_final=True)
    assert set_up.json() == {"available": True, "email": "ada@example.org", "confirmed": False, "on_final": True}
    ended(calling, "ada", 1)
    assert step(calling) == 0
    ((to, link),) = letters.mails
    assert to == ["ada@example.org"]
    text = link.replace("=\r\n", "").replace("=3D", "=")
    code = re.findall(r"/account/confirm\?code=(\S+)", text)[0]
    confirm(calling, code)
    submission = ended(calling, "ada", 2)
    assert step(calling) == 1
    to, mail = letters.mails[-1]
    assert to == ["ada@example.org"]
    assert "Subject: a method: cancelled" in mail
    assert f"http://example.test/submissions/{submission}" in mail.replace("=\r\n", "")
    assert told(calling, "ada")[0]["to"] == "ada@example.org"
    assert wish(calling, "ada", on_final=False).json()["on_final"] is False
    ended(calling, "ada", 3)
    assert step(calling) == 0


def confirm(site: Site, code: str) -> None:
    page = site.http.get(f"/account/confirm?code={code}")
    token = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
    assert site.http.post("/account/confirm", data={"csrf": token, "code": code}).status_code == 200


@ONLY_SQLITE
def test_a_link_is_worth_nothing_for_another_address(calling: Site, letters: Mailbox) -> None:
    wish(calling, "ada", email="ada@example.org", on_final=True)
    text = letters.mails[0][1].replace("=\r\n", "").replace("=3D", "=")
    code = re.findall(r"code=(\S+)", text)[0]
    wish(calling, "ada", email="other@example.org", on_final=True)
    page = calling.http.get("/account/confirm")
    token = re.findall(r'name="csrf" value="([^"]+)"', page.text)[0]
    for sent, status in ((code, 409), (f"{code[:-8]}{'A' if code[-8] != 'A' else 'B'}{code[-7:]}", 422), ("", 422)):
        assert calling.http.post("/account/confirm", data={"csrf": token, "code": sent}).status_code == status
    with calling.database.read() as session:
        assert session.scalar(sa.select(User.email_confirmed_at).where(User.name == "ada")) is None


@ONLY_SQLITE
def test_no_mailbox_is_flooded(calling: Site, letters: Mailbox) -> None:
    replies = [wish(calling, "ada", email=f"a{number}@example.org", on_final=True) for number in range(7)]
    assert [reply.status_code for reply in replies] == [200] * 5 + [429] * 2
    assert len(letters.mails) == 5


@ONLY_SQLITE
def test_a_mail_server_that_refuses_is_tried_again(calling: Site, letters: Mailbox) -> None:
    calling.headers("ada")
    with calling.database.write() as session:
        values = {"email": "ada@example.org", "email_confirmed_at": now() - timedelta(days=1), "mail_on_final": True}
        session.execute(sa.update(User).where(User.name == "ada").values(**values))
    letters.refuse = True
    ended(calling, "ada")
    step(calling)
    assert "did not take it" in told(calling, "ada")[0]["error"]
    letters.refuse = False
    wait_over(calling)
    step(calling)
    assert told(calling, "ada")[0]["delivered_at"]


@ONLY_SQLITE
def test_what_is_no_address_becomes_no_header(calling: Site, letters: Mailbox) -> None:
    for email in ("a", "a@b", "a@b.c\r\nBcc: x@y.z", "a b@c.de", "<a@b.de>", "a@b.de,c@d.ef"):
        refused = wish(calling, "ada", email=email, on_final=True)
        assert (refused.status_code, codes(refused)) == (422, ["email-invalid"]), email
    assert letters.mails == []
