"""Every page and every form of the site for every kind of visitor.

Pages are enumerated from the application's routes; one that is not in `page_table` fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from page_table import (
    ANYBODYS,
    FORMS,
    ORGANISERS,
    PAGES,
    PROVED,
    SIGN_IN,
    SIGNED_IN,
    VISITORS,
    address_of,
    common,
    look,
    own_token,
    routes,
    send,
    visiting,
)
from peopled_site import EMAIL, HOOK, PASSWORDS, PRINTED, Peopled, peopled

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
        elif "/charts/" in path and state not in {"scored", "withdrawn"}:
            right = status in {200, 404}  # where nothing is to be drawn yet
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
