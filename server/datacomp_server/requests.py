"""What every part of the server may know of the request it serves: its id, and where it comes from."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
ACCEPTED = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""Ids that a proxy may have given; anything else is replaced, so that logs cannot be forged."""


@dataclass(frozen=True)
class RequestFacts:
    """One request."""

    id: str
    address: str | None
    """The client's network address, as the trusted proxies tell it."""
    client: str
    """What the client calls itself, shortened."""


_current: ContextVar[RequestFacts | None] = ContextVar("request", default=None)


def current_request() -> RequestFacts | None:
    """The request being served; None at the console and in the dispatcher."""
    return _current.get()


class RequestContext:
    """ASGI middleware that gives every request an id, told in the answer's `X-Request-ID`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        facts = facts_of(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = facts.id
            await send(message)

        token = _current.set(facts)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            _current.reset(token)


def facts_of(scope: Scope) -> RequestFacts:
    """The facts of an ASGI request."""
    headers = Headers(scope=scope)
    given = headers.get(HEADER, "")
    client = scope.get("client")
    return RequestFacts(
        id=given if ACCEPTED.fullmatch(given) else secrets.token_hex(8),
        address=client[0] if client else None,
        client=headers.get("user-agent", "")[:200],
    )
