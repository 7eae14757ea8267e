"""What becomes of scores: the leaderboard and the manifest."""

import math
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, digest, uids

from datacomp.digests import digest_json
from datacomp.messages import ManifestOut, Stage
from datacomp.messages.manifest import MANIFEST_FORMAT, Manifest
from datacomp.scales import get_scale
from datacomp_server.leaderboard.models import UNRANKED, Score, standing_of


def put_average(site: Site, submission: str, average: float | None) -> None:
    with site.database.write() as session:
        values = {"average": average, "standing": standing_of(average)}
        session.execute(sa.update(Score).where(Score.submission_id == submission).values(values))


def test_rows_are_ranked_by_average_and_ties_by_the_earlier(site: Site) -> None:
    low = site.score("ada", uids(1), colours=2)
    late = site.score("grace", uids(2), colours=6)
    early = site.score("linus", uids(3), colours=6)
    with site.database.write() as session:
        moved = sa.update(Score).where(Score.submission_id == early.id)
        session.execute(moved.values(handed_in_at=datetime.now(UTC) - timedelta(days=3)))
    rows = site.board().rows
    assert [(row.rank, row.submission, row.score) for row in rows] == [
        (1, early.id, 0.75),
        (2, late.id, 0.75),
        (3, low.id, 0.25),
    ]
    assert rows[0].tasks == {"mini/colours": 0.75, "mini/shift": 0.75, "mini/uncounted": 0.5}
    assert rows[0].groups == {"main": 0.75, "shift": 0.75}
    assert (rows[0].main, rows[0].subset_size, rows[0].status, rows[0].participant) == (0.75, 50, "scored", "linus")
    assert rows[0].url == f"http://example.test/submissions/{early.id}"


def test_a_missing_average_is_never_ranked(site: Site) -> None:
    broken, good = site.score("ada", uids(1)), site.score("grace", uids(2), colours=1)
    assert {standing_of(missing) for missing in (None, math.nan, math.inf, -math.inf)} == {UNRANKED}
    put_average(site, broken.id, None)
    assert [(row.rank, row.submission, row.score) for row in site.board().rows] == [
        (1, good.id, 0.125),
        (None, broken.id, None),
    ]


@ONLY_SQLITE
def test_differences_are_to_the_best_baseline(site: Site) -> None:
    site.score("organiser", uids(1), colours=2)
    site.score("pinned", uids(2), colours=4)
    best = site.score("ada", uids(3), colours=6)
    rows = site.board().rows
    assert [(row.baseline, row.delta_to_baseline) for row in rows] == [(False, 0.25), (True, 0.0), (True, -0.25)]
    assert rows[0].submission == best.id


@ONLY_SQLITE
def test_without_a_baseline_there_is_no_difference(site: Site) -> None:
    site.score("ada", uids(1))
    assert [row.delta_to_baseline for row in site.board().rows] == [None]


def test_what_is_under_way_is_listed_unranked_and_failures_never(site: Site) -> None:
    scored = site.score("ada", uids(1))
    site.open("ada", uids(2))
    failed = site.submit("ada", uids(3))
    assert site.worker().must_claim().fail("participant").status_code == 204
    under_way = site.submit("grace", uids(4))
    site.worker().work_until(Stage.TRAIN)
    board = site.board()
    assert [(row.submission, row.rank, row.status, row.score) for row in (*board.rows, *board.under_way)] == [
        (scored.id, 1, "scored", 0.5),
        (under_way.id, None, "training", None),
    ]
    assert (board.total, board.under_way_total) == (1, 1)
    assert failed.id not in {row.submission for row in (*board.rows, *board.under_way)}


def test_a_page_of_a_board_by_any_column_gaps_last(site: Site) -> None:
    """Equal entries stand in the order of their ranks, in both directions."""
    names = {}
    for seed, (who, colours, shift) in enumerate((("ada", 2, 8), ("grace", 6, 2), ("linus", 6, 2), ("ben", 1, 1))):
        names[site.score(who, uids(seed), colours=colours, shift=shift, method=f"method of {who}").id] = who
    put_average(site, next(iter(names)), None)

    def order(query: str) -> list[tuple[str, int | None]]:
        reply = site.http.get(f"/api/leaderboard?board=small-board&{query}")
        return [(names[row["submission"]], row["rank"]) for row in reply.json()["rows"]]

    ranked = [("grace", 1), ("linus", 2), ("ben", 3)]
    assert order("") == order("sort=nonsense") == [*ranked, ("ada", None)]
    assert order("sort=rank&descending=true") == [*ranked[::-1], ("ada", None)]
    assert order("sort=average&descending=true") == [*ranked, ("ada", None)]
    assert order("sort=average") == [("ben", 3), ("grace", 1), ("linus", 2), ("ada", None)]
    assert order("sort=method") == [("ada", None), ("ben", 3), ("grace", 1), ("linus", 2)]
    assert order("sort=task:mini/shift&descending=true") == [("ada", None), *ranked]
    assert order("sort=group:shift") == [("ben", 3), ("grace", 1), ("linus", 2), ("ada", None)]
    assert order("limit=2&offset=1") == [("linus", 2), ("ben", 3)]
    assert order("sort=method&limit=1&offset=2") == [("grace", 1)]
    assert order("find=METHOD+lin") == order("find=linus&sort=task:mini/shift") == [("linus", 2)]
    assert order("find=of+n") == order("find=of+n&sort=average&descending=true") == [("linus", 2), ("ben", 3)]
    assert order("find=of+n&limit=1&offset=1") == [("ben", 3)]
    assert order("find=_") == order("find=%25") == order("find=ada%00no") == order("find=nobody") == []
    page = site.http.get("/boards/small-board?find=of+n&sort=average&page=7").text
    assert "2 entries found" in page
    assert "sort=average" in page
    assert "has “nobody” in its name" in site.http.get("/boards/small-board?find=nobody").text


@ONLY_SQLITE
def test_a_leaderboard_is_asked_for_by_board_or_scale(site: Site) -> None:
    site.score("ada", uids(1))
    by_name, by_scale = site.board(), site.http.get("/api/leaderboard?scale=tiny").json()
    assert (by_name.board, by_name.scale, by_name.suite) == ("small-board", "tiny", "mini@1")
    assert by_name.tasks == ["mini/colours", "mini/shift", "mini/uncounted"]
    assert by_scale["rows"] == by_name.model_dump(mode="json")["rows"]
    for query, status, code in (
        ("board=nope", 404, "board-unknown"),
        ("scale=large", 404, "board-unknown"),
        ("scale=tiny&track=byod", 404, "board-unknown"),
        ("", 422, "board-not-named"),
        ("scale=tiny&track=nope", 422, "request-invalid"),
    ):
        reply = site.http.get(f"/api/leaderboard?{query}")
        assert (reply.status_code, codes(reply)) == (status, [code])


def test_the_manifest_names_everything_by_digest(site: Site) -> None:
    content = uids(1)
    receipt = site.score("ada", content, colours=6, shift=2)
    manifest = ManifestOut.model_validate(site.http.get(f"/api/submissions/{receipt.id}/manifest").json())
    body = manifest.body
    assert manifest.digest == digest_json(body)
    assert body["submission"]["upload"] == {"filename": "uids.npy", "digest": digest(content), "size": len(content)}
    assert body["board"]["scale"]["digest"] == get_scale("tiny").digest
    assert body["board"]["suite"] == {"name": "mini@1", "digest": site.suite.digest}
    runs = {run["stage"]: run for run in body["runs"]}
    assert list(runs) == ["validate", "subset", "train", "evaluate"]
    assert runs["train"]["result"]["recipe_digest"]
    assert set(runs["train"]["outputs"]) == {"checkpoint.pt"}
    assert runs["evaluate"]["environment"] == {"python": "3.11"}
    seed = body["scores"]["seeds"][0]
    assert seed["records_digest"] == runs["evaluate"]["outputs"]["records.parquet"]["digest"]
    assert (body["scores"]["average"], seed["average"]) == (0.5, 0.5)
    assert seed["tasks"] == {"mini/colours": 0.75, "mini/shift": 0.25, "mini/uncounted": 0.5}
    read = Manifest.model_validate(body)
    assert (read.format, read.digests.filter, read.digests.scale) == (
        MANIFEST_FORMAT,
        digest(content),
        get_scale("tiny").digest,
    )
    assert read.digests.records == {"0": seed["records_digest"]}
    assert read.digests.weights == {"0": runs["train"]["result"]["weights_digest"]}
    assert read.digests.checkpoints == {"0": runs["train"]["outputs"]["checkpoint.pt"]["digest"]}
    assert [(one.number, one.worker, one.state) for one in read.runs[2].attempts] == [(1, "worker-1", "done")]


@ONLY_SQLITE
def test_a_manifest_tells_who_did_the_work_that_was_taken_over(site: Site) -> None:
    first, second = site.score("ada", uids(1)), site.submit("grace", uids(1))
    reply = site.http.get(f"/api/submissions/{second.id}/manifest").json()["body"]
    assert all(run["reused_from"] and run["attempts"][0]["worker"] == "worker-1" for run in reply["runs"])
    theirs = site.http.get(f"/api/submissions/{first.id}/manifest").json()["body"]
    same = ("pool", "filter", "subset", "scale", "recipe", "suite", "weights", "records")
    assert [reply["digests"][name] for name in same] == [theirs["digests"][name] for name in same]


@ONLY_SQLITE
def test_there_is_no_manifest_before_there_is_a_result(site: Site) -> None:
    receipt = site.submit("ada", uids(1))
    reply = site.http.get(f"/api/submissions/{receipt.id}/manifest")
    assert (reply.status_code, codes(reply)) == (409, ["manifest-not-yet"])
