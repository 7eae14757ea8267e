"""The server, the dispatcher or a worker's call dies at a commit: before it, or after it and before anybody heard.

One story takes two equal submissions, one that keeps failing and one that is cancelled, to their ends. Whoever was
killed asks again, as clients and workers do; what must hold in the database then holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from commit_faults import Killed, Moment, boundaries
from invariants import check_invariants
from server_site import Attempt, Site, running, uids

from datacomp_server.clock import now
from datacomp_server.models import Attempt as AttemptRow
from datacomp_server.models import Submission
from datacomp_server.runs.claiming import Claims
from datacomp_server.runs.dispatcher import Dispatcher
from datacomp_server.runs.doorbell import Doorbell
from datacomp_server.settings import Settings


@dataclass
class Story:
    """Everything that people, workers and the dispatcher do, each asking again until there is an answer."""

    site: Site
    number: int
    """Every telling has people and subsets of its own."""

    @property
    def people(self) -> tuple[str, str]:
        return f"ada-{self.number}", f"grace-{self.number}"

    def insist(self, act: Callable[[], Any]) -> Any:
        while True:
            try:
                return act()
            except Killed:
                continue

    def submit(self, name: str, content: bytes) -> str:
        submission: str = self.insist(lambda: self.site.open(name, content)).id
        reply = self.insist(lambda: self.site.send(name, submission, content))
        assert reply.status_code == 200, reply.text
        return submission

    def work(self, failing: str = "") -> None:
        """Carry out all there is; runs of the submission `failing` fail by a fault of ours."""
        worker = self.site.worker()
        while True:
            self.dispatch()
            attempt = self.insist(worker.claim)
            if attempt is not None:
                self.carry_out(attempt, failing)
            elif not self.lose_leases():
                return

    def carry_out(self, attempt: Attempt, failing: str) -> None:
        reply = self.insist(lambda: attempt.beat(log="beat\n"))
        assert reply.status_code == 200
        if attempt.job.submission == failing:
            assert self.insist(lambda: attempt.fail("platform")).status_code == 204
            return
        result, files = attempt.output(5, None)
        refs = [self.insist(lambda name=name: attempt.store(name, files[name])).json() for name in files]
        reply = self.insist(lambda: attempt.post("finish", result=result, outputs=refs))
        assert reply.status_code == 204, reply.text

    def dispatch(self) -> None:
        """A dispatcher that was started again after every kill."""

        def step() -> None:
            with Doorbell(self.site.settings) as doorbell:
                Dispatcher(self.site.database, self.site.settings, self.site.storage, doorbell).step()

        self.insist(step)

    def lose_leases(self) -> int:
        """Let the leases run out of attempts whose claim nobody heard of; returns how many there were."""
        with self.site.database.engine.begin() as connection:
            open_now = sa.update(AttemptRow).where(AttemptRow.state == "open").values(lease_until=now())
            lost = connection.execute(open_now).rowcount
        self.insist(Claims(self.site.database, self.site.settings, self.site.storage).expire)
        return lost

    def abandon_uploads(self) -> None:
        """What was opened by a request whose answer was lost gets no file; its time runs out."""
        with self.site.database.engine.begin() as connection:
            long_ago = now() - timedelta(seconds=self.site.settings.upload_seconds + 1)
            stale = sa.update(Submission).where(Submission.state == "uploading").values(created_at=long_ago)
            connection.execute(stale)
        self.dispatch()

    def tell(self) -> None:
        (ada, grace), seed = self.people, 3 * self.number
        scored = [self.submit(name, uids(seed)) for name in self.people]
        failing, cancelled = self.submit(ada, uids(seed + 1)), self.submit(grace, uids(seed + 2))
        reply = self.insist(lambda: self.site.act(grace, cancelled, "cancel"))
        assert reply.json()["state"] == "cancelled"
        self.work(failing)
        self.abandon_uploads()
        assert [self.site.receipt(submission).state for submission in scored] == ["scored", "scored"]
        failed = self.site.receipt(failing)
        assert (failed.state, failed.quota_refunded) == ("failed", True)
        check_invariants(self.site.database)


def prepared(site: Site, number: int = 0) -> Story:
    """People have accounts, and their tokens were noted as used: that is other tests' business."""
    story = Story(site, number)
    for name in (*story.people, "organiser", "worker"):
        assert site.http.get("/api/accounts/me", headers=site.headers(name)).status_code == 200
    return story


def test_every_commit_is_killed_before_and_after_it_happened(make_settings: Callable[..., Settings]) -> None:
    """In one pass: of every three commits one is killed before it happened, one after it, and one goes through."""
    rng = random.Random(1)
    with running(make_settings(max_attempts=6)) as site:
        story = prepared(site)
        with boundaries(site.database, lambda _: rng.choice([*Moment, None])) as made:
            story.tell()
        assert made.kills[Moment.BEFORE] > 20
        assert made.kills[Moment.AFTER] > 20


@pytest.mark.faults
@pytest.mark.timeout(3000)
def test_every_commit_boundary_by_enumeration(
    make_settings: Callable[..., Settings], summary: Callable[[str], None]
) -> None:
    """The whole story anew for every commit in it, killed before and after, until a story has no such commit."""
    kills = number = 0
    with running(make_settings(max_attempts=6)) as site:
        while kills == 2 * number:
            number += 1
            for moment in Moment:
                story = prepared(site, 2 * number + (moment is Moment.AFTER))
                with boundaries(site.database, lambda at, n=number, when=moment: when if at == n else None) as made:
                    story.tell()
                kills += made.kills.total()
    assert kills > 120
    summary(f"{kills} kills, before and after each commit of the story; all histories in order")
