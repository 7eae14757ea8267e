"""How static files are addressed and served."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

from starlette.datastructures import URL
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from datacomp_server.resources import web_dir

YEAR = 31_536_000


@cache
def static_url(name: str) -> str:
    """Address of a static file, with its digest so that browsers may keep it for ever. Unknown names raise OSError."""
    digest = hashlib.sha256((web_dir() / "static" / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


class Static(StaticFiles):
    """Static files; addresses that carry a digest are cached for a year, the others are asked for every time."""

    def __init__(self) -> None:
        super().__init__(directory=web_dir() / "static")

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with a caching rule."""
        response = await super().get_response(path, scope)
        versioned = "v=" in URL(scope=scope).query
        response.headers["Cache-Control"] = f"public, max-age={YEAR}, immutable" if versioned else "no-cache"
        return response

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As usual; the type of modules is stated because some systems' mime tables know it wrongly."""
        response = super().file_response(*args, **kwargs)
        if str(args[0]).endswith(".js"):
            response.headers["Content-Type"] = "text/javascript; charset=utf-8"
        return response
