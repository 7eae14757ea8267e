"""What the form takes: typed expressions, datasets, dropped files, by keyboard alone, with and without JavaScript."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect
from site_place import Running, fill, npy, person
from small_pool import SmallPool

from datacomp.digests import digest_bytes
from datacomp.messages import SubmissionKind
from datacomp.pool import ingest

CHOICE = "words >= 3 and\ntop_fraction(clip_l14_similarity_score, 0.5)"
CSV = b"url,caption\nhttps://example.org/a.jpg,a cat\nhttps://example.org/b.jpg,a dog\n"


@pytest.fixture(scope="module", autouse=True)
def a_pool(running: Running) -> Path:
    """The board's pool, for expressions to be tried on."""
    directory = running.site.settings.data_dir / "pools" / "tiny"
    if not directory.exists():
        SmallPool().write(directory)
        ingest(directory, processes=1)
    return directory


def press_submit(page: Page) -> None:
    page.locator("#submit-form").get_by_role("button", name="Submit").click()


def kind(page: Page, name: str):
    return page.locator(f"#field-kind-{name}")


def drop(page: Page, name: str, content: str) -> None:
    """Drop a file onto the form, as a browser tells of it."""
    page.locator("#submit-form").evaluate(
        """(form, [name, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([content], name));
            const told = { dataTransfer: data, bubbles: true, cancelable: true };
            const tell = (what) => form.dispatchEvent(new DragEvent(what, told));
            tell("dragenter");
            window.marked = document.querySelector(".drop").hasAttribute("data-over");
            tell("dragover");
            tell("drop");
        }""",
        [name, content],
    )


@pytest.mark.parametrize("js", [True, False], ids=["js", "no-js"])
def test_an_expression_is_typed_into_the_form(running: Running, browser: Browser, js: bool) -> None:
    with person(browser, running.url, js=js) as visitor:
        visitor.sign_up(f"typist-{js}".lower())
        page = visitor.open("/submit?board=filtering-tiny")
        expect(page.locator("#field-expression")).to_be_hidden()
        kind(page, "expression").check()
        expect(page.locator("#field-file")).to_be_hidden()
        fill(page, {"Name of the method": "Half", "Expression which": "words >= 3 and\n top_fraction("})
        press_submit(page)
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The expression ends too early (line 2, column 15)")
        expect(page.locator("#wrong-expression")).to_contain_text("line 2, column 15")
        expect(page.locator(".fault")).to_have_text(re.compile(r"^\s*top_fraction\(\s*$"))
        expect(kind(page, "expression")).to_be_checked()
        if js:
            assert page.locator("#field-expression").evaluate("field => field.selectionStart") == 29
        page.locator("#field-expression").fill(CHOICE)
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("Half validating")
        receipt = running.site.receipt(page.url.rsplit("/", 1)[1])
        assert (receipt.kind, receipt.filename) == (SubmissionKind.EXPRESSION, "expression.expr")
        assert receipt.digest == digest_bytes(CHOICE.encode())
        page.get_by_role("button", name="Cancel this submission").click()


def test_an_expression_is_tried_while_it_is_typed(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("curious")
        page = visitor.open("/submit?board=filtering-tiny")
        kind(page, "expression").check()
        page.locator("#field-expression").press_sequentially("words >= 0")
        expect(page.locator("#preview .headline")).to_contain_text("100.0%")
        page.locator("#field-expression").fill("words >=")
        expect(page.locator("#preview")).to_contain_text("The expression ends too early")
        page.locator("#field-expression").fill("")
        expect(page.locator("#preview")).to_be_hidden()


def test_an_expression_is_tried_without_scripts(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as visitor:
        visitor.sign_up("patient-reader")
        page = visitor.open("/submit?board=filtering-tiny")
        kind(page, "expression").check()
        page.locator("#field-expression").fill("words >=")
        page.get_by_role("button", name="Show what it keeps").click()
        expect(page.get_by_role("alert")).to_contain_text("ends too early")
        page.locator("#field-expression").fill("words >= 0")
        page.get_by_role("button", name="Show what it keeps").click()
        expect(page).to_have_url(f"{running.url}/boards/filtering-tiny/pool?expression=words+%3E%3D+0#try")
        expect(page.locator("#preview .headline")).to_contain_text("100.0%")


def test_the_board_decides_what_is_taken(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("bringer")
        page = visitor.open("/submit?board=own-tiny")
        for name in ("uids", "expression", "code"):
            expect(kind(page, name)).to_be_disabled()
        expect(kind(page, "dataset")).to_be_checked()
        page.get_by_label("Board", exact=True).select_option("filtering-tiny")
        expect(kind(page, "dataset")).to_be_disabled()
        expect(kind(page, "uids")).to_be_checked()
        page.get_by_label("Board", exact=True).select_option("own-tiny")
        drop(page, "mine.csv", CSV.decode())
        assert page.evaluate("window.marked")
        expect(page.locator("#chosen")).to_have_text("mine.csv, 1 KiB")
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("mine validating")
        receipt = running.site.receipt(page.url.rsplit("/", 1)[1])
        assert (receipt.kind, receipt.filename, receipt.size) == (SubmissionKind.DATASET, "mine.csv", len(CSV))
        page.get_by_role("button", name="Cancel this submission").click()


def test_without_scripts_the_server_says_what_a_board_takes(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False) as visitor:
        visitor.sign_up("mistaken")
        page = visitor.open("/submit?board=own-tiny")
        file = page.get_by_label("File", exact=True)
        kind(page, "uids").check()
        fill(page, {"Name of the method": "mine"})
        file.set_input_files(FilePayload(name="uids.npy", mimeType="", buffer=npy(5, "mistaken")))
        press_submit(page)
        expect(page.get_by_role("alert")).to_contain_text("This kind cannot be handed in to this board")
        kind(page, "dataset").check()
        file.set_input_files(FilePayload(name="mine.csv", mimeType="", buffer=b"address\nx\n"))
        press_submit(page)
        expect(page.locator("#wrong-file")).to_be_visible()
        file.set_input_files(FilePayload(name="mine.csv", mimeType="", buffer=CSV))
        press_submit(page)
        expect(page.get_by_role("heading", level=1)).to_have_text("mine validating")
        page.get_by_role("button", name="Cancel this submission").click()


def test_a_dropped_file_says_what_it_is(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("dropper")
        page = visitor.open("/submit?board=filtering-tiny")
        expect(page.get_by_text("Or drop it on this form.")).to_be_visible()
        kind(page, "expression").check()
        drop(page, "my_filter.py", "print(1)\n")
        expect(kind(page, "code")).to_be_checked()
        expect(page.get_by_label("Name of the method")).to_have_value("my_filter")
        press_submit(page)
        expect(page.get_by_role("alert")).to_contain_text("The file defines no filter class")
        expect(page.locator("#chosen")).to_have_text("my_filter.py, 1 KiB")


def test_by_keyboard_alone(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("typing")
        page = visitor.open("/submit?board=filtering-tiny")
        page.locator("#field-board").focus()
        for _ in range(3):  # past the links below it
            page.keyboard.press("Tab")
        expect(kind(page, "uids")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(kind(page, "expression")).to_be_checked()
        for _ in range(4):  # past links in the labels, to the text
            if page.evaluate("document.activeElement.id") == "field-expression":
                break
            page.keyboard.press("Tab")
        page.keyboard.type("words >= 3")
        page.keyboard.press("Tab")
        page.keyboard.type("By hand")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("By hand validating")
        page.get_by_role("button", name="Cancel this submission").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("By hand cancelled")


def test_large_ids_out_of_order_are_told_before_they_are_sent(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as visitor:
        visitor.sign_up("hurried")
        page = visitor.open("/submit?board=filtering-tiny")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.method))
        rows = bytearray(range(256)) * (9 << 12)  # of 16 bytes: every 16th is smaller than the one before
        page.get_by_label("File", exact=True).set_input_files(
            FilePayload(name="raw.npy", mimeType="", buffer=bytes(rows))
        )
        press_submit(page)
        expect(page.locator("#upload")).to_contain_text("36,863 rows are smaller than the row before them")
        expect(page.locator("#upload")).to_contain_text("the first is row 16")
        assert "POST" not in sent
