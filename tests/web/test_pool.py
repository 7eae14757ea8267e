"""The page of a pool: an expression tried while it is typed, and by the form's button where there are no scripts."""

import re

from playwright.sync_api import Browser, expect
from site_place import Running, person

POOL = "/boards/filtering-tiny/pool"


def test_an_expression_is_tried_while_it_is_typed(running: Running, browser: Browser) -> None:
    with person(browser, running.url) as reader:
        page = reader.open(POOL)
        box, result = page.get_by_role("textbox", name="Expression"), page.locator("#preview")
        box.press_sequentially("words > 2")
        expect(result.locator(".headline")).to_contain_text(re.compile(r"Would keep\s*46"))
        expect(page).to_have_url(re.compile(r"expression=words"))
        figures = result.get_by_text("Words of the caption in figures")
        figures.click()
        box.press_sequentially(" and words > 90")
        expect(result.locator(".headline")).to_contain_text(re.compile(r"Would keep\s*0"))
        expect(result.get_by_role("columnheader", name="Whole pool").locator("visible=true")).to_have_count(1)
        box.press_sequentially(" and wordz > 1")
        expect(result.get_by_role("alert")).to_contain_text("column 30 of")
        expect(page.locator("#preview-says")).to_contain_text("wordz")
        box.fill("")
        expect(result).to_be_empty()


def test_an_expression_is_tried_by_the_button(running: Running, browser: Browser) -> None:
    with person(browser, running.url, js=False, width=375) as reader:
        page = reader.open(POOL)
        page.get_by_role("textbox", name="Expression").fill("words > 2 and <b>")
        page.get_by_role("button", name="Show what it keeps").click()
        expect(page.get_by_role("alert")).to_contain_text("words > 2 and <b>")
        page.get_by_role("textbox", name="Expression").fill("words > 2")
        page.get_by_role("button", name="Show what it keeps").click()
        expect(page.locator("#preview .headline")).to_contain_text(re.compile(r"Would keep\s*46"))
        for which in ("Samples kept", "Samples dropped"):
            image = page.get_by_role("list", name=which).get_by_role("img").first
            image.scroll_into_view_if_needed()
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("image => image.naturalWidth") == 40
