"""A provider on the loopback that people sign in with: OpenID Connect, and GitHub's way."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey
from loopback import serving

CLIENT, SECRET = "the-platform", "secret of the platform at its provider"


@cache
def signing_key(whose: str) -> RSAKey:
    """A key, one for each name: making it takes longer than a test."""
    return RSAKey.generate_key(2048, parameters={"kid": "one"})


@dataclass
class Provider:
    """What it will say of whoever comes, and what it may be made to do wrong."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    """Claims of whoever signs in next."""
    key: RSAKey = field(default_factory=lambda: signing_key("the provider"))
    forger: RSAKey | None = None
    """Signs id tokens in the key's place."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Put into id tokens over what belongs there."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def authorise(self, query: dict[str, str]) -> str:
        """The person agrees: the address that the browser is sent back to."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"]})

    def exchange(self, form: dict[str, str], authorisation: str) -> dict[str, Any] | None:
        """Tokens for a code, once, to the client that asked for it and holds the verifier."""
        given = (form.get("client_id"), form.get("client_secret"))
        if authorisation.startswith("Basic "):
            given = tuple(base64.b64decode(authorisation[6:]).decode().split(":", 1))  # type: ignore[assignment]
        query = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if query is None or given != (CLIENT, SECRET) or challenge.decode().rstrip("=") != query["code_challenge"]:
            return None
        reply: dict[str, Any] = {"access_token": "access", "token_type": "bearer"}
        if "nonce" in query:
            claims = {
                "iss": self.url, "aud": CLIENT, "iat": int(time.time()), "exp": int(time.time()) + 60,
                "nonce": query["nonce"], **self.person, **self.changes,
            }  # fmt: skip
            reply["id_token"] = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.forger or self.key)
        return reply

    def show(self, path: str) -> Any:
        """What is read with GET."""
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": self.url + "/authorize",
                "token_endpoint": self.url + "/token",
                "jwks_uri": self.url + "/jwks",
                "userinfo_endpoint": self.url + "/userinfo",
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/jwks": {"keys": [self.key.as_dict(private=False)]},
            "/userinfo": self.person,
            "/user": {"id": self.person.get("id"), "login": self.person.get("login")},
            "/user/emails": self.person.get("emails", []),
        }.get(path)


@contextmanager
def provider() -> Iterator[Provider]:
    """A running one."""
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            made.asked.append(parts.path)
            if parts.path in {"/authorize", "/login/oauth/authorize"}:
                self.send_response(302)
                self.send_header("Location", made.authorise({k: v[0] for k, v in parse_qs(parts.query).items()}))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(made.show(parts.path))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            made.asked.append(self.path)
            self.answer(
                made.exchange({k: v[0] for k, v in form.items()}, self.headers.get("authorization", "")), refused=400
            )

        def answer(self, body: Any, refused: int = 404) -> None:
            content = json.dumps({"error": "invalid_grant"} if body is None else body).encode()
            self.send_response(refused if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as made.url:
        yield made
