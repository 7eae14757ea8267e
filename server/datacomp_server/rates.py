"""Rate limits: how often one address or one token may ask. Counted by `limits`, in memory or in Redis.

Counting never stops the platform: when Redis is away, requests pass and it is said in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from dataclasses import dataclass

from fastapi import Request
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datacomp.problems import Problem
from datacomp_server.handlers import answer
from datacomp_server.settings import Settings

log = logging.getLogger(__name__)
BY_PASSWORD = frozenset(
    {
        ("POST", "/api/accounts"),
        ("POST", "/api/tokens"),
        ("POST", "/api/accounts/me/password"),
        ("POST", "/api/accounts/me/delete"),
        ("POST", "/account/sign-in"),
        ("POST", "/account/register"),
        ("POST", "/account/password"),
        ("POST", "/account/delete"),
        ("POST", "/account/forgotten"),
        ("POST", "/account/reset"),
    }
)
"""Where passwords are tried and accounts made."""
SESSION_COOKIE = "datacomp_session"
WITH_SECRET = frozenset({"token", "worker"})
PATIENCE_SECONDS = 0.5
"""How long the counter may take to answer."""


@dataclass(frozen=True)
class Kind:
    """A request's kind, and who it is counted for."""

    name: str
    rate: str
    who: str


class Limiter:
    """Counts requests. One per application; safe for its event loop alone."""

    def __init__(self, settings: Settings) -> None:
        self._rates: dict[str, RateLimitItem] = {}
        self._strategy = SlidingWindowCounterRateLimiter(_storage(settings.limits_url))
        self._silent_until = 0.0

    async def wait_seconds(self, kind: Kind, *, count: bool = True) -> int:
        """Count a request, or only look: 0 when it may pass, else after how many seconds to ask again."""
        rate = self._rates.get(kind.rate) or self._rates.setdefault(kind.rate, parse(kind.rate))
        if time.monotonic() < self._silent_until:
            return 0
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                look = self._strategy.hit if count else self._strategy.test
                if await look(rate, kind.name, kind.who):
                    return 0
                window = await self._strategy.get_window_stats(rate, kind.name, kind.who)
        except Exception as error:
            log.warning("requests are not counted for a while: %s", type(error).__name__)
            self._silent_until = time.monotonic() + 5
            return 0
        return max(math.ceil(window.reset_time - time.time()), 1)


def _storage(url: str) -> Storage:
    if url.startswith("memory://"):
        return MemoryStorage()
    return RedisStorage(f"async+{url}", implementation="redispy", key_prefix="datacomp-rates")


class RateLimits:
    """ASGI middleware that refuses with 429 and `Retry-After` who asks too often."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        settings: Settings | None = scope["app"].state.settings if scope["type"] == "http" else None
        kind = kind_of(Request(scope), settings) if settings and settings.rate_limits else None
        if settings is None or kind is None:
            await self.app(scope, receive, send)
            return
        limiter: Limiter = scope["app"].state.limiter
        wait = await limiter.wait_seconds(kind)
        if not wait and kind.name in WITH_SECRET:
            # Invented tokens are nobody's: they are counted for the address, once they were refused.
            failed = Kind("failed", settings.rate_anonymous, address_of(Request(scope)))
            wait = await limiter.wait_seconds(failed, count=False)

            async def counting(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] == 401:
                    await limiter.wait_seconds(failed)
                await send(message)

            await self._serve(scope, receive, counting, kind, wait)
            return
        await self._serve(scope, receive, send, kind, wait)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, kind: Kind, wait: int) -> None:
        if not wait:
            await self.app(scope, receive, send)
            return
        problem = Problem(
            code="too-many-requests",
            message=f"more than {kind.rate.replace('/', ' requests a ')} came from you",
            hint=f"wait {wait} s, and ask less often",
        )
        headers = {"Retry-After": str(wait)}
        refusal = await run_in_threadpool(answer, Request(scope, receive), 429, [problem], headers)
        await refusal(scope, receive, send)


def kind_of(request: Request, settings: Settings) -> Kind | None:
    """How a request is counted; None for those that are not: reading pages, static files, health."""
    path = request.url.path
    address = address_of(request)
    if (request.method, path.rstrip("/")) in BY_PASSWORD:
        return Kind("sign-in", settings.rate_sign_in, address)
    secret = request.headers.get("authorization", "").partition(" ")[2] or request.cookies.get(SESSION_COOKIE, "")
    who = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest() if secret else address
    if path.startswith("/api/worker/") and secret:
        return Kind("worker", settings.rate_worker, who)
    if path.startswith("/api/") or request.method not in {"GET", "HEAD", "OPTIONS"}:
        return Kind("token", settings.rate_token, who) if secret else Kind("anonymous", settings.rate_anonymous, who)
    return None


def address_of(request: Request) -> str:
    """The client's network address, as the trusted proxies tell it."""
    return request.client.host if request.client else "nowhere"
