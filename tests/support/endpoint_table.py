"""The endpoints of the OpenAPI document: who may ask each, and a request to each that nothing else is wrong with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peopled_site import PASSWORDS, SUBSET, Peopled
from server_site import digest, uids

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
    "listed entries alone": Rule(frozenset(), dict.fromkeys(CALLERS, 404)),
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
    Case("GET /api/boards/{name}/published", "open"),
    Case("GET /api/boards/{name}/pool", "open"),
    Case("POST /api/boards/{name}/preview", "open"),
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
    Case("GET /api/compare", "listed entries alone"),
    Case("GET /api/trends", "open"),
    Case("GET /api/queue", "by its address"),
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
        "POST /api/boards/{name}/preview": {"expression": "words > 2"},
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
    elif path == "/api/compare":
        options = {"params": {"ids": f"{place.submissions['scored']},{place.submissions['withdrawn']}"}}
    elif path == "/api/leaderboard":
        options = {"params": {"board": "small-board"}}
    return place.site.http.request(method, filled, headers=headers, **options)
