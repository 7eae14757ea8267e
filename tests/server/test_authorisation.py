"""Who may do what: every endpoint of the OpenAPI document, for every kind of caller."""

from typing import Any

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, uids

from datacomp.messages import Scope
from datacomp_server.accounts.service import AccountService
from datacomp_server.boards.models import Board

pytestmark = ONLY_SQLITE

NAMES = {
    "anonymous": None, "owner": "ada", "member": "mary", "other": "grace", "organiser": "organiser", "worker": "worker",
    "reader": "ada",
}  # fmt: skip
"""Who asks. The owner and the member are in one team, which the owner owns; the reader is the owner with a token that
may only read. Beside these there is `dead`, a token that is nobody's."""
ANYBODY = set(NAMES)
SIGNED_IN = ANYBODY - {"anonymous"}
PARTICIPANTS = {"owner", "member", "other", "organiser"}
OWNER = {"owner", "member", "organiser"}
"""A submission is its team's and the organisers'."""
WORKER = {"worker"}
ORGANISER = {"organiser"}

ALLOWED: dict[str, set[str]] = {
    "POST /api/accounts": ANYBODY,
    "POST /api/tokens": ANYBODY,
    "GET /api/accounts/me": SIGNED_IN,
    "GET /api/accounts/me/quota": SIGNED_IN,
    "POST /api/accounts/me/password": PARTICIPANTS,
    "GET /api/accounts/me/sessions": PARTICIPANTS,
    "DELETE /api/accounts/me/sessions/{session}": PARTICIPANTS,
    "DELETE /api/accounts/me/sessions": PARTICIPANTS,
    "GET /api/accounts/me/export": PARTICIPANTS,
    "POST /api/accounts/me/delete": PARTICIPANTS,
    "GET /api/accounts/me/mail": PARTICIPANTS,
    "PUT /api/accounts/me/mail": PARTICIPANTS,
    "GET /api/tokens": PARTICIPANTS,
    "DELETE /api/tokens/{token}": PARTICIPANTS,
    "POST /api/team": PARTICIPANTS,
    "GET /api/team": SIGNED_IN,
    "POST /api/team/invites": PARTICIPANTS - {"member"},
    "DELETE /api/team/invites/{invite}": PARTICIPANTS - {"member"},
    "POST /api/team/join": PARTICIPANTS,
    "POST /api/team/leave": PARTICIPANTS,
    "POST /api/team/remove": PARTICIPANTS - {"member"},
    "POST /api/team/transfer": PARTICIPANTS - {"member"},
    "POST /api/webhooks": PARTICIPANTS,
    "GET /api/webhooks": PARTICIPANTS,
    "DELETE /api/webhooks/{webhook}": PARTICIPANTS,
    "GET /api/notices": PARTICIPANTS,
    "GET /api/audit": ORGANISER,
    "GET /api/boards": ANYBODY,
    "GET /api/boards/{name}": ANYBODY,
    "POST /api/submissions": PARTICIPANTS,
    "GET /api/submissions": SIGNED_IN,
    "OPTIONS /api/submissions/{submission}/content": ANYBODY,
    "HEAD /api/submissions/{submission}/content": OWNER | {"reader"},
    "PATCH /api/submissions/{submission}/content": OWNER,
    "POST /api/submissions/{submission}/content": OWNER,
    "DELETE /api/submissions/{submission}/content": OWNER,
    "PUT /api/submissions/{submission}/content": OWNER,
    "GET /api/submissions/{submission}": ANYBODY,
    "GET /api/submissions/{submission}/events": ANYBODY,
    "POST /api/submissions/{submission}/cancel": OWNER,
    "POST /api/submissions/{submission}/withdraw": OWNER,
    "GET /api/submissions/{submission}/manifest": ANYBODY,
    "GET /api/submissions/{submission}/files": ANYBODY,
    "GET /api/submissions/{submission}/files/{name}": ANYBODY,
    "GET /api/leaderboard": ANYBODY,
    "GET /api/queue": ANYBODY,
    "POST /api/worker/hello": WORKER,
    "POST /api/worker/claim": WORKER,
    "POST /api/worker/attempts/{attempt}/heartbeat": WORKER,
    "PUT /api/worker/attempts/{attempt}/files/{name}": WORKER,
    "GET /api/worker/attempts/{attempt}/inputs/{name}": WORKER,
    "POST /api/worker/attempts/{attempt}/finish": WORKER,
    "POST /api/worker/attempts/{attempt}/fail": WORKER,
    "GET /healthz": ANYBODY,
    "GET /readyz": ANYBODY,
    "GET /metrics": ANYBODY,
}
LOOKS = set(ALLOWED) - {
    "POST /api/accounts", "POST /api/tokens", "GET /api/boards", "GET /api/boards/{name}", "GET /api/leaderboard",
    "GET /api/queue", "OPTIONS /api/submissions/{submission}/content", "GET /healthz", "GET /readyz",
    "GET /metrics", "GET /api/submissions/{submission}/events",
}  # fmt: skip
"""Endpoints that look at who is asking: a dead token is refused there."""


def operations(site: Site) -> dict[str, dict[str, Any]]:
    document = site.http.get("/api/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def request(site: Site, operation: str, headers: dict[str, str], submission: str, content: bytes) -> Any:
    """A request that is well-formed, so that nothing but its caller is refused."""
    method, path = operation.split(" ")
    problem = {"code": "x", "message": "x"}
    result = {"stage": "validate", "rows": 1, "unique": 1, "repeats": 0, "unavailable": 0}
    bodies: dict[str, Any] = {
        "POST /api/accounts": {"name": f"new{len(site.tokens)}", "password": "long enough"},
        "POST /api/tokens": {"name": "nobody", "password": "long enough"},
        "POST /api/accounts/me/password": {"new": "short"},
        "POST /api/accounts/me/delete": {"submissions": "anonymise", "name": "somebody else"},
        "PUT /api/accounts/me/mail": {"on_final": False},
        "POST /api/team": {"name": "Another team"},
        "POST /api/team/invites": {},
        "POST /api/team/join": {"code": "nonsense"},
        "POST /api/team/remove": {"name": "nobody"},
        "POST /api/team/transfer": {"name": "nobody"},
        "POST /api/webhooks": {},
        "POST /api/submissions": site.announce(b"other"),
        "POST /api/worker/hello": {"worker": "w", "queues": ["none"]},
        "POST /api/worker/claim": {"worker": "w", "queues": ["none"]},
        "POST /api/worker/attempts/{attempt}/heartbeat": {"fence": 1},
        "POST /api/worker/attempts/{attempt}/finish": {"fence": 1, "result": result, "outputs": []},
        "POST /api/worker/attempts/{attempt}/fail": {
            "fence": 1, "failure": {"blame": "platform", "problems": [problem]},
        },
    }  # fmt: skip
    nothing = dict.fromkeys(("attempt", "token", "session", "invite", "webhook"), "0" * 16)
    filled = path.format(submission=submission, name="small-board", **nothing)
    options: dict[str, Any] = {"json": bodies[operation]} if operation in bodies else {}
    if method == "PUT" and "json" not in options:
        options = {"content": content, "params": {"fence": 1}}
    if path.endswith("/content") and method != "PUT":
        tus = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(len(content)), "X-HTTP-Method-Override": "PATCH"}
        headers = {**headers, **tus, "Content-Type": "application/offset+octet-stream"}
    if operation == "GET /api/leaderboard":
        options = {"params": {"board": "small-board"}}
    return site.http.request(method, filled, headers=headers, **options)


def test_every_endpoint_is_in_the_table(site: Site) -> None:
    assert set(operations(site)) == set(ALLOWED)


def bring_together(site: Site) -> None:
    """The owner and the member are in one team, whatever was asked for before."""
    ada, mary = site.headers("ada"), site.headers("mary")
    if site.viewer("ada").team is None:
        assert site.http.post("/api/team", json={"name": f"Team {site.viewer('ada').user_id}"}, headers=ada).is_success
    if site.viewer("mary").team is None:
        code = site.http.post("/api/team/invites", json={}, headers=ada).json()["code"]
        assert site.http.post("/api/team/join", json={"code": code}, headers=mary).is_success


def headers_of(site: Site, caller: str) -> dict[str, str]:
    if caller == "dead":
        return {"Authorization": "Bearer dc_dead"}
    if caller != "reader":
        return site.headers(NAMES[caller])
    with site.database.write() as session:
        reader = AccountService(session, site.settings).token_for("ada", "reader", [Scope.READ])
    return {"Authorization": f"Bearer {reader.token}"}


@pytest.mark.parametrize("caller", [*NAMES, "dead"])
def test_endpoints_refuse_whom_they_must(site: Site, caller: str) -> None:
    with site.database.write() as session:
        session.execute(sa.update(Board).values(submissions_per_day=1000))
    content = uids(1)
    bring_together(site)
    headers = headers_of(site, caller)
    submission = None
    for operation, documented in operations(site).items():
        bring_together(site)
        # The same submission does for every endpoint that does not change it.
        if submission is None or (operation.startswith(("PUT", "POST")) and "{submission}" in operation):
            submission = site.submit("ada", content)
        if operation.endswith("/events"):
            site.act("ada", submission.id, "cancel")  # so that the stream ends
        status = request(site, operation, headers, submission.id, content).status_code
        allowed = caller in ALLOWED[operation] if caller != "dead" else operation not in LOOKS
        if operation == "POST /api/tokens":
            assert status == 401, "nobody's password"
        elif allowed:
            assert status not in {401, 403}, f"{caller} was refused at {operation}"
        else:
            assert status == (401 if caller in {"anonymous", "dead"} else 403), f"{caller} got {status} at {operation}"
        assert str(status) in documented["responses"], f"{operation} answers {status}, which it does not document"


def test_changes_by_others_change_nothing(site: Site) -> None:
    receipt = site.open("ada", b"content")
    assert site.send("grace", receipt.id, b"content").status_code == 403
    assert site.act("grace", receipt.id, "cancel").status_code == 403
    assert site.receipt(receipt.id).state == "uploading"
    assert site.send("organiser", receipt.id, b"content").status_code == 200
    assert site.act("organiser", receipt.id, "cancel").json()["state"] == "cancelled"
