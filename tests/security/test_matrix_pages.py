"""Every page and every form of the site for every kind of visitor, and what all answers have in common.

Pages are enumerated from the application's routes; one that is not in the tables fails here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from fastapi.routing import APIRoute
from peopled_site import EMAIL, HOOK, PASSWORDS, PRINTED, Peopled, form_token, peopled
from server_site import serving, uids

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
    "/queue": OPEN,
    "/docs": OPEN,
    "/api/docs": OPEN,
    "/favicon.ico": OPEN,
    "/submissions/{submission_id}": OPEN,
    "/submissions/{submission_id}/fragment": OPEN,
    "/manifest/{submission_id}": OPEN,
    "/account/sign-in": OPEN,
    "/account/register": OPEN,
    "/account/confirm": OPEN,
    "/account/with/{provider}": OPEN,
    "/account/with/{provider}/callback": PROVED,
    "/account/with/new": PROVED,
    "/account": SIGN_IN,
    "/account/settings": SIGN_IN,
    "/submit": SIGN_IN,
    "/team": SIGN_IN,
    "/team/join": SIGN_IN,
    "/audit": ORGANISERS,
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
}
"""Every form: what it sends, and the answer to each person (`""`: everybody else) whose form it really is."""
ANYBODYS = {"/account/sign-in", "/account/register", "/account/sign-out", "/account/confirm", "/account/with/new",
            "/account/sign-out-everywhere"}  # fmt: skip
"""Forms that nobody in particular may send."""
NOTED = {"/account/sign-in", "/account/password", "/account/delete"}
"""Refusals that the audit log keeps."""
HEARD = {EMAIL: {"ada"}, HOOK: {"ada"}, PRINTED: {"ada", "olga"}}


def quickly(*always: str, of: tuple[str, ...]) -> list[Any]:
    """Parameters of which some are in the default suite, and all in `make test-security`."""
    return [pytest.param(each, marks=[] if each in always else pytest.mark.security) for each in of]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    with peopled(tmp_path_factory.mktemp("pages")) as made:
        made.site.http.follow_redirects = False
        yield made


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
    return path.format(
        name="small-board",
        submission=place.submissions[submission],
        submission_id=place.submissions[submission],
        provider="github",
        identity="none",
        **{name: place.things[name] for name in ("token", "session", "webhook", "invite")},
    )


def look(place: Peopled, path: str, headers: dict[str, str], **options: Any) -> Any:
    place.site.http.cookies.clear()
    return place.site.http.get(path, headers={"Accept": "text/html", **headers}, **options)


def send(place: Peopled, path: str, fields: dict[str, str], headers: dict[str, str]) -> Any:
    """A form, as a browser sends it."""
    place.site.http.cookies.clear()
    submission = "training" if path.endswith("cancel") else "scored"
    fields = {name: value.replace("{code}", place.things["code"]) for name, value in fields.items()} | {"button": ""}
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


def test_every_page_and_form_is_in_the_tables() -> None:
    assert routes("GET") == set(PAGES)
    both = {path.replace("cancel", "{change}").replace("withdraw", "{change}") for path in FORMS}
    assert {re.sub(r"\{\w+\}", "{}", path) for path in both} == {
        re.sub(r"\{\w+\}", "{}", path) for path in routes("POST")
    }


@pytest.mark.parametrize("visitor", quickly("nobody", "grace", of=VISITORS))
def test_pages_show_what_is_the_visitors(place: Peopled, visitor: str, record_property: Any) -> None:
    wrong, secrets = [], place.secrets()
    kinds = [
        (path, state) for path in PAGES for state in (place.submissions if "/submissions/" in path else ["scored"])
    ]
    for path, state in kinds:
        reply = look(place, address_of(place, path, state), visiting(place, visitor))
        rule, status = PAGES[path], reply.status_code
        where = reply.headers.get("location", "")
        if (rule == SIGN_IN and visitor not in SIGNED_IN) or (rule == ORGANISERS and visitor not in SIGNED_IN):
            right = status == 303 and where.startswith("/account/sign-in?next=/")
        elif (rule == ORGANISERS and visitor != "olga") or rule == PROVED:
            right = status == 403
        elif path == "/team/join":
            right = status == 404  # without a code
        else:
            right = status in {200, 302, 303, 307, 308} and not where.startswith("/account/sign-in")
        if not right:
            wrong.append(f"{path} ({state}): {status} {where} for {visitor}")
        told = [what for what, secret in secrets.items() if secret in reply.text]
        told += [secret for secret, may in HEARD.items() if secret in reply.text and visitor not in may]
        wrong += [f"{path} told {visitor} the {what}" for what in told]
        wrong += [f"{path}: {what}" for what in common(reply)]
        if place.changed and "audit_log" not in str(place.what_changed()):
            wrong.append(f"{path}: looking changed {place.what_changed()[:3]}")
    assert not wrong, "\n".join(wrong)
    record_property("note", f"pages: {len(kinds)} looked at by {visitor}")


def own_token(place: Peopled, visitor: str) -> tuple[dict[str, str], str]:
    """Headers of a browser, and what its forms must carry."""
    if visitor in SIGNED_IN:
        return visiting(place, visitor), place.csrf[visitor]
    page = look(place, "/account/sign-in", visiting(place, visitor))
    cookie = page.cookies["datacomp_form"]
    return {"Cookie": f"datacomp_form={cookie}"}, form_token(page.text)


@pytest.mark.parametrize("visitor", quickly("ada", of=("nobody", *PASSWORDS)))
def test_forms_do_what_the_visitor_may(place: Peopled, visitor: str, record_property: Any) -> None:
    wrong = []
    for path, (fields, answers) in FORMS.items():
        headers, csrf = own_token(place, visitor)
        reply = send(place, path, {**fields, "csrf": csrf}, headers)
        expected = answers.get(visitor, answers[""])
        if visitor == "nobody" and path not in ANYBODYS:
            expected = 303
            if not reply.headers.get("location", "").startswith("/account/sign-in?next=/"):
                wrong.append(f"{path}: {reply.status_code} {reply.headers.get('location')} for nobody")
        if reply.status_code != expected:
            wrong.append(f"{path}: {reply.status_code}, not {expected}, for {visitor}")
        wrong += [f"{path}: {what}" for what in common(reply)]
        refused = reply.status_code >= 400 or (visitor == "nobody" and path not in ANYBODYS)
        if refused and path not in NOTED and place.changed:
            wrong.append(f"{path} changed {place.what_changed()[:3]}")
        place.restore()
    assert not wrong, "\n".join(wrong)
    record_property("note", f"forms: {len(FORMS)} sent by {visitor}")


def foreign(place: Peopled) -> list[tuple[str, dict[str, str], str]]:
    """How a form may come that ada did not send from one of our pages: what is wrong, headers, token."""
    hers = visiting(place, "ada")
    _, nobodys = own_token(place, "nobody")
    return [
        ("no token", hers, ""),
        ("an empty session's token", hers, nobodys),
        ("somebody else's token", hers, place.csrf["grace"]),
        ("a token that is not ASCII", hers, "\u00e4" * 32),
        ("another site", {**hers, "Sec-Fetch-Site": "cross-site"}, place.csrf["ada"]),
    ]


def test_forms_that_are_not_ours_are_refused(place: Peopled, record_property: Any) -> None:
    wrong, sent = [], 0
    for what, headers, csrf in foreign(place):
        for path, (fields, _) in FORMS.items():
            reply = send(place, path, {**fields, "csrf": csrf} if csrf else fields, headers)
            sent += 1
            if reply.status_code != 403 or "form-expired" not in reply.text:
                wrong.append(f"{path} with {what}: {reply.status_code}")
            if place.changed:
                wrong.append(f"{path} with {what} changed {place.what_changed()[:3]}")
                place.restore()
    assert not wrong, "\n".join(wrong)
    record_property("note", f"forged forms: {sent} refused at {len(FORMS)} forms")


def test_the_api_takes_a_browsers_session_with_its_token_only(place: Peopled) -> None:
    """Every endpoint that changes something, asked by a foreign page with the visitor's cookie."""
    document = place.site.http.get("/api/openapi.json").json()
    asked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in {"get", "head", "options"} or not operation.get("security"):
                continue
            filled = re.sub(r"\{\w+\}", "scored", path)
            for extra in ({}, {"X-CSRF-Token": place.csrf["grace"]}, {"X-CSRF-Token": "\u00e4".encode()}):
                place.site.http.cookies.clear()
                headers = {**visiting(place, "ada"), "Tus-Resumable": "1.0.0", **extra}
                reply = place.site.http.request(method, filled, headers=headers)
                assert (reply.status_code, "csrf" in reply.text) == (403, True), f"{method} {path}: {reply.text}"
                asked += 1
    assert asked > 60
    assert not place.changed


AWAY = [
    "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "http:evil.test",
    "https:/evil.test", "javascript:alert(1)", "data:text/html,x", "evil.test", "@evil.test", "/\t/evil.test",
    "/\n/evil.test", "\t//evil.test", " //evil.test", "/ /evil.test", "/%0d%0aSet-Cookie:x=y\r\nX: y",
    "/\x00/evil.test", "/.\\evil.test", "\u2028//evil.test", "",
]  # fmt: skip
PATHS = ["//evil.test/", "//evil.test/%2e%2e", "/account/", "/boards//evil.test/", "/submissions/%0d%0aX:y"]


@pytest.mark.parametrize("target", AWAY)
def test_nobody_is_led_away(place: Peopled, target: str) -> None:
    headers, csrf = own_token(place, "nobody")
    shown = look(place, "/account/sign-in", headers, params={"next": target})
    assert shown.status_code == 200
    assert "evil.test" not in shown.text
    fields = {"name": "grace", "password": PASSWORDS["grace"], "next": target, "csrf": csrf}
    reply = place.site.http.post("/account/sign-in", data=fields, headers=headers)
    assert reply.status_code == 303
    assert reply.headers["location"].startswith("/")
    assert list(common(reply)) == []
    assert "evil" not in urlsplit(httpx.URL("http://testserver").join(reply.headers["location"]).host).path
    elsewhere = look(place, "/account/with/github", headers, params={"next": target})
    assert urlsplit(elsewhere.headers["location"]).netloc == "github.com"
    assert "evil" not in elsewhere.headers["location"]
    place.restore()


@pytest.mark.parametrize(
    "path", ["//evil.test/", "//evil.test/%2e%2e", "/account/", "/boards//evil.test/", "/submissions/%0d%0aX:y"]
)
def test_paths_lead_nowhere_else(place: Peopled, path: str) -> None:
    reply = place.site.http.get("http://testserver" + path)
    assert reply.headers.get("location", "/").removeprefix("http://testserver").startswith("/")
    assert not reply.headers.get("location", "/").removeprefix("http://testserver").startswith("//")


def answers(place: Peopled) -> dict[str, Callable[[], Any]]:
    """One answer of every class."""
    http = place.site.http
    board = "/boards/small-board"

    def unchanged(path: str) -> Any:
        return http.get(path, headers={"If-None-Match": "*"})

    return {
        "page 200": lambda: http.get(board),
        "page 304": lambda: unchanged(board),
        "page 404": lambda: http.get("/nothing", headers={"Accept": "text/html"}),
        "page 405": lambda: http.put("/boards", headers={"Accept": "text/html"}),
        "json 200": lambda: http.get("/api/boards"),
        "json 304": lambda: unchanged("/api/leaderboard?board=small-board"),
        "json 401": lambda: http.get("/api/accounts/me"),
        "json 404": lambda: http.get("/api/nothing"),
        "json 405": lambda: http.put("/api/boards"),
        "json 422": lambda: http.get("/api/leaderboard"),
        "json 415": lambda: http.post("/api/accounts", content=b"\xff", headers={"Content-Type": "text/plain"}),
        "file 200": lambda: http.get("/static/icon.svg"),
        "file 304": lambda: unchanged("/static/icon.svg"),
        "file 404": lambda: http.get("/static/none.css"),
        "head": lambda: http.head("/static/icon.svg"),
        "csv": lambda: http.get(f"{board}/leaderboard.csv"),
        "parquet": lambda: http.get(f"{board}/leaderboard.parquet"),
        "stream": lambda: http.get(f"/api/submissions/{place.submissions['scored']}/events"),
        "openapi": lambda: http.get("/api/openapi.json"),
        "redirect": lambda: http.get("/submit"),
        "metrics": lambda: http.get("/metrics"),
        "health": lambda: http.get("/healthz"),
        "tus": lambda: http.options(f"/api/submissions/{place.submissions['uploading']}/content"),
    }


def test_all_classes_of_answers_carry_the_headers(place: Peopled) -> None:
    for what, make in answers(place).items():
        reply = make()
        assert list(common(reply)) == [], what
        if "304" in what:
            assert reply.status_code == 304, what


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_faults_carry_the_headers_and_say_nothing(place: Peopled, accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp_server.boards.service import BoardService

    def fail(*_: object) -> None:
        raise RuntimeError("what is inside: secret-of-the-inside")

    monkeypatch.setattr(BoardService, "list_boards", fail)
    monkeypatch.setattr(BoardService, "board", fail)
    with serving(place.site.app) as url:
        for path in ("/api/boards", "/boards/small-board/rules"):
            reply = httpx.get(url + path, headers={"Accept": accept})
            assert reply.status_code == 500
            assert list(common(reply)) == []
            assert "secret-of-the-inside" not in reply.text
            assert "Traceback" not in reply.text


@pytest.mark.security
def test_cookies_are_for_https_alone_where_the_site_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    with peopled(tmp_path_factory.mktemp("secure"), public_url="https://example.test") as place:
        page = look(place, "/account/sign-in", {})
        cookie = page.headers["set-cookie"].partition(";")[0]
        form = {"csrf": form_token(page.text), "name": "ada", "password": PASSWORDS["ada"]}
        signed_in = place.site.http.post(
            "/account/sign-in", data=form, headers={"Cookie": cookie}, follow_redirects=False
        )
        elsewhere = place.site.http.get("/account/with/github?next=" + quote("/team"), follow_redirects=False)
        for reply, name in (
            (page, "datacomp_form"),
            (signed_in, "datacomp_session"),
            (elsewhere, "datacomp_elsewhere"),
        ):
            found = [each.lower() for each in reply.headers.get_list("set-cookie") if each.startswith(name)]
            assert found, name
            assert all("; secure" in each and "httponly" in each and "samesite=lax" in each for each in found)
