"""Every endpoint of the OpenAPI document for every kind of caller: who may do what, what leaks, what is changed.

The table below classifies every endpoint; a new one fails here until somebody does so.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from peopled_site import EMAIL, HOOK, METRICS_TOKEN, PASSWORDS, PRINTED, SUBSET, Peopled, peopled
from server_site import digest, uids

from datacomp_server.operation.logs import JsonLines, RequestFilter
from datacomp_server.pages.security import HEADERS

ALIVE = ("owner", "member", "other", "organiser", "worker", "reader")
"""ada, mary of ada's team, grace of none, an organiser, a worker, and ada with a token that only reads."""
DEAD = ("expired", "revoked", "malformed")
CALLERS = ("anonymous", *ALIVE, *DEAD)
PEOPLE = frozenset({"owner", "member", "other", "organiser"})


@dataclass(frozen=True)
class Rule:
    """Who may: the others get 401 where nobody knows them, else 403, unless `but` says otherwise."""

    may: frozenset[str]
    but: dict[str, int] = field(default_factory=dict)

    def expected(self, caller: str) -> int | None:
        """The status of a refusal; None where there is to be none."""
        if caller in self.but:
            return self.but[caller]
        if caller in self.may:
            return None
        return 401 if caller in {"anonymous", *DEAD} else 403


def _hidden(*callers: str) -> dict[str, int]:
    return dict.fromkeys(callers, 404)


RULES = {
    "open": Rule(frozenset(CALLERS)),
    "by its address": Rule(frozenset({"anonymous", *ALIVE})),
    "signed in": Rule(frozenset(ALIVE)),
    "people": Rule(PEOPLE),
    "has a password": Rule(PEOPLE - {"organiser"}),
    "its owner": Rule(frozenset({"owner", "organiser"})),
    "its team": Rule(frozenset({"owner", "member", "organiser"})),
    "its owner reads": Rule(frozenset({"owner", "organiser", "reader"})),
    "its owner's file": Rule(
        frozenset({"owner", "organiser", "reader"}), _hidden("anonymous", "member", "other", "worker")
    ),
    "one's own": Rule(frozenset({"owner"}), _hidden("member", "other", "organiser")),
    "in a team": Rule(frozenset({"owner", "member", "reader"}), _hidden("other", "organiser", "worker")),
    "in no team": Rule(frozenset({"other", "organiser"}), {"owner": 409, "member": 409}),
    "may leave": Rule(frozenset({"member"}), {"owner": 409, **_hidden("other", "organiser")}),
    "may go": Rule(PEOPLE - {"owner"}, {"owner": 409}),
    "the team's owner": Rule(frozenset({"owner"}), _hidden("other", "organiser")),
    "organisers": Rule(frozenset({"organiser"})),
    "workers": Rule(frozenset({"worker"})),
    "a token of its own": Rule(frozenset(), dict.fromkeys(CALLERS, 401)),
}


@dataclass(frozen=True)
class Case:
    """An endpoint, its rule, and what fills its path."""

    operation: str
    rule: str
    submission: str = "scored"
    file: str = "upload"
    input: str = "upload"


FINAL = ("scored", "withdrawn", "rejected", "failed", "rehearsed", "cancelled")
STATES = (*FINAL, "training", "evaluating", "validating", "team", "uploading")
ONE = "/api/submissions/{submission}"
CASES = [
    Case("POST /api/accounts", "open"),
    Case("POST /api/tokens", "a token of its own"),
    Case("GET /api/accounts/me", "signed in"),
    Case("GET /api/accounts/me/quota", "signed in"),
    Case("POST /api/accounts/me/password", "has a password"),
    Case("GET /api/accounts/me/sessions", "people"),
    Case("DELETE /api/accounts/me/sessions/{session}", "one's own"),
    Case("DELETE /api/accounts/me/sessions", "people"),
    Case("GET /api/accounts/me/export", "people"),
    Case("POST /api/accounts/me/delete", "may go"),
    Case("GET /api/accounts/me/mail", "people"),
    Case("PUT /api/accounts/me/mail", "people"),
    Case("GET /api/tokens", "people"),
    Case("DELETE /api/tokens/{token}", "one's own"),
    Case("POST /api/team", "in no team"),
    Case("GET /api/team", "in a team"),
    Case("POST /api/team/invites", "the team's owner"),
    Case("DELETE /api/team/invites/{invite}", "the team's owner"),
    Case("POST /api/team/join", "in no team"),
    Case("POST /api/team/leave", "may leave"),
    Case("POST /api/team/remove", "the team's owner"),
    Case("POST /api/team/transfer", "the team's owner"),
    Case("POST /api/webhooks", "people"),
    Case("GET /api/webhooks", "people"),
    Case("DELETE /api/webhooks/{webhook}", "one's own"),
    Case("GET /api/notices", "people"),
    Case("GET /api/audit", "organisers"),
    Case("GET /api/boards", "open"),
    Case("GET /api/boards/{name}", "open"),
    Case("POST /api/submissions", "people"),
    Case("GET /api/submissions", "signed in"),
    *(Case(f"GET {ONE}", "by its address", state) for state in STATES),
    *(Case(f"GET {ONE}/events", "open", state) for state in FINAL),
    *(Case(f"GET {ONE}/files", "by its address", state) for state in STATES),
    *(Case(f"GET {ONE}/files/{{name}}", "its owner's file", file=name) for name in ("upload", "subset.npy")),
    *(Case(f"GET {ONE}/manifest", "by its address", state) for state in ("scored", "withdrawn", "rehearsed")),
    Case(f"POST {ONE}/cancel", "its owner", "training"),
    Case(f"POST {ONE}/cancel", "its team", "team"),
    Case(f"POST {ONE}/withdraw", "its owner"),
    Case(f"OPTIONS {ONE}/content", "open", "uploading"),
    Case(f"HEAD {ONE}/content", "its owner reads", "validating"),
    Case(f"PATCH {ONE}/content", "its team", "uploading"),
    Case(f"POST {ONE}/content", "its team", "uploading"),
    Case(f"PUT {ONE}/content", "its team", "uploading"),
    Case(f"PUT {ONE}/content", "its owner", "validating"),
    Case(f"DELETE {ONE}/content", "its team", "uploading"),
    Case("GET /api/leaderboard", "open"),
    Case("GET /api/queue", "open"),
    Case("POST /api/worker/hello", "workers"),
    Case("POST /api/worker/claim", "workers"),
    Case("POST /api/worker/attempts/{attempt}/heartbeat", "workers"),
    Case("PUT /api/worker/attempts/{attempt}/files/{name}", "workers", file="subset.npy"),
    Case("GET /api/worker/attempts/{attempt}/inputs/{name}", "workers"),
    Case("POST /api/worker/attempts/{attempt}/finish", "workers"),
    Case("POST /api/worker/attempts/{attempt}/fail", "workers"),
    Case("GET /healthz", "open"),
    Case("GET /readyz", "open"),
    Case("GET /metrics", "a token of its own"),
]
NAMES = {"owner": "ada", "member": "mary", "other": "grace", "reader": "ada"}
MAY_HEAR = {
    "e-mail address": (EMAIL, {"owner", "reader"}),
    "webhook": (HOOK, {"owner"}),
    "what the file printed": (PRINTED, {"owner", "reader", "organiser"}),
}
"""What ada alone knows, and who may be told."""
HAVE_FILES = frozenset({"owner", "reader", "organiser", "worker"})
NOTED = frozenset({"POST /api/tokens", "GET /api/accounts/me/export"})
"""Refusals and looks that the audit log keeps."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    with peopled(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.fixture(scope="module")
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, down to DEBUG and with what machines get beside it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RequestFilter())
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(before)
    root.removeHandler(handler)


@pytest.fixture(scope="module")
def operations(place: Peopled) -> dict[str, dict[str, Any]]:
    document = place.site.http.get("/api/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def authorisation(place: Peopled, caller: str) -> dict[str, str | bytes]:
    if caller == "anonymous":
        return {}
    token = place.tokens[{"owner": "ada", "member": "mary", "other": "grace"}.get(caller, caller)]
    return {"Authorization": f"Bearer {token}".encode()}


def body_of(place: Peopled, operation: str, caller: str) -> dict[str, Any] | None:
    """A body that is well-formed, so that nothing but its caller is refused."""
    name = NAMES.get(caller, caller)
    password = PASSWORDS.get(name, "")
    fence = place.attempt.job.fence
    problem = {"code": "x", "message": "x"}
    failure = {"blame": "platform", "problems": [problem]}
    result = {"stage": "validate", "rows": 50, "unique": 50, "repeats": 0, "unavailable": 0}
    output = {"name": "subset.npy", "digest": digest(SUBSET), "size": len(SUBSET)}
    bodies: dict[str, dict[str, Any]] = {
        "POST /api/accounts": {"name": "somebody-new", "password": "long enough"},
        "POST /api/tokens": {"name": "ada", "password": "not the password of ada"},
        "POST /api/accounts/me/password": {"current": password, "new": "another password"},
        "POST /api/accounts/me/delete": {"submissions": "anonymise", "password": password, "name": name},
        "PUT /api/accounts/me/mail": {"on_final": False},
        "POST /api/team": {"name": "Newcomers"},
        "POST /api/team/invites": {},
        "POST /api/team/join": {"code": place.things["code"]},
        "POST /api/team/remove": {"name": "mary"},
        "POST /api/team/transfer": {"name": "mary"},
        "POST /api/webhooks": {"url": "https://example.test/told"},
        "POST /api/submissions": place.site.announce(b"other"),
        "POST /api/worker/hello": {"worker": "w", "queues": ["none"]},
        "POST /api/worker/claim": {"worker": "w", "queues": ["none"]},
        "POST /api/worker/attempts/{attempt}/heartbeat": {"fence": fence},
        "POST /api/worker/attempts/{attempt}/finish": {"fence": fence, "result": result, "outputs": [output]},
        "POST /api/worker/attempts/{attempt}/fail": {"fence": fence, "failure": failure},
    }
    return bodies.get(operation)


def ask(place: Peopled, case: Case, caller: str) -> Any:
    """Make the request."""
    method, path = case.operation.split(" ")
    filled = path.format(
        submission=place.submissions[case.submission],
        attempt=place.attempt.job.attempt,
        name="small-board" if "boards" in path else case.input if "inputs" in path else case.file,
        **{name: place.things[name] for name in ("token", "session", "webhook", "invite")},
    )
    headers = authorisation(place, caller)
    options: dict[str, Any] = {"json": body} if (body := body_of(place, case.operation, caller)) is not None else {}
    if path.endswith("/content"):
        headers |= {
            "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH",
            "Content-Type": "application/offset+octet-stream",
        }  # fmt: skip
        content = place.content if case.submission == "uploading" else uids(8)
        options = {"content": content} if method in {"PATCH", "POST", "PUT"} else {}
    elif method == "PUT" and "files" in path:
        options = {"content": SUBSET, "params": {"fence": place.attempt.job.fence}}
    elif path == "/api/leaderboard":
        options = {"params": {"board": "small-board"}}
    return place.site.http.request(method, filled, headers=headers, **options)


def test_every_endpoint_is_in_the_table(operations: dict[str, Any]) -> None:
    assert set(operations) == {case.operation for case in CASES}


@pytest.mark.parametrize("caller", CALLERS)
def test_callers_get_what_is_theirs(
    place: Peopled, operations: dict[str, Any], log: io.StringIO, caller: str, record_property: Any
) -> None:
    secrets, wrong = place.secrets(), []
    allowed = 0
    for case in CASES:
        reply = ask(place, case, caller)
        expected = RULES[case.rule].expected(caller)
        allowed += expected is None
        wrong += [
            f"{case.operation} ({case.submission}): {what}" for what in judge(place, case, caller, reply, expected)
        ]
        wrong += [f"{case.operation} told the {what}" for what, secret in secrets.items() if secret in reply.text]
        if str(reply.status_code) not in operations[case.operation]["responses"]:
            wrong.append(f"{case.operation} answers {reply.status_code}, which it does not document")
        if place.changed:
            place.restore()
    assert not wrong, "\n".join(wrong)
    logged = log.getvalue()
    assert "/api/accounts/me" in logged
    known = secrets | {"new password": "another password", "wrong password": "not the password of ada"}
    assert [what for what, secret in known.items() if secret in logged] == []
    record_property("matrix", f"{caller}: {allowed} of {len(CASES)} allowed")
    record_property("requests", len(CASES))


def judge(place: Peopled, case: Case, caller: str, reply: Any, expected: int | None) -> Iterator[str]:
    """What is wrong with an answer."""
    status = reply.status_code
    if expected is None and not 200 <= status < 300:
        yield f"{status} for the {caller}, who may: {reply.text[:200]}"
    if expected is not None and status != expected:
        yield f"{status} for the {caller}, not {expected}"
    reads = case.operation.partition(" ")[0] in {"GET", "HEAD", "OPTIONS"}
    if (expected is not None or reads) and place.changed:
        changed = [line for line in place.what_changed() if case.operation not in NOTED or "audit_log" not in line]
        if changed:
            yield f"something changed: {changed[:4]}"
    for what, (secret, may) in MAY_HEAR.items():
        if secret in reply.text and caller not in may:
            yield f"told the {caller} the {what}"
    file = uids(0)
    if file[128:192] in reply.content and caller not in HAVE_FILES:
        yield f"gave the {caller} the file"
    yield from (f"no {name}" for name, value in HEADERS.items() if reply.headers.get(name) != value)
    if status == 401 and "WWW-Authenticate" not in reply.headers:
        yield "401 without WWW-Authenticate"


def test_metrics_have_a_token_of_their_own(place: Peopled) -> None:
    reply = place.site.http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert reply.status_code == 200
    assert "datacomp_" in reply.text
    assert not any(secret in reply.text for secret in place.secrets().values())


def test_owners_are_told_what_others_are_not(place: Peopled) -> None:
    """The words that are looked for do come up where they may."""
    heard = {
        "e-mail address": "/api/accounts/me/export",
        "webhook": "/api/webhooks",
        "what the file printed": f"/api/submissions/{place.submissions['scored']}",
    }
    for what, path in heard.items():
        assert MAY_HEAR[what][0] in place.site.http.get(path, headers=authorisation(place, "owner")).text
    path = f"/api/submissions/{place.submissions['scored']}/files/upload"
    assert uids(0)[128:192] in place.site.http.get(path, headers=authorisation(place, "owner")).content


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic YWRhOmFkYQ==", "bearer\t", "\xff\xfe", "Bearer a b"])
def test_what_is_no_token_opens_nothing(place: Peopled, header: str) -> None:
    for path in ("/api/accounts/me", "/api/audit", "/api/submissions"):
        assert place.site.http.get(path, headers={"Authorization": header.encode("latin-1")}).status_code == 401
