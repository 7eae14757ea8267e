"""Rank ranges from scoring to the page: swept after every change, never shown for what has none."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, running, uids, write_boards
from typer.testing import CliRunner

from datacomp.cli import build
from datacomp.statistics.intervals import wilson
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.clock import now
from datacomp_server.leaderboard.models import RankChange, RankSweep, Score
from datacomp_server.leaderboard.ranking import Ranker, place
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.sweeps import Entry, SweepRepository
from datacomp_server.settings import Settings


def ranges(site: Site) -> dict[str, tuple[int | None, int | None]]:
    return {row.submission or "": (row.rank_lo, row.rank_hi) for row in site.board().rows}


def put(site: Site, submission: str, **values: object) -> None:
    """Figures of an entry, and word of the change."""
    with site.database.write() as session:
        session.execute(sa.update(Score).where(Score.submission_id == submission).values(values))
        ScoreRepository(session).note_change("small-board")


def test_a_score_is_stored_with_its_intervals_and_swept_into_ranges(site: Site) -> None:
    first, second = site.score("ada", uids(1), colours=6), site.score("ben", uids(2), colours=5)
    assert ranges(site) == {first.id: (None, None), second.id: (None, None)}
    assert site.board().ranks_pending
    ranker = Ranker(site.database)
    assert [(report.entries, report.written) for report in ranker.sweep_due()] == [(2, 2)]
    assert ranges(site) == {first.id: (1, 2), second.id: (1, 2)}  # of 8 items a task nobody can tell
    put(site, first.id, sampling_variance=1e-6, public_sampling_variance=1e-6)
    put(site, second.id, sampling_variance=1e-6, public_sampling_variance=1e-6)
    assert ranker.sweep("small-board") is not None
    assert ranges(site) == {first.id: (1, 1), second.id: (2, 2)}
    board = site.board()
    assert (board.ranks_pending, board.ranked) == (False, 2)
    row = board.rows[0]
    assert (row.tries, row.seeds, row.holm_lo, row.holm_hi) == (1, 1, 1, 1)
    assert board.seed_deviation is not None
    assert (board.seed_deviation.average, board.seed_deviation.main, board.seed_deviation.source) == (
        0.004, 0.003, "default",
    )  # fmt: skip
    with site.database.read() as session:
        stored = session.get_one(Score, first.id)
        known = wilson(6, 8)
        assert stored.tasks["mini/colours"]["lo"] == pytest.approx(known.lo)
        assert stored.tasks["mini/colours"]["hi"] == pytest.approx(known.hi)
        of_task = stored.tasks["mini/colours"]["variance"]
        assert stored.variances is not None
        assert stored.variances["average"] == pytest.approx(of_task / 2)  # two counted tasks of the same outcome
        assert stored.variances["main"] == pytest.approx(of_task)
    score = site.receipt(first.id).score
    assert score is not None
    assert score.average_lo is not None
    assert score.average_lo < 0.75 < (score.average_hi or 0)
    assert (score.other_tasks_lo, score.other_tasks_hi) == (0.75, 0.75)


@ONLY_SQLITE
def test_what_is_withdrawn_leaves_the_ranks_but_counts_as_a_try(site: Site) -> None:
    kept, gone = site.score("ada", uids(1), colours=6), site.score("ada", uids(2), colours=2)
    Ranker(site.database).sweep_due()
    assert {row.tries for row in site.board().rows} == {2}
    assert site.act("ada", gone.id, "withdraw").status_code == 200
    Ranker(site.database).sweep_due()
    assert ranges(site) == {kept.id: (1, 1)}
    assert [row.tries for row in site.board().rows] == [2]


@ONLY_SQLITE
def test_without_a_finite_average_there_is_no_range(site: Site) -> None:
    broken, good = site.score("ada", uids(1)), site.score("ben", uids(2), colours=1)
    put(site, broken.id, average=None, standing=1e300)
    Ranker(site.database).sweep_due()
    assert ranges(site) == {good.id: (1, 1), broken.id: (None, None)}
    page = site.http.get("/boards/small-board").text
    assert "95% interval of the difference" in page


@ONLY_SQLITE
def test_ranges_go_by_the_means_that_are_shown(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()

    def reveal(hours: float) -> None:
        at = (now() + timedelta(hours=hours)).isoformat()
        write_boards(settings.data_dir, f'{ONE_BOARD}\nprivate_tasks = ["mini/shift"]\nreveals_at = {at}')

    reveal(1)
    with running(settings) as site:
        first = site.score("ada", uids(1), colours=6, shift=0)
        second = site.score("ben", uids(2), colours=4, shift=8)
        tight = {"sampling_variance": 1e-6, "public_sampling_variance": 1e-6}
        for entry in (first, second):
            put(site, entry.id, **tight)
        Ranker(site.database).sweep_due()
        assert ranges(site) == {first.id: (1, 1), second.id: (2, 2)}
    reveal(-1)
    with running(settings) as site:
        assert ranges(site) == {first.id: (None, None), second.id: (None, None)}  # those of before do not hold
        Ranker(site.database).sweep_due()
        assert ranges(site) == {first.id: (2, 2), second.id: (1, 1)}


def test_a_sweep_that_is_overtaken_writes_no_more_and_one_that_died_is_begun_anew(site: Site) -> None:
    site.score("ada", uids(1))
    at = now()
    with site.database.write() as session:
        number = SweepRepository(session).begin("small-board", at, at - timedelta(seconds=120))
    assert number == 1
    assert Ranker(site.database).sweep("small-board") is None  # that one is at it
    with site.database.write() as session:
        session.execute(sa.update(RankSweep).values(begun_at=at - timedelta(seconds=300)))
    assert Ranker(site.database).sweep("small-board") is not None
    with site.database.write() as session:
        assert not SweepRepository(session).is_at("small-board", number)
        assert session.scalar(sa.select(sa.func.count()).select_from(RankChange)) == 0


@ONLY_SQLITE
def test_differences_to_the_baseline_have_intervals_and_files_have_everything(site: Site) -> None:
    site.score("pinned", uids(1), colours=4)
    site.score("ada", uids(2), colours=6)
    Ranker(site.database).sweep_due()
    best, base = site.board().rows
    assert best.delta_lo is not None
    assert best.delta_lo < 0.25 < (best.delta_hi or 0)
    assert (base.delta_to_baseline, base.delta_lo) == (0.0, None)
    told, own = (site.receipt(row.submission or "").score for row in (best, base))
    assert told is not None
    assert told.baseline is not None
    assert (told.rank_lo, told.rank_hi, told.ranked) == (best.rank_lo, best.rank_hi, 2)
    assert (told.baseline.submission, told.baseline.lo) == (base.submission, best.delta_lo)
    assert {task.task: task.delta_to_baseline for task in told.tasks}["mini/colours"] == pytest.approx(0.25)
    assert own is not None
    assert own.baseline is not None
    assert (own.baseline.submission, own.baseline.delta, own.baseline.lo) == (base.submission, 0.0, None)
    lines = list(csv.DictReader(io.StringIO(site.http.get("/boards/small-board/leaderboard.csv").text)))
    assert (lines[0]["rank_lo"], lines[0]["rank_hi"], lines[0]["tries"]) == ("1", "2", "1")
    assert float(lines[0]["delta_lo"]) == pytest.approx(best.delta_lo)


# --- boards at random


def test_random_boards_are_placed_by_the_rule() -> None:
    """Ties, gaps, infinities, unequal seeds: every range against all comparisons one by one."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(0, 25))
        scores = np.round(rng.normal(0.3, 0.02, n), int(rng.integers(2, 4)))
        entries = []
        for number in range(n):
            average = rng.choice([float(scores[number]), None, float("nan"), float("inf")], p=[0.85, 0.05, 0.05, 0.05])
            sampling = None if rng.random() < 0.2 else float(rng.choice([1e-6, 4e-6]))
            entries.append(Entry(str(number), average, int(rng.integers(1, 4)), sampling, str(number % 3)))
        found = place(entries, SeedDeviation(), {"0": 7})
        finite = [e for e in entries if e.average is not None and np.isfinite(e.average)]
        for entry, placed in zip(entries, found, strict=True):
            assert placed.tries == (7 if entry.party == "0" else 1)
            if entry not in finite:
                assert placed[1:5] == (0, 0, 0, 0)
                continue
            less = [_z(entry, other) for other in finite]
            better, worse = sum(z > 1.959963984540054 for z in less), sum(z < -1.959963984540054 for z in less)
            assert (placed.lo, placed.hi) == (1 + better, len(finite) - worse)
            assert placed.holm_lo <= placed.lo <= placed.hi <= placed.holm_hi


def _z(entry: Entry, other: Entry) -> float:
    variance = sum(0.004**2 / e.seeds + (e.sampling_variance or 0.0) for e in (entry, other))
    return ((other.average or 0.0) - (entry.average or 0.0)) / variance**0.5


# --- the deviation between seeds


@ONLY_SQLITE
def test_the_deviation_is_measured_from_replicates(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    write_boards(settings.data_dir, f"{ONE_BOARD}\nseeds = 2")
    with running(settings) as site:
        opened = site.submit("ada", uids(1))
        worker = site.worker()
        colours = iter((4, 6))
        while (attempt := worker.claim()) is not None:
            evaluates = attempt.job.stage == "evaluate"
            assert attempt.finish(colours=next(colours) if evaluates else 4).status_code == 204
        assert site.receipt(opened.id).state == "scored"
        monkeypatch.setenv("DATACOMP_DATABASE_URL", settings.database_url)
        monkeypatch.setenv("DATACOMP_DATA_DIR", str(settings.data_dir))

        def command(*words: str) -> str:
            done = CliRunner().invoke(build(), ["admin", "seed-deviation", "small-board", *words])
            assert done.exit_code == 0, done.output
            return done.output

        assert "average 0.0040, main 0.0030 (default)" in command()
        # Averages 0.5 and 0.75, of one subset: sd 0.25 / sqrt(2), one degree of freedom.
        assert "average 0.1768, main 0.1768 (measured, 1 degrees of freedom)" in command("--measure")
        board = site.board()
        assert board.seed_deviation is not None
        assert board.seed_deviation.average == pytest.approx(0.25 / 2**0.5)
        assert board.ranks_pending
        assert "average 0.0050, main 0.0030 (given)" in command("--default") + command("--set", "average=0.005")
        acts = site.http.get("/api/audit", headers=site.headers("organiser")).json()
        assert [line["details"]["source"] for line in acts if line["what"] == "seed-deviation"] == [
            "given", "default", "measured",
        ]  # fmt: skip


# --- comparing


def test_entries_are_compared_on_the_same_items(site: Site) -> None:
    first, second = site.score("ada", uids(1), colours=4), site.score("ben", uids(2), colours=6)
    reply = site.http.get(f"/api/compare?ids={first.id},{second.id}")
    assert reply.status_code == 200, reply.text
    found = reply.json()
    (pair,) = found["comparisons"]
    assert [entry["submission"] for entry in found["entries"]] == [first.id, second.id]
    assert pair["average"]["value"] == pytest.approx(0.25)
    colours = pair["tasks"][0]["difference"]
    assert (colours["paired"], colours["value"]) == (True, pytest.approx(0.25))
    # Two of eight items tell them apart: of 8 draws with a chance of a quarter none hits with 0.75^8 = 10%.
    assert (colours["lo"], colours["hi"]) == (0.0, pytest.approx(0.5, abs=0.13))
    same = site.http.get(f"/api/compare?ids={first.id}&ids={second.id}").json()
    assert same["comparisons"] == found["comparisons"]
    page = site.http.get(f"/compare?ids={first.id}&ids={second.id}")
    assert page.status_code == 200
    assert "<strong>differ</strong>" in page.text
    assert "Colours" in page.text


@ONLY_SQLITE
def test_what_cannot_be_compared_is_said(site: Site) -> None:
    shown, gone = site.score("ada", uids(1)), site.score("ben", uids(2))
    rehearsal = site.score("ben", uids(3), rehearsal=True)
    assert site.act("ben", gone.id, "withdraw").status_code == 200
    for ids, status, expected in (
        (shown.id, 422, ["compare-count"]),
        (f"{shown.id},{shown.id}", 422, ["compare-count"]),
        (",".join("abcde"), 422, ["compare-count"]),
        (f"{shown.id},nope", 404, ["entry-unknown"]),
        (f"{gone.id},{rehearsal.id}", 404, ["entry-unknown", "entry-unknown"]),
    ):
        reply = site.http.get(f"/api/compare?ids={ids}")
        assert (reply.status_code, codes(reply)) == (status, expected)
        page = site.http.get(f"/compare?ids={ids}")
        assert page.status_code == status
        assert "These cannot be compared" in page.text
    assert site.http.get("/compare").status_code == 200
