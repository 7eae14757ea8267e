"""Rate limits: who is counted how, what is answered, in memory and in Redis."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from pydantic import ValidationError
from server_site import ONLY_SQLITE, Site, codes, running

from datacomp_server.rates import Kind, Limiter
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE


@pytest.fixture
def narrow(make_settings: Callable[..., Settings]) -> Iterator[Site]:
    """A server that soon has enough."""
    rates = {"rate_sign_in": "2/hour", "rate_anonymous": "3/hour", "rate_token": "4/hour", "rate_worker": "5/hour"}
    with running(make_settings(rate_limits=True, **rates)) as site:
        yield site


def statuses(site: Site, times: int, method: str, path: str, name: str | None = None, **options: object) -> list[int]:
    headers = site.headers(name)
    return [site.http.request(method, path, headers=headers, **options).status_code for _ in range(times)]


def test_passwords_are_tried_a_few_times(narrow: Site) -> None:
    body = {"name": "nobody", "password": "long enough"}
    assert statuses(narrow, 3, "POST", "/api/tokens", json=body) == [401, 401, 429]
    assert statuses(narrow, 1, "POST", "/account/sign-in") == [429], "the form counts with it"
    refused = narrow.http.post("/api/accounts", json={"name": "ada", "password": "long enough"})
    assert (refused.status_code, codes(refused)) == (429, ["too-many-requests"])
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["content-security-policy"], "as every answer"
    assert refused.headers["x-request-id"]


def test_browsers_are_told_on_a_page(narrow: Site) -> None:
    statuses(narrow, 2, "POST", "/account/sign-in")
    page = narrow.http.post("/account/sign-in", headers={"Accept": "text/html"})
    assert page.status_code == 429
    assert "<h1>" in page.text
    assert page.headers["retry-after"]


def test_tokens_and_addresses_are_counted_apart(narrow: Site) -> None:
    assert statuses(narrow, 4, "GET", "/api/boards") == [200, 200, 200, 429]
    assert statuses(narrow, 5, "GET", "/api/boards", "ada") == [200, 200, 200, 200, 429]
    assert statuses(narrow, 1, "GET", "/api/boards", "grace") == [200]
    queues = {"worker": "w", "queues": ["none"]}
    assert statuses(narrow, 6, "POST", "/api/worker/hello", "worker", json=queues)[-2:] == [204, 429]
    assert statuses(narrow, 9, "GET", "/") == [200] * 9, "reading pages is free"
    assert statuses(narrow, 9, "GET", "/healthz") == [200] * 9


def test_invented_tokens_do_not_help(narrow: Site) -> None:
    replies = [
        narrow.http.get("/api/accounts/me", headers={"Authorization": f"Bearer dc_{number}"}).status_code
        for number in range(5)
    ]
    assert replies == [401, 401, 401, 429, 429]


def test_without_limits_nothing_is_counted(site: Site) -> None:
    assert statuses(site, 50, "GET", "/api/boards") == [200] * 50


def test_servers_count_together_in_redis(make_settings: Callable[..., Settings], redis_url: str) -> None:
    settings = make_settings(rate_limit_url=redis_url)
    kind = Kind("token", "2/hour", "somebody")

    async def ask() -> list[int]:
        servers = [Limiter(settings), Limiter(settings)]
        return [await server.wait_seconds(kind) for server in (*servers, *servers)]

    waits = asyncio.run(ask())
    assert waits[:2] == [0, 0]
    assert all(0 < wait <= 3600 for wait in waits[2:])


def test_requests_pass_when_the_counter_is_away(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(rate_limits=True, rate_limit_url="redis://127.0.0.1:1/0", rate_anonymous="1/hour")
    with running(settings) as site:
        assert statuses(site, 3, "GET", "/api/boards") == [200, 200, 200]


def test_redis_is_the_brokers_where_there_is_one(make_settings: Callable[..., Settings]) -> None:
    assert make_settings(broker_url="redis://somewhere/1").limits_url == "redis://somewhere/1"
    assert make_settings().limits_url == "memory://"
    with pytest.raises(ValidationError, match="30/minute"):
        make_settings(rate_token="often")


def test_only_trusted_proxies_name_the_client(narrow: Site) -> None:
    """The application believes what the server that runs it says of the client; headers alone change nothing."""
    forged = [narrow.http.get("/api/boards", headers={"X-Forwarded-For": f"10.0.0.{number}"}) for number in range(4)]
    assert [reply.status_code for reply in forged] == [200, 200, 200, 429]
