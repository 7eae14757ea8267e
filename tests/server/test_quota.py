"""Quotas: by day, in all, under way; for people and for teams; and when many ask at once."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, running, uids

from datacomp.messages import QuotaOut, QuotaState, Stage
from datacomp_server.boards.models import Board
from datacomp_server.clock import now
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import QuotaEntry


def limit(site: Site, **limits: int | None) -> None:
    with site.database.write() as session:
        session.execute(sa.update(Board).values(**limits))


def standing(site: Site, name: str, *, rehearsal: bool = False) -> QuotaOut:
    reply = site.http.get("/api/accounts/me/quota", headers=site.headers(name))
    assert reply.status_code == 200, reply.text
    found = [QuotaOut.model_validate(item) for item in reply.json()]
    return next(quota for quota in found if quota.rehearsal is rehearsal)


def ask(site: Site, name: str, content: bytes = b"content", **changes: object) -> httpx.Response:
    reply: httpx.Response = site.http.post(
        "/api/submissions", json=site.announce(content, **changes), headers=site.headers(name)
    )
    return reply


def test_each_limit_is_told_and_what_ends_frees_its_place(site: Site) -> None:
    limit(site, submissions_per_day=3, submissions_total=3, submissions_concurrent=2)
    first, second = site.submit("ada", uids(1)), site.open("ada", b"two")
    refused = ask(site, "ada")
    assert (refused.status_code, codes(refused)) == (429, ["quota-concurrent-spent"])
    assert "retry-after" not in refused.headers
    site.worker().work()
    assert site.receipt(first.id).state == "scored"
    third = site.open("ada", b"three")
    refused = ask(site, "ada")
    assert codes(refused) == ["quota-spent", "quota-total-spent", "quota-concurrent-spent"]
    for opened in (second, third):
        assert site.act("ada", opened.id, "cancel").status_code == 200
    left = standing(site, "ada")
    assert (left.day.left, left.total.left, left.concurrent.left) == (2, 2, 2)


def test_a_spent_day_says_when_the_next_begins(site: Site) -> None:
    limit(site, submissions_per_day=1)
    site.open("ada", b"one")
    refused = ask(site, "ada")
    midnight = (now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs(int(refused.headers["retry-after"]) - (midnight - now()).total_seconds()) < 30
    assert ask(site, "ada", rehearsal=True).status_code == 201
    assert ask(site, "grace").status_code == 201


def test_the_total_outlasts_the_day_and_spares_rehearsals(site: Site) -> None:
    limit(site, submissions_per_day=5, submissions_total=1)
    site.open("ada", b"one")
    with site.database.write() as session:
        session.execute(sa.update(QuotaEntry).values(day=(now() - timedelta(days=3)).date()))
    assert codes(ask(site, "ada")) == ["quota-total-spent"]
    assert ask(site, "ada", rehearsal=True).status_code == 201


@ONLY_SQLITE
def test_the_receipt_tells_what_it_costs_what_is_left_and_why_it_was_refunded(site: Site) -> None:
    opened = site.submit("ada", uids(2))
    own = site.receipt(opened.id, "ada").quota
    assert own is not None
    assert own.state is QuotaState.RESERVED
    assert own.now is not None
    assert own.now.day.left == 19
    others = site.receipt(opened.id, None).quota
    assert others is not None
    assert others.now is None, "what is left is nobody else's business"
    for _ in range(site.settings.max_attempts):
        assert site.worker().must_claim(Stage.VALIDATE).fail("platform").status_code == 204
    ended = site.receipt(opened.id, "ada")
    assert ended.quota is not None
    assert (ended.quota_refunded, ended.quota.state) == (True, QuotaState.REFUNDED)
    assert "it-broke" in ended.quota.reason


@ONLY_SQLITE
def test_boards_describe_their_limits(make_settings: Callable[..., Settings], site: Site) -> None:
    path = site.settings.data_dir / "limits.toml"
    path.write_text(ONE_BOARD + "submissions_total = 7\nsubmissions_concurrent = 2\n")
    with running(make_settings(boards_file=path)) as again:
        board = again.http.get("/api/boards/small-board").json()
    assert (board["submissions_total"], board["submissions_concurrent"]) == (7, 2)


def race(site: Site, address: str, many: int) -> Counter[int]:
    """So many ask for the only place at once; the statuses of the answers."""
    limit(site, submissions_per_day=1)
    headers, body = site.headers("ada"), site.announce(b"content")

    def one(client: httpx.Client) -> int:
        reply = client.post("/api/submissions", json=body, headers=headers)
        if reply.status_code == 429:
            assert codes(reply) == ["quota-spent"]
        return reply.status_code

    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=address, timeout=120, limits=limits) as client, ThreadPoolExecutor(many) as pool:
        return Counter(pool.map(lambda _: one(client), range(many)))


def test_of_twenty_who_ask_at_once_one_gets_the_place(site: Site, address: str) -> None:
    assert race(site, address, 20) == {201: 1, 429: 19}


def test_members_of_a_team_who_ask_at_once_have_one_place_between_them(site: Site, address: str) -> None:
    names = ["ada", "grace", "edsger"]
    site.http.post("/api/team", json={"name": "The Sieves"}, headers=site.headers("ada"))
    code = site.http.post("/api/team/invites", json={"uses": 2}, headers=site.headers("ada")).json()["code"]
    for name in names[1:]:
        assert site.http.post("/api/team/join", json={"code": code}, headers=site.headers(name)).is_success
    limit(site, submissions_concurrent=1)
    body, headers = site.announce(b"content"), [site.headers(name) for name in names * 3]
    with httpx.Client(base_url=address, timeout=60) as client, ThreadPoolExecutor(len(headers)) as pool:
        replies = list(pool.map(lambda each: client.post("/api/submissions", json=body, headers=each), headers))
    assert Counter(reply.status_code for reply in replies) == {201: 1, 429: len(headers) - 1}


@pytest.mark.faults
def test_of_five_hundred_who_ask_at_once_one_gets_the_place(
    site: Site, address: str, summary: Callable[[str], None]
) -> None:
    statuses = race(site, address, 500)
    summary(f"500 submissions at once for one place: {statuses[201]} accepted, {statuses[429]} refused")
    assert statuses == {201: 1, 429: 499}
