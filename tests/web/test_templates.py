"""Every template in every state, without a server: structure, labels, escaping, links that lead somewhere."""

import re
from itertools import pairwise

import pytest
from page_contexts import all_pages
from page_examples import TASKS, receipts, site
from page_reading import CONTROLS, Reader, read
from starlette.routing import Match

from datacomp_server.app import create_app
from datacomp_server.pages.contexts import Page, ReceiptPage
from datacomp_server.pages.receipt import build_receipt
from datacomp_server.pages.rendering import environment, render
from datacomp_server.pages.security import POLICY
from datacomp_server.settings import Settings

PAGES = all_pages()
APP = create_app(Settings())


@pytest.fixture(params=PAGES, name="named")
def each_page(request: pytest.FixtureRequest) -> tuple[str, Page]:
    return request.param, PAGES[request.param]


@pytest.fixture(name="page")
def each_read(named: tuple[str, Page]) -> Reader:
    return read(render(named[1]))


def leads_somewhere(path: str, method: str = "GET") -> bool:
    scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in APP.routes)


def test_every_template_has_an_example() -> None:
    used = {page.template for page in PAGES.values()}
    parts = {
        "base.html",
        "macros.html",
        "receipt_body.html",
        "board_charts.html",
        "board_published.html",
        "kept.html",
        "pool_preview.html",
    }
    whole = {name for name in environment().list_templates() if name not in parts}
    assert whole == used


def test_structure(page: Reader) -> None:
    assert page.wrong == []
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert page.all("title")[0].text.strip() not in {"", "· DataComp"}
    levels = [int(heading.name[1]) for heading in page.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    identifiers = [element["id"] for element in page.elements if element["id"]]
    assert len(identifiers) == len(set(identifiers)), identifiers


def test_references_within_the_page_hold(page: Reader) -> None:
    identifiers = {element["id"] for element in page.elements}
    for element in page.elements:
        for attribute in ("for", "aria-labelledby", "aria-describedby"):
            assert set(element[attribute].split()) <= identifiers, element
        if element["href"].startswith("#"):
            assert element["href"][1:] in identifiers, element


def test_controls_are_labelled(page: Reader) -> None:
    labelled = {label["for"] for label in page.all("label")}
    for control in page.all(*CONTROLS):
        if control["type"] != "hidden":
            named = control["id"] in labelled or "label" in control.inside or control["aria-label"]
            assert named, control
    for element in page.all("button", "a", "th", "legend", "summary"):
        assert element.text.strip(), element
    for element in page.all("progress"):
        assert element["aria-label"], element
    for element in page.all("svg"):
        assert element["aria-hidden"] == "true" or element["aria-label"], element
    for element in page.all("th"):
        assert element["scope"], element


def test_images_are_ours_and_say_what_they_show(page: Reader) -> None:
    for element in page.all("img"):
        assert element["alt"], element
        assert leads_somewhere(element["src"].partition("?")[0]), element


def test_nothing_is_inline(page: Reader) -> None:
    assert "unsafe" not in POLICY
    for element in page.elements:
        assert element.name not in {"style", "iframe", "object"}, element
        assert not [name for name in element.attributes if name == "style" or name.startswith("on")], element
        if element.name == "script":
            assert element["src"].startswith("/static/")
            assert not element.text.strip()


def test_hostile_text_is_only_text(named: tuple[str, Page]) -> None:
    html = render(named[1])
    assert "<script>alert" not in html
    assert "onerror" not in {name for element in read(html).elements for name in element.attributes}
    assert "javascript:" not in {element["href"][:11].lower() for element in read(html).elements}
    if "hostile" in named[0]:
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "{{ 7 * 7 }}" in html


def test_links_lead_to_routes(page: Reader) -> None:
    for link in page.all("a"):
        href = link["href"].split("#")[0].split("?")[0]
        if href.startswith("/"):
            assert leads_somewhere(href), link
        else:
            assert not href or href.startswith("https://"), link


def test_forms_go_to_routes_with_their_token(page: Reader) -> None:
    changing = [form for form in page.all("form") if form["method"] == "post"]
    for form in page.all("form"):
        assert form["method"] in {"get", "post"}
        assert leads_somewhere(form["action"], form["method"].upper()), form
    tokens = [element for element in page.all("input") if element["name"] == "csrf"]
    assert len(tokens) == len(changing), "a token in every form that changes something, and in no address"
    assert {token["value"] for token in tokens} <= {"c5rf"}


RECEIPTS = [name for name, page in PAGES.items() if isinstance(page, ReceiptPage)]


@pytest.mark.parametrize("name", RECEIPTS)
def test_the_fragment_has_every_live_part(name: str) -> None:
    whole, fragment = read(render(PAGES[name])), read(render(PAGES[name], "receipt_body.html"))
    parts = [element["data-part"] for element in whole.elements if element["data-part"]]
    assert parts == [element["data-part"] for element in fragment.elements if element["data-part"]]
    # receipt.js replaces parts one by one, so the set must not depend on the state.
    assert parts == [
        "head",
        "outcome",
        "scores",
        "kept",
        "overlaps",
        "curves",
        "timeline",
        "about",
        "commands",
        "change",
    ]
    assert not fragment.wrong


def test_a_receipt_says_what_matters() -> None:
    said = {
        name: read(render(PAGES[f"receipt-{name}"])).all("main")[0].text
        for name in ("training", "queued", "failed", "scored")
    }
    assert "12\u202f288 of 20\u202f480 samples" in said["training"]
    assert "Next deadline 24 Nov 2026, 12:00:06 UTC" in said["training"]
    assert "No worker serves queue gpu" in said["queued"]
    assert "my_filter.py, line 12" in said["failed"]
    assert "Your quota was used" in said["failed"]
    assert "Rank1–2 of 6" in re.sub(r"\s*\n\s*", "", said["scored"])
    assert "+0.059 +0.020 to +0.098" in said["scored"]
    assert said["scored"].count("\u22120.050") == len(TASKS)
    others = build_receipt(site(name="grace"), receipts()["failed"], may_change=False)
    assert "The participant's quota was used" in render(others).replace("&#39;", "'")
    ours = read(render(PAGES["receipt-failed-ours"])).all("main")[0].text
    assert "Your quota was refunded: this was the platform's fault" in ours


def test_a_refused_form_keeps_what_was_typed() -> None:
    page = read(render(PAGES["submit-problems"]))
    method = next(element for element in page.elements if element["id"] == "field-method")
    assert method["value"].startswith("<script>alert(1)")
    assert method["aria-invalid"] == "true"
    assert next(e for e in page.elements if e["id"] == method["aria-describedby"]).text == "The method has no name."
    chosen = [element["value"] for element in page.all("option") if "selected" in element.attributes]
    assert chosen == ["filtering-medium"]
