"""Providers that people may sign in with, as the settings name them. Authlib does state, nonce, PKCE and signatures.

It is imported where there are providers alone: that takes a tenth of a server's start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from datacomp.problems import PlatformFault
from datacomp_server.accounts.identities import Elsewhere
from datacomp_server.errors import Forbidden, NotFound
from datacomp_server.settings import Settings

PATH = "/account/with/"
COOKIE = "datacomp_elsewhere"
COOKIE_SECONDS = 900
GITHUB, OIDC = "github", "oidc"


@dataclass(frozen=True)
class Provider:
    """One of them."""

    key: str
    name: str
    """For people."""


def providers(settings: Settings) -> list[Provider]:
    """Those that the settings name."""
    found = []
    if settings.github_client_id:
        found.append(Provider(GITHUB, "GitHub"))
    if settings.oidc_issuer:
        found.append(Provider(OIDC, settings.oidc_name))
    return found


class Providers:
    """The clients of all providers of an application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._clients: Any = None
        if not providers(settings):
            return
        from authlib.integrations.starlette_client import OAuth

        self._clients = OAuth()
        if settings.github_client_id:
            self._register_github(settings)
        if settings.oidc_issuer:
            self._clients.register(
                OIDC,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret.get_secret_value(),
                server_metadata_url=settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration",
                client_kwargs={"scope": "openid email profile", "code_challenge_method": "S256"},
            )

    def _register_github(self, settings: Settings) -> None:
        self._clients.register(
            GITHUB,
            client_id=settings.github_client_id,
            client_secret=settings.github_client_secret.get_secret_value(),
            authorize_url=f"{settings.github_url}/login/oauth/authorize",
            access_token_url=f"{settings.github_url}/login/oauth/access_token",
            api_base_url=f"{settings.github_api_url}/",
            client_kwargs={"scope": "read:user user:email", "code_challenge_method": "S256"},
        )

    async def leave(self, request: Request, key: str) -> Response:
        """Send the visitor to the provider."""
        client = self._client(key)
        import httpx2

        try:
            sent: Response = await client.authorize_redirect(request, f"{self.settings.public_url}{PATH}{key}/callback")
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise _away(error) from error
        return sent

    async def arrive(self, request: Request, key: str) -> Elsewhere:
        """Who came back. `Forbidden` when the provider, or what came with the visitor, does not prove it."""
        client = self._client(key)
        import httpx2
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        try:
            token = await client.authorize_access_token(request)
            return await _github_person(client, token) if key == GITHUB else _oidc_person(token)
        except httpx2.HTTPError as error:
            raise _away(error) from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as error:
            raise Forbidden.of(
                "not-proved", "the provider did not say who you are", where=key, hint="try to sign in once more"
            ) from error

    def _client(self, key: str) -> Any:
        client = self._clients.create_client(key) if self._clients is not None else None
        if client is None:
            raise NotFound.of("provider-unknown", "nobody signs in that way here", where=key)
        return client


def _away(error: Exception) -> PlatformFault:
    message = f"the provider does not answer as it should: {type(error).__name__}"
    return PlatformFault.of("provider-away", message, hint="try again, or sign in with a password")


def _oidc_person(token: dict[str, Any]) -> Elsewhere:
    claims = token["userinfo"]
    email = claims.get("email") if claims.get("email_verified") is True else None
    login = claims.get("preferred_username") or claims.get("nickname") or claims.get("name") or claims["sub"]
    return Elsewhere(OIDC, str(claims["sub"]), str(login)[:200], str(email) if email else None)


async def _github_person(client: Any, token: dict[str, Any]) -> Elsewhere:
    person = (await client.get("user", token=token)).raise_for_status().json()
    reply = await client.get("user/emails", token=token)
    addresses = reply.json() if reply.is_success else []
    email = next((entry["email"] for entry in addresses if entry["primary"] and entry["verified"] is True), None)
    return Elsewhere(GITHUB, str(int(person["id"])), str(person["login"])[:200], email)


class ElsewhereCookie:
    """ASGI middleware: `request.session`, in a signed cookie, for the few pages on the way to a provider and back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self.app(scope, receive, send)
            return
        settings: Settings = scope["app"].state.settings
        session = SessionMiddleware(
            self.app,
            secret_key="elsewhere:" + settings.secret_key.get_secret_value(),
            session_cookie=COOKIE,
            max_age=COOKIE_SECONDS,
            path=PATH,
            same_site="lax",
            https_only=settings.cookie_secure,
        )
        await session(scope, receive, send)
