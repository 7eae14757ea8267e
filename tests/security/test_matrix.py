"""Every endpoint of the OpenAPI document for every kind of caller: who may do what, what leaks, what is changed.

The table in `endpoint_table` classifies every endpoint; a new one fails here until somebody does so.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from endpoint_table import CALLERS, CASES, RULES, Case, ask, authorisation
from peopled_site import EMAIL, HOOK, METRICS_TOKEN, PRINTED, Peopled, peopled
from server_site import uids

from datacomp.logs import LOUD, LogFormat
from datacomp_server.operation.logs import log_as_set
from datacomp_server.pages.security import HEADERS

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
def log(place: Peopled) -> Iterator[io.StringIO]:
    """Everything that the server logs at its most talkative, with what machines get beside it."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *LOUD)}
    log_as_set(stream, place.site.settings.model_copy(update={"log_format": LogFormat.JSON, "log_level": "DEBUG"}))
    yield stream
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module")
def operations(place: Peopled) -> dict[str, dict[str, Any]]:
    document = place.site.http.get("/api/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


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
    refused = len(CASES) - allowed
    record_property("note", f"authorisation, {caller}: {len(CASES)} requests at {len(operations)} endpoints, "
                            f"{allowed} allowed, {refused} refused")  # fmt: skip


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
