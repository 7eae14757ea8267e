"""Orders of a board from columns in memory: what the database would say, in every order, after every change."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, uids

from datacomp_server.leaderboard import columns
from datacomp_server.leaderboard.columns import MOST_BOARDS, Columns, Kept, columns_of, pack
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.order import Means, Order
from datacomp_server.leaderboard.repository import _listed
from datacomp_server.submissions.models import Submission

KEYS = ("rank", "average", "delta", "main", "task:mini/colours", "task:mini/shift", "task:mini/uncounted", "task:none")
RESULTS = ((4, 0), (6, 8), (6, 2), (1, 8), (4, None), (8, 1), (None, 3))
"""Of 8 items of two tasks; ties, and gaps."""


def fill(site: Site) -> list[str]:
    """Entries with those results, the missing ones taken out afterwards."""
    made = []
    for number, (colours, shift) in enumerate(RESULTS):
        made.append(site.score(f"party-{number}", uids(number), colours=colours or 0, shift=shift or 0).id)
    with site.database.write() as session:
        for submission, (colours, shift) in zip(made, RESULTS, strict=True):
            score = session.get_one(Score, submission)
            tasks = {key: dict(found) for key, found in score.tasks.items()}
            for key, value in (("mini/colours", colours), ("mini/shift", shift)):
                if value is None:
                    tasks[key]["value"] = None
            score.tasks, score.task_values = tasks, pack(tasks)
            if colours is None:
                score.average, score.main, score.standing = None, None, 1e300
                score.public_average, score.public_main, score.public_standing = None, None, 1e300
    return made


def said_by_the_database(site: Site, order: Order) -> list[str]:
    with site.database.read() as session:
        query = sa.select(Score.submission_id).join(Submission, Submission.id == Score.submission_id)
        return list(session.scalars(query.where(*_listed("small-board")).order_by(*order.terms(Means(public=False)))))


def asked(site: Site, order: Order, limit: int = 1000, offset: int = 0) -> list[dict[str, Any]]:
    address = f"/api/leaderboard?board=small-board&sort={order.key}&descending={order.descending}"
    rows: list[dict[str, Any]] = site.http.get(f"{address}&limit={limit}&offset={offset}").json()["rows"]
    return rows


def test_every_order_is_the_databases(site: Site) -> None:
    fill(site)
    for key in KEYS:
        for descending in (False, True):
            order = Order(key, descending)
            expected = said_by_the_database(site, order)
            rows = asked(site, order)
            assert [row["submission"] for row in rows] == expected, order
            pages = [row["submission"] for offset in range(0, 9, 3) for row in asked(site, order, 3, offset)]
            assert pages == expected, order
    ranks = said_by_the_database(site, Order())
    for key in ("method", "date", "task:mini/shift"):
        for row in asked(site, Order(key)):
            place = ranks.index(row["submission"]) + 1
            assert row["rank"] == (None if row["score"] is None else place)


def test_what_changes_is_seen_at_once(site: Site) -> None:
    by_task = Order("task:mini/colours", descending=True)
    first = site.score("ada", uids(1), colours=4)
    assert [row["submission"] for row in asked(site, by_task)] == [first.id]
    second = site.score("ben", uids(2), colours=6)
    assert [row["submission"] for row in asked(site, by_task)] == [second.id, first.id]
    assert site.act("organiser", second.id, "withdraw").status_code == 200
    assert [row["submission"] for row in asked(site, by_task)] == [first.id]


@ONLY_SQLITE
def test_nothing_is_read_again_while_nothing_changes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.score("ada", uids(1))
    loads: list[str] = []
    load = columns._load

    def counted(session: Any, board: Any, means: Means) -> Columns:
        loads.append(board.name)
        return load(session, board, means)

    monkeypatch.setattr(columns, "_load", counted)
    for key in KEYS:
        asked(site, Order(key, descending=True))
    assert len(loads) == 1
    with site.database.read() as session:
        board = session.scalars(sa.select(Submission)).one().board
        kept = columns_of(session, board, Means(public=False))
    assert kept.tasks.shape == (len(kept.keys), 1)


def columns_named(name: str) -> Columns:
    nothing = np.zeros(1)
    return Columns([name], nothing, nothing, (), np.zeros((0, 1)))


def test_one_loads_and_the_others_have_what_was_there() -> None:
    kept, loading, go_on = Kept(), threading.Event(), threading.Event()
    assert kept.get("board", 1, lambda: columns_named("old")).ids == ["old"]

    def slowly() -> Columns:
        loading.set()
        assert go_on.wait(30)
        return columns_named("new")

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(kept.get, "board", 2, slowly)
        assert loading.wait(30)
        assert kept.get("board", 2, lambda: pytest.fail("two load")).ids == ["old"]
        go_on.set()
        assert one.result(30).ids == ["new"]
    assert kept.get("board", 2, lambda: pytest.fail("it is there")).ids == ["new"]


def test_a_load_that_fails_is_tried_again_and_few_boards_are_kept() -> None:
    kept = Kept()

    def fail() -> Columns:
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        kept.get(0, 1, fail)
    for board in range(MOST_BOARDS + 3):
        assert kept.get(board, 1, lambda board=board: columns_named(str(board))).ids == [str(board)]
    assert len(kept._kept) == MOST_BOARDS
    assert kept.get(0, 1, lambda: columns_named("again")).ids == ["again"]
