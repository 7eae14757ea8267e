"""The pages and forms of the site, who they are for, and browsers to look at them with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fastapi.routing import APIRoute
from peopled_site import PASSWORDS, Peopled, form_token
from server_site import uids

from datacomp_server.pages.endpoints import router as pages
from datacomp_server.pages.reference import router as reference
from datacomp_server.pages.security import HEADERS

VISITORS = ("nobody", "ada", "mary", "grace", "olga", "dead", "token")
"""`dead` has a cookie that is nobody's; `token` sends ada's API token, which opens no page."""
SIGNED_IN = frozenset(PASSWORDS)
OPEN, SIGN_IN, ORGANISERS, PROVED = "open", "sign in", "organisers", "proved"
PAGES = {
    "/": OPEN,
    "/leaderboard": OPEN,
    "/boards": OPEN,
    "/boards/{name}": OPEN,
    "/boards/{name}/leaderboard.csv": OPEN,
    "/boards/{name}/leaderboard.parquet": OPEN,
    "/boards/{name}/rules": OPEN,
    "/boards/{name}/charts/{which}.{form}": OPEN,
    "/boards/{name}/pool": OPEN,
    "/boards/{name}/pool/charts/{which}.{form}": OPEN,
    "/boards/{name}/pool/images/{uid}.webp": OPEN,
    "/boards/{name}/preview": OPEN,
    "/charts/vega.js": OPEN,
    "/submissions/{submission_id}/charts/loss.{form}": OPEN,
    "/submissions/{submission_id}/charts/kept/{which}.{form}": OPEN,
    "/trends": OPEN,
    "/trends/chart.{form}": OPEN,
    "/compare": OPEN,
    "/queue": OPEN,
    "/docs": OPEN,
    "/docs/start": OPEN,
    "/docs/{document}": OPEN,
    "/api/docs": OPEN,
    "/favicon.ico": OPEN,
    "/submissions/{submission_id}": OPEN,
    "/submissions/{submission_id}/fragment": OPEN,
    "/manifest/{submission_id}": OPEN,
    "/account/sign-in": OPEN,
    "/account/register": OPEN,
    "/account/confirm": OPEN,
    "/account/forgotten": OPEN,
    "/account/reset": OPEN,
    "/account/with/{provider}": OPEN,
    "/account/with/{provider}/callback": PROVED,
    "/account/with/new": PROVED,
    "/account": SIGN_IN,
    "/account/settings": SIGN_IN,
    "/submit": SIGN_IN,
    "/team": SIGN_IN,
    "/team/join": SIGN_IN,
    "/audit": ORGANISERS,
    "/organise": ORGANISERS,
    "/organise/boards/{name}": ORGANISERS,
    "/organise/boards/{name}/export.zip": ORGANISERS,
    "/organise/boards/{name}/rescore": ORGANISERS,
    "/organise/runs": ORGANISERS,
    "/organise/users": ORGANISERS,
    "/organise/users/{account}": ORGANISERS,
}
"""Pages to look at, and who sees them: others are asked to sign in, or refused. `proved` needs a provider's word."""
FORMS: dict[str, tuple[dict[str, str], dict[str, int]]] = {
    "/account/sign-in": ({"name": "ada", "password": "not the password"}, {"": 401}),
    "/account/register": ({"name": "somebody-new", "password": "long enough"}, {"": 303}),
    "/account/sign-out": ({}, {"": 303}),
    "/account/tokens": ({"label": "mine"}, {"": 200}),
    "/account/tokens/{token}/revoke": ({}, {"ada": 303, "": 404}),
    "/account/password": ({"current": "x", "new": "another one", "again": "another one"}, {"": 401}),
    "/account/sessions/{session}/close": ({}, {"ada": 303, "": 404}),
    "/account/sign-out-everywhere": ({"tokens": "yes"}, {"": 303}),
    "/account/identities/{identity}/disconnect": ({}, {"": 404}),
    "/account/mail": ({"on_final": "no"}, {"": 303}),
    "/account/confirm": ({"code": "made up"}, {"": 422}),
    "/account/forgotten": ({"email": "nobody@example.test"}, {"": 200}),
    "/account/reset": ({"code": "made up", "new": "long enough", "again": "long enough"}, {"": 422}),
    "/account/webhooks": ({"url": "https://example.test/told"}, {"": 200}),
    "/account/webhooks/{webhook}/delete": ({}, {"ada": 303, "": 404}),
    "/account/export": ({}, {"": 200}),
    "/account/delete": ({"submissions": "anonymise", "password": "wrong"}, {"": 422}),
    "/account/with/new": ({"name": "somebody"}, {"": 403}),
    "/team/create": ({"name": "Newcomers"}, {"ada": 409, "mary": 409, "": 303}),
    "/team/invites": ({"days": "7", "uses": "1"}, {"ada": 200, "mary": 403, "": 404}),
    "/team/invites/{invite}/revoke": ({}, {"ada": 303, "mary": 403, "": 404}),
    "/team/join": ({"code": "{code}"}, {"ada": 409, "mary": 409, "": 303}),
    "/team/leave": ({}, {"ada": 409, "mary": 303, "": 404}),
    "/team/remove": ({"name": "mary"}, {"ada": 303, "mary": 403, "": 404}),
    "/team/transfer": ({"name": "mary"}, {"ada": 303, "mary": 403, "": 404}),
    "/submit": ({"board": "small-board", "kind": "uids", "method": "by the form"}, {"": 303}),
    "/submissions/{submission}/cancel": ({}, {"ada": 303, "olga": 303, "": 403}),
    "/submissions/{submission}/withdraw": ({}, {"ada": 303, "olga": 303, "": 403}),
    "/organise/boards/{name}/deviation": ({"how": "set", "average": "0.01", "main": "0.02"}, {"olga": 303, "": 403}),
    "/organise/boards/{name}/published": ({}, {"olga": 303, "": 403}),
    "/organise/boards/{name}/rescore": ({"preview": "not what was shown"}, {"olga": 409, "": 403}),
    "/organise/runs/confirm": ({"act": "cancel", "id": "{training}"}, {"olga": 200, "": 403}),
    "/organise/runs/apply": ({"act": "cancel", "id": "{training}", "reason": "by a test"}, {"olga": 303, "": 403}),
    "/organise/users/{account}/role": ({"role": "organiser"}, {"olga": 303, "": 403}),
    "/organise/users/{account}/reset-link": ({}, {"olga": 200, "": 403}),
}
"""Every form: what it sends, and the answer to each person (`""`: everybody else) whose form it really is."""
ANYBODYS = {"/account/sign-in", "/account/register", "/account/sign-out", "/account/confirm", "/account/with/new",
            "/account/forgotten", "/account/reset",
            "/account/sign-out-everywhere"}  # fmt: skip
"""Forms that nobody in particular may send."""


def routes(method: str) -> set[str]:
    """Paths of the site's pages that take a method."""
    found = [
        context
        for router in (pages, reference)
        for included in router.routes
        for context in ([included] if isinstance(included, APIRoute) else included.effective_route_contexts())
    ]
    return {each.path for each in found if method in each.methods}


def visiting(place: Peopled, visitor: str) -> dict[str, str]:
    """The headers of somebody's browser."""
    if visitor == "token":
        return {"Authorization": f"Bearer {place.tokens['ada']}"}
    cookie = {"nobody": "", "dead": "datacomp_session=dc_dead"}.get(visitor)
    return {"Cookie": f"datacomp_session={place.cookies[visitor]}" if cookie is None else cookie}


def address_of(place: Peopled, path: str, submission: str = "scored") -> str:
    if path.endswith("/preview"):
        path += "?expression=words+>+2"
    return path.format(
        name="small-board",
        submission=place.submissions[submission],
        submission_id=place.submissions[submission],
        provider="github",
        identity="none",
        document="formats",
        which="words" if "pool" in path or "kept" in path else "size",
        form="svg",
        account="grace",
        **{name: place.things[name] for name in ("token", "session", "webhook", "invite", "uid")},
    )


def look(place: Peopled, path: str, headers: dict[str, str], **options: Any) -> Any:
    place.site.http.cookies.clear()
    return place.site.http.get(path, headers={"Accept": "text/html", **headers}, **options)


def send(place: Peopled, path: str, fields: dict[str, str], headers: dict[str, str]) -> Any:
    """A form, as a browser sends it."""
    place.site.http.cookies.clear()
    submission = "training" if path.endswith("cancel") else "scored"
    known = {"{code}": place.things["code"], "{training}": place.submissions["training"]}
    fields = {name: known.get(value, value) for name, value in fields.items()} | {"button": ""}
    options: dict[str, Any] = {"files": {"file": ("mine.npy", uids(7))}} if path == "/submit" else {}
    return place.site.http.post(address_of(place, path, submission), data=fields, headers=headers, **options)


def common(reply: Any) -> Iterator[str]:
    """What no answer may lack."""
    yield from (f"no {name}" for name, value in HEADERS.items() if reply.headers.get(name) != value)
    for cookie in reply.headers.get_list("set-cookie"):
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        if "max-age=0" in flags:
            continue
        if not {"httponly", "samesite=lax"} <= flags:
            yield f"a cookie of scripts or other sites: {cookie}"
    target = reply.headers.get("location", "/")
    if urlsplit(target).netloc not in {"", "github.com"} or target.startswith(("//", "/\\")):
        yield f"leads away: {target}"


def own_token(place: Peopled, visitor: str) -> tuple[dict[str, str], str]:
    """Headers of a browser, and what its forms must carry."""
    if visitor in SIGNED_IN:
        return visiting(place, visitor), place.csrf[visitor]
    page = look(place, "/account/sign-in", visiting(place, visitor))
    cookie = page.cookies["datacomp_form"]
    return {"Cookie": f"datacomp_form={cookie}"}, form_token(page.text)
