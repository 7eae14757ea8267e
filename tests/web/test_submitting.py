"""Handing in by the form, in Chromium, with and without JavaScript."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, Route, expect
from site_place import Person, Running, fill, npy, person

from datacomp import uids as u
from datacomp.digests import digest_bytes

GOOD_FILTER = b'''"""Keeps everything."""
from datacomp.filtering import Filter


class Everything(Filter):
    columns = ("words",)
    rule = "score >= 0"

    def score(self, batch):
        return batch["words"] >= 0
'''
UNSORTED = npy(10, "turned", turned=True)
BAD_FILES = {
    "unsorted": ("uids.npy", UNSORTED, "9 rows are smaller than the row before them"),
    "text": ("uids.npy", b"\x93NUMPY\x01\x00", "not a readable npy file"),
    "cut": ("uids.npy", UNSORTED[:-40], "the file is shorter than its header says"),
    "raw": ("uids.npy", b"seventeen bytes!!", "17 bytes do not divide by 16"),
    "empty": ("uids.npy", b"", "there is no file, or it is empty"),
    "syntax": ("my_filter.py", b"class A(B):\n    def f(:\n", "the file does not parse: invalid syntax"),
    "no-class": ("my_filter.py", b"print(1)\n", "the file defines no filter class"),
}


def choose(page: Page, name: str, content: bytes) -> None:
    page.get_by_label("File", exact=True).set_input_files(FilePayload(name=name, mimeType="", buffer=content))


def press_submit(page: Page) -> None:
    page.locator("#submit-form").get_by_role("button", name="Submit").click()


def submissions_of(page: Page) -> int:
    """How many the account lists: what was refused at the form is not among them."""
    page.goto(page.url.split("/submit")[0] + "/account")
    return page.get_by_role("region", name="Your submissions").locator("tbody tr").count()


@pytest.mark.parametrize("js", [True, False], ids=["js", "no-js"])
def test_from_no_account_to_a_receipt(running: Running, browser: Browser, js: bool) -> None:
    name = f"newcomer-{js}".lower()
    with person(browser, running.url, js=js) as visitor:
        page = visitor.open("/submit?board=filtering-tiny")
        expect(page).to_have_url(re.compile(r"/account/sign-in\?next="))
        page.get_by_role("link", name="Make an account").click()
        fill(page, {"Name": name, "Password": "correct horse battery"})
        page.get_by_role("button", name="Make the account").click()
        expect(page).to_have_url(f"{running.url}/submit?board=filtering-tiny")
        choose(page, "best uids.npy", npy(12, name))
        if js:
            expect(page.get_by_label("Name of the method")).to_have_value("best uids")
        fill(
            page,
            {"Name of the method": "Ünïcode <b>", "Description": "First line\nsecond", "Link": "https://example.org"},
        )
        press_submit(page)
        expect(page).to_have_url(re.compile(r"/submissions/[0-9a-f]{16}$"))
        expect(page.get_by_role("heading", level=1)).to_have_text("Ünïcode <b> validating")
        steps = page.locator(".timeline h3").all_inner_texts()
        assert steps == ["Validate", "Near-duplicates", "Subset", "Train", "Evaluate"]
        expect(page.get_by_text("best_uids.npy, 320 bytes")).to_be_visible()
        expect(page.get_by_role("link", name="https://example.org")).to_be_visible()
        receipt = running.site.receipt(page.url.rsplit("/", 1)[1])
        assert (receipt.participant, receipt.description) == (name, "First line\nsecond")
        page.get_by_role("button", name="Cancel this submission").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Ünïcode <b> cancelled")
        expect(page.get_by_text("Your quota was refunded: cancelled by")).to_be_visible()


@pytest.mark.parametrize("js", [True, False], ids=["js", "no-js"])
def test_bad_files_are_refused_at_the_form(running: Running, browser: Browser, js: bool) -> None:
    with person(browser, running.url, js=js) as visitor:
        visitor.sign_up(f"careless-{js}".lower())
        page = visitor.open("/submit")
        # The checks are the server's, so without JavaScript one of each kind tells enough.
        for name, content, message in list(BAD_FILES.values()) if js else [BAD_FILES["unsorted"], BAD_FILES["syntax"]]:
            page.get_by_label("Filter code" if name.endswith(".py") else "Sample ids").check()
            fill(page, {"Name of the method": "A method", "Description": "kept as typed"})
            choose(page, name, content)
            press_submit(page)
            expect(page.get_by_role("alert")).to_contain_text(message, ignore_case=True)
            expect(page.locator("#wrong-file")).to_contain_text(message, ignore_case=True)
            expect(page.get_by_label("Name of the method")).to_have_value("A method")
            expect(page.get_by_label("Description")).to_have_value("kept as typed")
            expect(page).to_have_url(f"{running.url}/submit")
        assert submissions_of(page) == 0


def test_all_problems_at_once(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as visitor:
        visitor.sign_up("hasty")
        page = visitor.open("/submit")
        # What the browser itself would stop is sent all the same.
        page.locator("#submit-form").evaluate("form => form.noValidate = true")
        fill(page, {"Link": "ftp://example.org", "Description": "x"})
        page.get_by_label("Rehearsal").check()
        choose(page, "uids.npy", UNSORTED)
        press_submit(page)
        said = page.get_by_role("alert").locator("li strong").all_inner_texts()
        assert said == [
            "The method has no name, or a very long one",
            "This is not a web address",
            "9 rows are smaller than the row before them",
        ]
        assert "uids.npy: row 1" in page.get_by_role("alert").inner_text()
        expect(page.get_by_label("Rehearsal")).to_be_checked()
        page.get_by_role("alert").get_by_role("link", name="method").click()
        expect(page).to_have_url(f"{running.url}/submit#field-method")


def test_a_filter_is_parsed_and_never_run(running: Running, browser: Browser, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    source = GOOD_FILTER + f"open({str(trace)!r}, 'w').close()\n".encode()
    with person(browser, running.url) as visitor:
        visitor.sign_up("coder")
        page = visitor.open("/submit")
        choose(page, "my_filter.py", source)
        expect(page.get_by_label("Filter code")).to_be_checked()
        expect(page.get_by_label("Name of the method")).to_have_value("my_filter")
        press_submit(page)
        expect(page.locator(".timeline h3").first).to_have_text("Validate")
        assert page.locator(".timeline h3").all_inner_texts()[1] == "Filter"
        page.get_by_role("button", name="Cancel this submission").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("my_filter cancelled")
    assert not trace.exists()


def test_quota_and_size_of_a_board(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("eager")
        page = visitor.open("/submit?board=filtering-medium")
        choose(page, "uids.npy", npy(400, "large"))
        press_submit(page)
        expect(page.locator("#upload")).to_contain_text("This board takes at most 4 KiB")
        choose(page, "uids.npy", npy(5, "eager"))
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("uids validating")
        hand_in_again(visitor)


def hand_in_again(visitor: Person) -> None:
    page = visitor.open("/submit?board=filtering-medium")
    choose(page, "again.npy", npy(5, "eager again"))
    press_submit(page)
    expect(page.get_by_role("alert")).to_contain_text("1 of 1 submissions to filtering-medium are used today")
    # The chosen file is still chosen: with another board it goes through.
    page.get_by_label("Board", exact=True).select_option("filtering-tiny")
    press_submit(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("again validating")
    page.get_by_role("button", name="Cancel this submission").click()


def test_too_large_for_the_server_too(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as visitor:
        visitor.sign_up("large")
        page = visitor.open("/submit?board=filtering-medium")
        choose(page, "uids.npy", npy(400, "large"))
        fill(page, {"Name of the method": "large"})
        press_submit(page)
        expect(page.get_by_role("alert")).to_contain_text("The file has 6.4 KiB, and this board takes 4.0 KiB")
        assert submissions_of(page) == 0


def test_forms_from_elsewhere_are_refused(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("victim")
        page = visitor.open("/submit")
        page.locator("#submit-form input[name=csrf]").evaluate("field => field.value = 'guess'")
        choose(page, "uids.npy", npy(5, "victim"))
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("403 Not allowed")
        expect(page.get_by_text("This form is out of date")).to_be_visible()


# --- large files, in pieces


def large_npy() -> bytes:
    """9.6 MB of uids: two pieces."""
    uids = np.zeros(600_000, u.UID_DTYPE)
    uids["f0"] = np.sort(np.random.default_rng(0).integers(0, 2**63, uids.size))
    out = io.BytesIO()
    np.save(out, uids)
    return out.getvalue()


LARGE = large_npy()


def test_a_large_file_goes_on_after_a_reload(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("patient")
        page = visitor.open("/submit?board=filtering-tiny")
        sent: list[int] = []

        def second_piece_is_lost(route: Route) -> None:
            if route.request.method == "PATCH":
                sent.append(int(route.request.headers["upload-offset"]))
            if route.request.method == "PATCH" and sent[-1] > 0:
                route.abort()
            else:
                route.continue_()

        page.route("**/content", second_piece_is_lost)
        choose(page, "large.npy", LARGE)
        fill(page, {"Description": "kept"})
        press_submit(page)
        expect(page.locator("#upload")).to_contain_text("Trying again")
        expect(page.locator("#upload")).to_contain_text("what it has is kept")
        page.reload()
        page.unroute_all()
        visitor.complaints = [said for said in visitor.complaints if "ERR_FAILED" not in said]
        expect(page.get_by_role("region", name="Not complete yet")).to_contain_text(
            "large.npy to filtering-tiny: 8.0 MiB of 9.2 MiB"
        )
        page.get_by_role("link", name="Go on").click()
        expect(page.get_by_label("Name of the method")).to_have_value("large")
        expect(page.get_by_label("Description")).to_have_value("kept")
        expect(page.get_by_text("Choose this file again and submit")).to_be_visible()
        again: list[str] = []
        page.on("request", lambda request: again.append(request.headers.get("upload-offset", "")))
        choose(page, "large.npy", LARGE)
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("large validating")
        assert [offset for offset in again if offset] == [str(8 << 20)], "what had arrived is not sent again"
        receipt = running.site.receipt(page.url.rsplit("/", 1)[1])
        assert (receipt.digest, receipt.description) == (digest_bytes(LARGE), "kept")
        page.get_by_role("button", name="Cancel this submission").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("large cancelled")
        page.goto(f"{running.url}/submit")
        expect(page.get_by_role("region", name="Not complete yet")).to_have_count(0)


def test_what_a_large_file_says_of_itself_is_checked_before_it_is_sent(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("hopeful")
        page = visitor.open("/submit?board=filtering-tiny")
        choose(page, "cut.npy", LARGE[:-40])
        fill(page, {"Link": "https://"})
        page.locator("#submit-form").evaluate("form => form.noValidate = true")
        press_submit(page)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("the file is shorter than its header says", ignore_case=True)
        expect(alert).to_contain_text("This is not a web address")
        assert submissions_of(page) == 0
