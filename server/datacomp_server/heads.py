"""HEAD wherever GET is: the same status and headers, without the body.

FastAPI's routes answer the methods that they name and no others, and naming HEAD at every one would put each operation
into the API's description twice.
"""

from __future__ import annotations

import anyio
from fastapi import FastAPI
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOTHING: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class AnswerHead:
    """ASGI middleware that asks for a GET where nobody answers HEAD, and keeps the body back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or not _only_get(scope):
            await self.app(scope, receive, send)
            return
        with anyio.CancelScope() as answering:
            sent = False

            async def send_head(message: Message) -> None:
                nonlocal sent
                if sent:
                    return
                if message["type"] == "http.response.start":
                    await send(message)
                    if any(name.lower() == b"content-length" for name, _ in message["headers"]):
                        return
                sent = True
                await send(NOTHING)
                if message["type"] == "http.response.start" or message.get("more_body"):
                    answering.cancel()  # a stream: it may be long, or without an end

            await self.app({**scope, "method": "GET"}, receive, send_head)


def _only_get(scope: Scope) -> bool:
    """Whether a route of the application answers GET at this path and none answers HEAD."""
    app: FastAPI = scope["app"]
    found = {method: _is_answered(app, {**scope, "method": method}) for method in ("HEAD", "GET")}
    return found["GET"] and not found["HEAD"]


def _is_answered(app: FastAPI, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)
