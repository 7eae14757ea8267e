"""An organiser in a browser, without JavaScript: finds what failed, takes it up again, rejudges a board. Then every
page is looked at by axe-core, which needs scripts."""

from playwright.sync_api import Browser, expect
from site_place import PASSWORD, Running, person, serious

from datacomp.messages import Stage
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import AccountService

PAGES = [
    "/organise",
    "/organise/runs",
    "/organise/users",
    "/organise/users/tobias",
    "/organise/boards/filtering-tiny",
    "/organise/boards/filtering-tiny/rescore",
    "/audit",
    "/trends",
]


def test_an_organiser_mends_and_looks(browser: Browser, running: Running) -> None:
    site = running.site
    with site.database.write() as session:
        AccountService(session, site.settings).create_user("olga", Role.ORGANISER, PASSWORD)
    running.scored("tobias", "Judged before", right=5)
    broken = running.submitted("tobias", "Ended by a full disk")
    worker = site.worker("mender")
    worker.must_claim(Stage.VALIDATE).finish()
    for _ in range(site.settings.max_attempts):
        worker.must_claim().fail("platform", "disk-full")
    with person(browser, running.url, js=False, width=375) as olga:
        page = olga.sign_in("olga", "/organise")
        expect(page.get_by_role("link", name="Organise")).to_have_attribute("aria-current", "page")
        page.get_by_role("navigation", name="Organisers").get_by_role("link", name="Runs").click()
        page.get_by_label("Failed with").fill("disk-full")
        page.get_by_role("button", name="Show").click()
        page.get_by_label("Choose Ended by a full disk").check()
        page.get_by_role("button", name="Take up again").click()
        expect(page.get_by_role("cell", name="is queued, with all attempts anew")).to_be_visible()
        page.get_by_label("Reason").fill("the disk has room again")
        page.get_by_role("button", name="Take up again").click()
        expect(page.get_by_role("status")).to_have_text("Done, for 1 submission.")
        assert site.receipt(broken.id).state != "failed"

        page.goto(f"{running.url}/organise/boards/filtering-tiny")
        page.get_by_role("button", name="Show what would change").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Score Filtering, tiny again")
        expect(page.get_by_text("there is nothing to apply")).to_be_visible()
        page.goto(f"{running.url}/audit?actor=olga&board=filtering-tiny")
        expect(page.get_by_role("row", name="submission-requeued")).to_contain_text("the disk has room again")
    with person(browser, running.url, width=375, dark=True) as olga:
        page = olga.sign_in("olga", "/organise")
        for path in PAGES:
            page.goto(running.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
            assert serious(page) == [], path
    site.act("organiser", broken.id, "cancel")
