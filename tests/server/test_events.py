"""The event stream, over a real socket."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from server_site import Site, uids

from datacomp.client import Client
from datacomp.messages import EventOut
from datacomp_server.models import Event


@contextmanager
def listening(client: Client, submission: str, last: int = 0) -> Iterator[list[EventOut]]:
    """Events as they come in; on exit the stream must end by itself."""
    heard: list[EventOut] = []

    def listen() -> None:
        for event in client.events(submission, last):
            heard.append(event)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield heard
    thread.join(timeout=15)
    assert not thread.is_alive(), "the stream did not end"


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def states(heard: list[EventOut]) -> list[str | None]:
    return [event.after for event in heard if event.what == "state" and event.run is None]


def test_history_then_live_then_the_end(site: Site, address: str) -> None:
    client = Client(address)
    receipt = site.submit("ada", uids(1))
    with listening(client, receipt.id) as heard:
        wait_for(lambda: "validating" in states(heard))
        attempt = site.worker().must_claim()
        attempt.beat(progress={"done": 5, "total": 10, "unit": "rows"})
        wait_for(lambda: any(event.progress and event.progress.done == 5 for event in heard))
        assert attempt.finish().status_code == 204
        site.worker().work()
    assert states(heard) == ["uploading", "validating", "subsetting", "training", "evaluating", "scored"]
    numbers = [event.id for event in heard if event.what == "state"]
    assert numbers == sorted(set(numbers))
    moves = [
        (event.before, event.after) for event in heard if event.run == receipt.runs[0].id and event.what == "state"
    ]
    assert moves == [("waiting", "queued"), ("queued", "running"), ("running", "done")]
    assert {event.actor for event in heard} >= {"participant:ada", "worker:worker-1"}


def test_a_reader_who_comes_back_misses_nothing_and_hears_nothing_twice(site: Site, address: str) -> None:
    client = Client(address)
    receipt = site.score("ada", uids(2))
    everything = list(client.events(receipt.id))
    rest = list(client.events(receipt.id, last=everything[3].id))
    assert rest == everything[4:]
    assert list(client.events(receipt.id, last=everything[-1].id)) == []


def test_the_form_that_browsers_read(site: Site, address: str) -> None:
    receipt = site.open("ada", uids(3))
    site.act("ada", receipt.id, "cancel")
    reply = httpx.get(f"{address}/api/submissions/{receipt.id}/events", headers={"Last-Event-ID": "nonsense"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = [block.split("\n") for block in reply.text.strip().split("\n\n")]
    assert blocks[0] == ["retry: 1000"]
    kinds = [[line.split(":")[0] for line in block] for block in blocks[1:]]
    assert kinds == [["id", "event", "data"]] * 2
    assert json.loads(blocks[2][2].removeprefix("data: "))["after"] == "cancelled"
    unknown = httpx.get(f"{address}/api/submissions/0000000000000000/events")
    assert unknown.status_code == 404


def test_history_can_neither_be_changed_nor_deleted(site: Site) -> None:
    receipt = site.submit("ada", uids(4))
    before = list(site.http.get(f"/api/submissions/{receipt.id}").json()["runs"])
    for statement in (
        "update events set reason = 'nothing happened'",
        "update events set after = 'scored'",
        "update events set actor = 'organiser:eve'",
        "update events set actor = 'participant:deleted', before = 'scored'",
        "delete from events",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), site.database.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert site.http.get(f"/api/submissions/{receipt.id}").json()["runs"] == before


def test_an_actor_whose_account_is_deleted_loses_the_name_and_nothing_else(site: Site) -> None:
    receipt = site.submit("ada", uids(5))
    with site.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "update events set actor = 'participant:deleted-1', reason = 'opened' where actor = 'participant:ada'"
        )
    with site.database.read() as session:
        actors = set(session.scalars(sa.select(Event.actor).where(Event.submission_id == receipt.id)))
    assert actors == {"participant:deleted-1"}
