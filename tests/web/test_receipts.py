"""A receipt while its submission goes through: live with JavaScript, complete without."""

import re

from playwright.sync_api import Browser, expect
from server_site import Stage
from site_place import Running, person


def test_live_from_queued_to_scored(running: Running, browser: Browser) -> None:
    running.join("liver")
    receipt = running.submitted("liver", "Live")
    path = f"/submissions/{receipt.id}"
    worker = running.site.worker()
    with person(browser, running.url) as owner, person(browser, running.url, js=False) as plain:
        page = owner.sign_in("liver", path)
        title = page.get_by_role("heading", level=1)
        expect(title).to_have_text("Live validating")
        expect(page.get_by_role("region", name="Waiting in the queue")).to_contain_text("Next stage: Validate")

        for stage, heading in (
            (Stage.VALIDATE, "deduplicating"),
            (Stage.DEDUP, "subsetting"),
            (Stage.SUBSET, "training"),
        ):
            worker.must_claim(stage).finish()
            expect(title).to_have_text(f"Live {heading}")
        attempt = worker.must_claim(Stage.TRAIN)
        progress = {"done": 10_240, "total": 20_480, "unit": "samples", "rate": 640, "values": {"loss": 1.25}}
        attempt.beat(progress=progress, log="a line\n")
        train = page.locator(".timeline li", has=page.get_by_role("heading", name="Train"))
        expect(train).to_contain_text("10\u202f240 of 20\u202f480 samples, 640 samples/s, about 16 s left · loss 1.25")
        expect(train).to_contain_text("Attempt 1 on worker-1")
        expect(train).to_contain_text("Next deadline")
        expect(train.locator("pre.log")).to_have_text("a line")

        # What the reader opened stays open while parts are replaced.
        first = page.locator(".timeline li").first
        first.get_by_text("Result").click()
        expect(first).to_contain_text("repeats")
        attempt.finish()
        expect(title).to_have_text("Live evaluating")
        expect(first).to_contain_text("repeats")
        worker.must_claim(Stage.EVALUATE).finish(colours=6)
        expect(title).to_have_text("Live scored")
        expect(page).to_have_title(re.compile("^Live: scored"))
        expect(page.locator(".headline")).to_contain_text("0.750")
        expect(page.get_by_role("region", name="Scores per task").last).to_contain_text("Dist. shifts")
        assert page.locator("#announce").inner_text() == "State: scored"

        still = plain.open(path)
        expect(still.get_by_role("heading", level=1)).to_have_text("Live scored")
        expect(still.locator(".timeline li.done")).to_have_count(5)
        expect(still.get_by_role("button", name="Withdraw")).to_have_count(0)
        still.locator(".headline").get_by_role("link", name="verified").click()
        expect(still.get_by_role("heading", level=1)).to_have_text("Manifest")
        manifest = running.site.http.get(f"/api/submissions/{receipt.id}/manifest").json()
        assert manifest["digest"] in still.locator("main").inner_text()


def test_withdrawing_leaves_the_board(running: Running, browser: Browser) -> None:
    running.join("leaver")
    running.scored("leaver", "Regretted", 8)
    with person(browser, running.url, js=False) as owner:
        page = owner.sign_in("leaver", "/account")
        page.get_by_role("link", name="Regretted").click()
        page.get_by_text("Withdraw from the leaderboard").click()
        page.get_by_role("button", name="Withdraw").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Regretted withdrawn")
        page.goto(f"{running.url}/boards/filtering-tiny")
        expect(page.get_by_text("Regretted")).to_have_count(0)


def test_too_late_to_cancel_is_said_on_the_receipt(running: Running, browser: Browser) -> None:
    running.join("slow")
    receipt = running.submitted("slow", "Overtaken")
    with person(browser, running.url, js=False) as owner:
        page = owner.sign_in("slow", f"/submissions/{receipt.id}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overtaken validating")
        running.site.worker().work(colours=1)
        page.get_by_role("button", name="Cancel this submission").click()
        expect(page.get_by_role("alert")).to_contain_text("The submission is scored and cannot be cancelled")
        expect(page.get_by_role("heading", level=1)).to_have_text("Overtaken scored")


def test_others_may_look_but_not_touch(running: Running, browser: Browser) -> None:
    receipt = running.submitted("owner", "Mine")
    with person(browser, running.url, js=False) as stranger:
        stranger.sign_up("stranger")
        page = stranger.open(f"/submissions/{receipt.id}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Mine validating")
        expect(page.get_by_role("button", name="Cancel this submission")).to_have_count(0)
        page.locator("form").evaluate(
            "(form, action) => { form.action = action; }", f"/submissions/{receipt.id}/cancel"
        )
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("403 Not allowed")
    assert running.site.receipt(receipt.id).state == "validating"
    running.site.act("organiser", receipt.id, "cancel")
