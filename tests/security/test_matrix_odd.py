"""Bodies, paths, parameters and methods that nobody means well with: refused as documented, never a fault."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from endpoint_table import CASES, Case, authorisation, body_of
from peopled_site import Peopled, peopled

pytestmark = pytest.mark.security
WHO = {"workers": "worker", "organisers": "organiser"}
RAW = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"name": "\xff"}',
    "a list": b"[]",
    "a number": b"1" + b"0" * 4300,
    "too deep": b"[" * 100_000,
    "null": b"null",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"name": "ada"}'.encode("utf-16"),
}
VALUES: dict[str, str] = {
    "NUL": '"a\\u0000b"',
    "a lone surrogate": '"a\\ud800b"',
    "a large number": "1" + "0" * 400,
    "a number of 64 bits": str(2**63),
    "a negative number": "-1",
    "no number": "NaN",
    "infinite": "1e999",
    "null": "null",
    "an empty object": "{}",
    "long": json.dumps("x" * 100_000),
    "right to left": '"\\u202eada"',
    "a line end": '"a\\r\\nb"',
    "a true": "true",
}
SEGMENTS = [
    "%00", "%ff", "%0d%0aX:y", "..", "%2e%2e%2f%2e%2e", "a" * 5000, "%ed%a0%80", "%F0%9F%90%8B", "'--", "%25s", "%5c",
]  # fmt: skip
UP = re.compile(r"\.\.|%2e%2e%2f")
PARAMETERS = [
    "", "%00", "%ff", "-1", "1e9", str(2**63), str(10**400), "%ed%a0%80", "%F0%9F%90%8B", "x" * 5000, "\u0663",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    with peopled(tmp_path_factory.mktemp("odd")) as made:
        yield made


@pytest.fixture(scope="module")
def documented(place: Peopled) -> dict[str, Any]:
    paths: dict[str, Any] = place.site.http.get("/api/openapi.json").json()["paths"]
    return paths


def caller_of(case: Case) -> str:
    """Somebody who may ask this."""
    return WHO.get(case.rule, "owner")


def filled(place: Peopled, path: str, **instead: str) -> str:
    values = {"submission": place.submissions["scored"], "attempt": place.attempt.job.attempt, "name": "upload"}
    return path.format(**{**place.things, **values, **instead})


def damaged(body: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The body with every field replaced by every odd value, and with one field more."""
    for field in body:
        for what, value in VALUES.items():
            text = json.dumps({**body, field: "@here@"}).replace('"@here@"', value)
            yield f"{what} in {field}", text.encode()
    yield "a field more", json.dumps({**body, "a field \x00": 1}).encode()


def check(reply: Any, documented: dict[str, Any], operation: str, what: str) -> list[str]:
    """What is wrong with an answer."""
    method, path = operation.split(" ")
    status = str(reply.status_code)
    if status not in documented[path][method.lower()]["responses"]:
        return [f"{operation} with {what}: {status} {reply.text[:200]}"]
    if reply.status_code >= 400 and method != "HEAD" and not reply.json()["problems"]:
        return [f"{operation} with {what}: {status} without a problem"]
    return []


def test_odd_bodies_are_refused_as_documented(place: Peopled, documented: dict[str, Any], record_property: Any) -> None:
    wrong, sent = [], 0
    for case in CASES:
        body = body_of(place, case.operation, caller_of(case))
        if body is None:
            continue
        method, path = case.operation.split(" ")
        headers = {**authorisation(place, caller_of(case)), "Content-Type": "application/json"}
        for what, content in [*RAW.items(), *damaged(body)]:
            reply = place.site.http.request(method, filled(place, path), headers=headers, content=content)
            wrong += check(reply, documented, case.operation, what)
            if what in RAW and what != "a byte order mark" and reply.status_code < 400:
                wrong.append(f"{case.operation} took {what}")
            if reply.status_code < 300:
                place.restore()
            sent += 1
        for kind in ("text/plain", "application/xml", "multipart/form-data", "", "application/json; charset=utf-16"):
            typed = {**headers, "Content-Type": kind}
            reply = place.site.http.request(method, filled(place, path), headers=typed, content=b"{}")
            wrong += check(reply, documented, case.operation, f"the type {kind}")
            sent += 1
            place.restore()
    assert not wrong, "\n".join(wrong)
    record_property("note", f"odd bodies: {sent}, all answered as documented")


def test_odd_paths_and_parameters(place: Peopled, documented: dict[str, Any], record_property: Any) -> None:
    wrong, sent = [], 0
    for operation in {case.operation: case for case in CASES}.values():
        method, path = operation.operation.split(" ")
        headers = {**authorisation(place, caller_of(operation)), "Tus-Resumable": "1.0.0"}
        parts = re.findall(r"\{(\w+)\}", path)
        query = [
            each["name"] for each in documented[path][method.lower()].get("parameters", []) if each["in"] == "query"
        ]
        asked = [filled(place, path, **{part: segment}) for part in parts for segment in SEGMENTS]
        asked += [f"{filled(place, path)}?{name}={value}" for name in query for value in PARAMETERS]
        for address in asked:
            reply = place.site.http.request(method, address, headers=headers, follow_redirects=False)
            sent += 1
            if reply.status_code in {404, 405} and UP.search(address):
                continue  # it leads to another path, or to none
            wrong += check(reply, documented, operation.operation, address[:120])
            if reply.status_code < 300 and method not in {"GET", "HEAD", "OPTIONS"}:
                place.restore()
    assert not wrong, "\n".join(wrong)
    record_property("note", f"odd paths and parameters: {sent}, none a fault")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_methods_that_are_not_there(place: Peopled, documented: dict[str, Any], method: str) -> None:
    for path, item in documented.items():
        if method.lower() in item or (method == "HEAD" and "get" in item):
            continue
        reply = place.site.http.request(method, filled(place, path), headers=authorisation(place, "owner"))
        assert reply.status_code == 405, f"{method} {path}: {reply.status_code}"
        assert set(reply.headers["allow"].replace(" ", "").split(",")) <= {name.upper() for name in item}
    assert not place.changed
