"""Every message five times, in any order after the first: the database is the same as if each had come once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from faults import SEED, share
from invariants import check_invariants
from server_site import ONLY_SQLITE, Attempt, Site, running, uids
from servers import postgres_schema
from snapshots import snapshot

from datacomp_server import schema
from datacomp_server.database import Database
from datacomp_server.runs.dispatcher import Dispatcher
from datacomp_server.runs.doorbell import Doorbell
from datacomp_server.settings import Settings

pytestmark = ONLY_SQLITE  # of the fixture: each history makes a database of its own, of either kind
METHODS = ("first", "second", "fails at our end", "fails at theirs", "a filter")


@dataclass
class Recorder:
    """A doorbell that keeps its rings."""

    rings: int = 0

    def ring(self, queue: str) -> None:
        self.rings += 1

    def waiting(self, queue: str) -> int:
        return self.rings


@dataclass
class Post:
    """Delivers messages: each at once when its turn comes, and its copies at any later time."""

    site: Site
    rng: random.Random
    times: int
    waiting: list[Callable[[], Any]] = field(default_factory=list)
    delivered: int = 0

    def send(self, message: Callable[[], Any], then: Callable[[], None] = lambda: None) -> None:
        def first() -> None:
            message()
            for _ in range(self.times - 1):
                self.waiting.insert(self.rng.randint(0, len(self.waiting)), message)
            then()

        self.waiting.append(first)

    def deliver_all(self) -> None:
        while self.waiting:
            self.delivered += 1
            self.waiting.pop(0)()

    def ring(self) -> None:
        """A worker hears a ring: it claims a run, and what it says about it goes by post."""
        attempt = self.site.worker().claim()
        if attempt is not None:
            steps = list(messages(attempt, self.site.receipt(attempt.job.submission).method))
            self.send_in_turn(steps)

    def send_in_turn(self, steps: list[Callable[[], Any]]) -> None:
        """A worker says the next thing when the one before was answered; copies of that one may still come."""
        if steps:
            self.send(steps[0], lambda: self.send_in_turn(steps[1:]))


def messages(attempt: Attempt, method: str) -> Iterator[Callable[[], Any]]:
    """What a worker says of an attempt, in order."""
    yield lambda: attempt.beat(usage={"device": "cpu", "count": 2, "seconds": 0.1, "cpu_seconds": 0.2})
    if method.startswith("fails") and attempt.job.stage == "subset":
        yield lambda: attempt.fail("platform" if "our" in method else "participant")
        return
    result, files = attempt.output(5, None)
    refs: list[Any] = []
    for name, content in files.items():

        def store(name: str = name, content: bytes = content) -> None:
            reply = attempt.store(name, content)
            if reply.status_code == 200 and reply.json() not in refs:
                refs.append(reply.json())

        yield store
    yield lambda: attempt.post("finish", result=result, outputs=refs)


def history(site: Site, times: int, seed: int) -> tuple[Any, int]:
    """Everything handed in and worked on to the end; returns the database's content and the number of messages."""
    rng = random.Random(seed)
    post, bell = Post(site, rng, times), Recorder()
    for number, method in enumerate(METHODS):
        kind = {"kind": "code", "filename": "f.py"} if method == "a filter" else {}
        opened = site.open("ada", uids(number), method=method, **kind)
        for _ in range(times):
            assert site.send("ada", opened.id, uids(number)).status_code == 200
    with Doorbell(site.settings):
        dispatcher = Dispatcher(site.database, site.settings, site.storage, bell)  # type: ignore[arg-type]
    while True:
        dispatcher.deliver()
        if not bell.rings:
            break
        for _ in range(bell.rings):
            post.send(post.ring)
        bell.rings = 0
        post.deliver_all()
    check_invariants(site.database)
    return snapshot(site.database), post.delivered


@contextmanager
def fresh(kind: str, template: Path, folder: Path) -> Iterator[str]:
    """URL of an empty, migrated database."""
    folder.mkdir(parents=True)
    if kind == "sqlite":
        shutil.copy(template, folder / "datacomp.sqlite3")
        yield f"sqlite:///{folder / 'datacomp.sqlite3'}"
        return
    with postgres_schema() as url:
        database = Database(url)
        schema.migrate(database)
        database.close()
        yield url


def compare(
    kind: str, seeds: list[int], template: Path, folder: Path, make_settings: Callable[..., Settings]
) -> tuple[int, int]:
    """Histories with copies against one without; returns the number of messages without and with copies."""
    found: list[tuple[Any, int]] = []
    for number, (times, seed) in enumerate([(1, 0), *((5, seed) for seed in seeds)]):
        with (
            fresh(kind, template, folder / str(number)) as url,
            running(make_settings(database_url=url, storage_url=f"file://{folder / str(number) / 's'}")) as site,
        ):
            found.append(history(site, times, seed))
    once = found[0][0]
    for content, _ in found[1:]:
        for table, rows in once.items():
            assert content[table] == rows, table
    return found[0][1], sum(delivered for _, delivered in found[1:])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_five_copies_of_every_message_change_nothing(
    kind: str, sqlite_template: Path, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    once, copies = compare(kind, [SEED], sqlite_template, tmp_path / "copies", make_settings)
    assert copies > 4 * once


@pytest.mark.faults
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_five_copies_of_every_message_in_many_orders(
    kind: str,
    sqlite_template: Path,
    tmp_path: Path,
    make_settings: Callable[..., Settings],
    summary: Callable[[str], None],
) -> None:
    seeds = [SEED + 1 + number for number in range(share(10))]
    once, copies = compare(kind, seeds, sqlite_template, tmp_path / "copies", make_settings)
    summary(f"{len(seeds)} orders of {copies // len(seeds)} messages in place of {once}: the same database")
