"""The other pages in Chromium: the leaderboard's views, phones, the dark, the keyboard, accounts, the API."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from site_place import PATIENCE, Running, fill, person, serious

from datacomp_server.pages.security import HEADERS

METHODS = {"Best <i>one</i>": 6, "Middle": 4, "A weak one": 2}
"""Items right, of 8."""
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def board(running: Running) -> Iterator[str]:
    """The address of a board with a baseline, some rows, and one still under way."""
    for method, right in METHODS.items():
        running.scored("ranked", method, right)
    running.scored("organiser", "Baseline", 3)
    unfinished = running.submitted("ranked", "Unfinished")
    yield "/boards/filtering-tiny"
    running.site.act("ranked", unfinished.id, "cancel")


def column(page: Page, name: str) -> list[str]:
    """Texts of a column, of the rows that this module made."""
    rows = page.locator("table.board tbody tr")
    names = [*METHODS, "Baseline"]
    return [
        row.locator(f".{name}").inner_text().splitlines()[0].strip()
        for row in rows.all()
        if row.locator(".method a").first.inner_text() in names
    ]


@pytest.mark.parametrize("js", [True, False], ids=["js", "no-js"])
def test_the_leaderboard_sorts_by_its_links(running: Running, browser: Browser, board: str, js: bool) -> None:
    with person(browser, running.url, js=js) as reader:
        page = reader.open("/leaderboard?scale=tiny")
        expect(page).to_have_url(running.url + board)
        expect(page.locator(".narrow-only").first).to_be_hidden()  # once the style sheet is there
        assert column(page, "method") == ["Best <i>one</i>", "Middle", "Baseline baseline", "A weak one"]
        assert column(page, "average") == ["0.750", "0.500", "0.375", "0.250"]
        assert column(page, "delta") == ["+0.375", "+0.125", "±0.000", "\u22120.125"]
        page.get_by_role("columnheader", name="Average").get_by_role("link").click()
        expect(page).to_have_url(f"{running.url}{board}?sort=average")
        page.get_by_role("columnheader", name="Average").get_by_role("link").click()
        expect(page).to_have_url(f"{running.url}{board}?sort=average&order=asc")
        assert column(page, "average") == ["0.250", "0.375", "0.500", "0.750"]
        heading = page.get_by_role("columnheader", name="Average")
        assert heading.get_attribute("aria-sort") == "ascending"
        page.get_by_role("link", name="Show all 3 tasks").click()
        expect(page.get_by_role("columnheader", name="Uncounted")).to_be_visible()
        page.get_by_role("columnheader", name="Method").get_by_role("link").click()
        expect(page).to_have_url(re.compile("sort=method"))
        assert column(page, "method")[0] == "A weak one"
        page.get_by_label("Words in the name of a method or team").fill("ranked ONE")
        page.get_by_role("button", name="Filter").click()
        expect(page).to_have_url(re.compile("find=ranked.ONE.*sort=method|sort=method.*find=ranked.ONE"))
        assert column(page, "method") == ["A weak one", "Best <i>one</i>"]
        page.get_by_role("link", name="Show all", exact=True).click()
        expect(page.get_by_text("found")).to_have_count(0)
        page.get_by_role("link", name=re.compile("^Show . unfinished")).click()
        expect(page.get_by_role("listitem").filter(has_text="Unfinished")).to_contain_text("validating")


def test_the_board_as_csv(running: Running, board: str) -> None:
    answer = httpx.get(f"{running.url}{board}/leaderboard.csv")
    lines = answer.text.splitlines()
    assert lines[0].startswith("rank,method,participant,team,submission,status,baseline,subset_size,average,main")
    assert any(",Middle,ranked," in line and ",scored,no,50,0.5,0.5," in line for line in lines)


def pages_of(board: str, receipt: str) -> list[str]:
    own = ["/submit", "/account", f"/submissions/{receipt}", f"/manifest/{receipt}"]
    boards = [board, f"{board}?tasks=all&unfinished=1", f"{board}/rules", "/boards/filtering-medium", "/boards"]
    boards += [f"{board}/pool?expression=words+>+2", "/boards/filtering-medium/pool"]
    return [
        "/",
        *boards,
        "/queue",
        "/docs",
        "/docs/start",
        "/docs/write-a-filter",
        "/api/docs",
        *own,
        "/nowhere",
    ]


@pytest.mark.parametrize(("width", "dark"), [(375, True), (1280, False)], ids=["phone-dark", "desktop-light"])
def test_every_page_fits_and_is_quiet(running: Running, browser: Browser, board: str, width: int, dark: bool) -> None:
    rows = running.site.board("filtering-tiny").rows
    receipt = next(row.submission for row in rows if row.method == "Middle")
    with person(browser, running.url, width=width, dark=dark) as reader:
        page = reader.sign_up(f"reader-{width}")
        for path in pages_of(board, receipt):
            answer = page.goto(running.url + path)
            assert answer.status == (404 if path == "/nowhere" else 200), path
            assert HEADERS.items() <= {k: answer.header_value(k) for k in HEADERS}.items(), path
            assert page.locator("h1").count() == 1, path
            assert page.evaluate(WIDE) <= 0, f"{path} is wider than {width} px"
            paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert serious(page) == [], path
            assert paper == ("rgb(20, 23, 26)" if dark else "rgb(252, 252, 250)"), path
        for link in page.get_by_role("navigation", name="Main").get_by_role("link").all():
            expect(link).to_be_in_viewport(ratio=1)


def test_charts_answer_to_the_pointer(running: Running, browser: Browser, board: str) -> None:
    with person(browser, running.url, dark=True) as reader:
        page = reader.open(board)
        chart = page.locator("figure.chart").first
        chart.scroll_into_view_if_needed()
        live = chart.locator(".live svg")
        expect(live).to_be_visible()
        expect(chart.locator("picture")).to_be_hidden()
        live.locator("g.mark-symbol path").first.hover(force=True)
        tip = page.locator("#vg-tooltip-element")
        expect(tip).to_be_visible()
        expect(tip).to_contain_text("method")


def test_charts_are_drawn_without_scripts(running: Running, browser: Browser, board: str) -> None:
    with person(browser, running.url, js=False) as reader:
        image = reader.open(board).locator("figure.chart img").first
        image.scroll_into_view_if_needed()
        expect(image).to_be_visible()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 300


def test_links_within_the_site_work(running: Running, board: str) -> None:
    html = {"Accept": "text/html"}
    with httpx.Client(base_url=running.url, follow_redirects=True, headers=html, timeout=PATIENCE / 1000) as http:
        seen: set[str] = set()
        for start in ("/", board, f"{board}/rules", "/docs", "/api/docs"):
            answer = http.get(start)
            fresh = set(re.findall(r'(?:href|src)="(/[^"#]*)', answer.text)) - seen
            for address in fresh:
                assert http.get(address.replace("&amp;", "&")).status_code == 200, f"{address} on {start}"
            seen |= fresh
        assert len(seen) > 20


def test_the_keyboard_finds_its_way(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as reader:
        page = reader.open("/")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Tab")
        focused = "() => getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(focused) == "solid"
        skip.focus()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_tokens_are_shown_once_and_revoked(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as owner:
        page = owner.sign_up("keeper")
        fill(page, {"Label of a new token": "laptop"})
        page.get_by_role("button", name="Make a token").click()
        token = page.locator("#token").inner_text().strip()
        asking = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{running.url}/api/accounts/me", headers=asking).json()["name"] == "keeper"
        page.goto(f"{running.url}/account")
        assert token not in page.content()
        page.get_by_role("button", name="Revoke laptop").click()
        expect(page.get_by_role("button", name="Revoke laptop")).to_have_count(0)
        assert httpx.get(f"{running.url}/api/accounts/me", headers=asking).status_code == 401
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_a_wrong_password_and_a_taken_name_are_said_at_the_form(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as visitor:
        visitor.sign_up("taken").get_by_role("button", name="Sign out").click()
        page = visitor.open("/account/sign-in?next=//evil.example/")
        assert page.locator("input[name=next]").get_attribute("value") == "/account"
        fill(page, {"Name": "taken", "Password": "not the password"})
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")
        expect(page.get_by_label("Name")).to_have_value("taken")
        page.get_by_role("link", name="Make an account").click()
        fill(page, {"Name": "Taken", "Password": "correct horse battery"})
        page.get_by_role("button", name="Make the account").click()
        expect(page.get_by_role("alert")).to_contain_text("The name 'Taken' is taken")


def test_the_queue_says_who_waits(running: Running, browser: Browser, board: str) -> None:
    with person(browser, running.url, js=False) as reader:
        page = reader.open("/queue")
        lane = page.get_by_role("region", name="Runs of queue cpu")
        expect(lane.get_by_role("row").filter(has_text="Unfinished")).to_contain_text("queued")
        expect(page.get_by_role("region", name="Workers")).to_contain_text("worker-1")


def test_the_reference_of_the_api_opens_without_scripts(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as reader:
        page = reader.open("/api/docs")
        operation = page.locator("details", has_text="GET /api/leaderboard").first
        operation.locator("summary").click()
        expect(operation.get_by_role("table").first).to_be_visible()
        assert page.locator("script").count() == 0
