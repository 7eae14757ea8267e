"""When a queued run may be expected to start: the plays as a function, and what is said over HTTP."""

from datetime import timedelta

import numpy as np
import pytest
from server_site import Site, uids

from datacomp.messages import Stage
from datacomp_server.models import Run
from datacomp_server.runs.forecast import Work, expected_waits

TRAIN = Work("board", Stage.TRAIN, False)
NEW = Work("other", Stage.TRAIN, False)
TEN = {TRAIN: [10.0]}


def spans(waits: list) -> list:
    return [None if wait is None else (round(wait.p50, 3), round(wait.p90, 3)) for wait in waits]


def test_what_always_takes_ten_seconds_is_told_to_the_second() -> None:
    assert spans(expected_waits([(TRAIN, 4.0)], [TRAIN] * 3, TEN)) == [(6, 6), (16, 16), (26, 26)]
    assert spans(expected_waits([None, (TRAIN, 4.0)], [TRAIN] * 3, TEN)) == [(0, 0), (6, 6), (10, 10)]


def test_nobody_and_the_unknown_are_not_guessed_at() -> None:
    assert expected_waits([], [TRAIN], TEN) == [None]
    assert spans(expected_waits([None], [NEW, TRAIN], TEN)) == [(0, 0), None], "the first starts, nobody knows how long"
    assert spans(expected_waits([None, (NEW, 5.0)], [TRAIN, TRAIN], TEN)) == [(0, 0), (10, 10)]
    assert expected_waits([(NEW, 5.0)], [TRAIN], TEN) == [None]


def test_what_takes_longer_than_ever_before_has_as_long_again() -> None:
    (wait,) = expected_waits([(TRAIN, 40.0)], [TRAIN], TEN)
    assert wait is not None
    assert 15 < wait.p50 < 25
    assert 30 < wait.p90 <= 40


def test_plays_agree_with_the_distribution_that_they_draw_from() -> None:
    took = list(np.random.default_rng(1).gamma(4.0, 25.0, 300))
    waits = expected_waits([(TRAIN, 0.0)], [TRAIN] * 4, {TRAIN: took})
    first, last = waits[0], waits[3]
    assert first is not None
    assert last is not None
    assert first.p50 == pytest.approx(np.median(took), rel=0.15)
    assert first.p90 == pytest.approx(np.percentile(took, 90), rel=0.15)
    assert last.p50 == pytest.approx(4 * np.mean(took), rel=0.1)
    assert last.p90 - last.p50 < 4 * (first.p90 - first.p50), "long and short ones even out"


def test_the_same_queue_has_the_same_answer_and_the_far_end_none() -> None:
    line = [TRAIN] * 250
    history = {TRAIN: [5.0, 10.0, 60.0]}
    waits = expected_waits([None] * 3, line, history)
    assert waits == expected_waits([None] * 3, line, history)
    assert len(waits) == 250
    assert waits[199] is not None
    assert waits[200] is None


def test_the_queue_says_when_a_run_is_expected_to_start(site: Site) -> None:
    done = site.score("ada", uids(1))
    with site.app.state.database.write() as session:
        for run in session.query(Run).filter(Run.submission_id == done.id):
            run.started_at = run.finished_at - timedelta(seconds=600)
    for seed in (2, 3, 4):
        site.submit("ada", uids(seed))
    site.worker().must_claim(Stage.VALIDATE)
    (lane,) = [lane for lane in site.http.get("/api/queue").json()["queues"] if lane["name"] == "cpu"]
    running, first, second = lane["runs"]
    assert running["starts_p50"] is None
    assert first["starts_p50"] < second["starts_p50"] <= second["starts_p90"]
    waits = site.receipt(first["submission"]).runs[0]
    assert waits.waiting_note.startswith("position 1 of 2 in queue cpu; expected to start at about ")
    page = site.http.get("/queue").text
    assert "in 10 min 00 s" in page or "in 9 min" in page
    assert "in 20 min 00 s" in page or "in 19 min" in page
