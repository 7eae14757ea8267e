"""Opening windows, private tasks, disclosure and equal subsets."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pool_here import KEPT
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, digest, running, uids, write_boards

from datacomp.client import Client
from datacomp.messages import SubmissionOut
from datacomp.problems import BadInput, PlatformFault
from datacomp_server.boards.config import read_boards
from datacomp_server.clock import now
from datacomp_server.operation.export import export_board
from datacomp_server.pages.kept import kept_of_receipt
from datacomp_server.settings import Settings

WRONG = (
    ("opens_at = 2026-01-02T00:00:00Z\ncloses_at = 2026-01-01T00:00:00Z", "board-window"),
    ("opens_at = 2026-01-02T00:00:00", "board-invalid"),  # nobody knows in which zone
    ('private_tasks = ["mini/shift"]', "board-never-reveals"),
    ('private_tasks = ["mini/nope"]\nreveals_at = 2026-01-01T00:00:00Z', "task-unknown"),
    ('private_tasks = ["mini/shift", "mini/colours"]\nreveals_at = 2026-01-01T00:00:00Z', "tasks-all-private"),
    ('disclosure = "closing"', "board-never-closes"),
    ('disclosure = "always"', "board-invalid"),
)


def at(hours: float) -> str:
    """A time so far from now, as TOML writes it."""
    return (now() + timedelta(hours=hours)).isoformat()


def redo(settings: Settings, extra: str) -> Settings:
    write_boards(settings.data_dir, ONE_BOARD + extra)
    return settings


@pytest.mark.parametrize(("extra", "code"), WRONG)
def test_rules_that_do_not_fit_together_are_refused(tmp_path: Path, extra: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_boards(write_boards(tmp_path, f"{ONE_BOARD}\n{extra}"))
    assert [problem.code for problem in caught.value.problems] == [code]


def test_a_board_takes_submissions_in_its_window_alone(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    windows = (
        (f"opens_at = {at(1)}", "board-not-open", (False, False)),
        (f"opens_at = {at(-2)}\ncloses_at = {at(-1)}", "board-closed", (False, True)),
        (f"opens_at = {at(-2)}\ncloses_at = {at(1)}", None, (True, False)),
    )
    for extra, refusal, (is_open, is_closed) in windows:
        with running(redo(settings, extra)) as site:
            content = uids(1)
            reply = site.http.post("/api/submissions", json=site.announce(content), headers=site.headers("organiser"))
            assert (codes(reply) if refusal else reply.status_code) == ([refusal] if refusal else 201)
            board = site.http.get("/api/boards/small-board").json()
            assert (board["open"], board["closed"]) == (is_open, is_closed)
            assert site.http.get("/boards/small-board").status_code == 200


def test_private_tasks_count_from_the_revealing_on(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    private = 'private_tasks = ["mini/shift"]\nreveals_at = '
    with running(redo(settings, private + at(1))) as site:
        first = site.score("ada", uids(1), colours=6, shift=0)
        second = site.score("ben", uids(2), colours=4, shift=8)
        board = site.board()
        assert [(row.submission, row.score) for row in board.rows] == [(first.id, 0.75), (second.id, 0.5)]
        assert board.withheld == ["mini/shift"]
        assert "mini/shift" not in board.tasks
        # With the private task the means are 0.375 and 0.75: neither is to be found where it would tell something.
        for address, untold in (
            ("/api/leaderboard?board=small-board", "0.375"),
            ("/boards/small-board?tasks=all", "0.375"),
            ("/boards/small-board/leaderboard.csv", "0.375"),
            (f"/api/submissions/{second.id}", "0.75"),
            (f"/api/submissions/{second.id}/manifest", "0.75"),
            (f"/submissions/{second.id}", "0.75"),
        ):
            reply = site.http.get(address, headers=site.headers("ben"))
            assert reply.status_code == 200
            # Not the fraction of a time of day, as in 19:55:50.757.
            assert not re.search(rf"(?<!\d){re.escape(untold)}", reply.text), address
        mine = site.receipt(second.id, "ben").score
        assert mine is not None
        assert (mine.average, mine.withheld) == (0.5, ["mini/shift"])
        whole = site.receipt(second.id, "organiser").score
        assert whole is not None
        assert (whole.average, whole.withheld) == (0.75, [])
        names = site.http.get(f"/api/submissions/{second.id}/files", headers=site.headers("ben")).json()
        assert "records.parquet" not in {file["name"] for file in names}
    with running(redo(settings, private + at(-1))) as site:
        board = site.board()
        assert [(row.submission, row.score) for row in board.rows] == [(second.id, 0.75), (first.id, 0.375)]
        assert (board.withheld, board.rows[0].tasks["mini/shift"]) == ([], 1.0)


def test_no_order_of_a_board_tells_a_private_task(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    private = 'private_tasks = ["mini/shift"]\nreveals_at = '
    by_task = "/api/leaderboard?board=small-board&sort=task:mini/shift&descending="
    with running(redo(settings, private + at(1))) as site:
        first = site.score("ada", uids(1), colours=6, shift=0).id
        second = site.score("ben", uids(2), colours=4, shift=8).id

        def order(way: str) -> list[str]:
            return [row["submission"] for row in site.http.get(by_task + way).json()["rows"]]

        assert order("true") == order("false") == [first, second], "the order of ranks"
    with running(redo(settings, private + at(-1))) as site:
        assert (order("true"), order("false")) == ([second, first], [first, second])


@ONLY_SQLITE
def test_an_export_for_organisers_holds_private_tasks(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings()
    with running(redo(settings, f'private_tasks = ["mini/shift"]\nreveals_at = {at(1)}')) as site:
        site.score("ada", uids(1), colours=6, shift=0)
        second = site.score("ben", uids(2), colours=4, shift=8)
        for private in (False, True):
            folder = tmp_path / str(private)
            assert export_board(site.database, settings, "small-board", folder, private=private) == 2
            table = (folder / "leaderboard.csv").read_text()
            manifest = json.loads((folder / "manifests" / f"{second.id}.json").read_text())
            assert ("mini/shift" in table.splitlines()[0]) is private
            assert (second.id in table.splitlines()[1]) is private, "with it the second leads"
            assert ("mini/shift" in manifest["body"]["scores"]["tasks"]) is private


@ONLY_SQLITE
def test_private_tasks_are_frozen_by_entries(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with running(settings) as site:
        site.open("ada", uids(1))
    with (
        pytest.raises(BadInput, match="board-frozen"),
        running(redo(settings, f'private_tasks = ["mini/shift"]\nreveals_at = {at(1)}')),
    ):
        pass


def download(site: Site, submission: str, name: str, who: str | None) -> bytes | list[str]:
    reply = site.http.get(f"/api/submissions/{submission}/files/{name}", headers=site.headers(who))
    return reply.content if reply.status_code == 200 else codes(reply)


def examples(site: Site, submission: str, who: str | None) -> list[str]:
    """The uids that a receipt names of what was kept and dropped."""
    reply = site.http.get(f"/api/submissions/{submission}", headers=site.headers(who))
    kept = kept_of_receipt(SubmissionOut.model_validate(reply.json()))
    assert kept is not None
    assert kept.binned == KEPT.binned
    return kept.kept_uids + kept.dropped_uids


def test_files_are_the_participants_until_the_board_discloses_them(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    content = uids(1)
    with running(redo(settings, f'disclosure = "closing"\ncloses_at = {at(1)}')) as site:
        scored = site.score("ada", content)
        assert download(site, scored.id, "upload", "ada") == content
        assert download(site, scored.id, "subset.npy", "organiser") == b"subset of " + digest(content).encode()
        for stranger in ("ben", None):
            assert download(site, scored.id, "upload", stranger) == ["file-unknown"]
            assert site.http.get(f"/api/submissions/{scored.id}/files", headers=site.headers(stranger)).json() == []
            assert examples(site, scored.id, stranger) == []
        assert examples(site, scored.id, "ada") == KEPT.kept_uids + KEPT.dropped_uids
        assert "told to everybody once the board closes" in site.http.get(f"/submissions/{scored.id}").text
        assert KEPT.kept_uids[0] not in site.http.get(f"/api/submissions/{scored.id}/manifest").text
    with running(redo(settings, f'disclosure = "closing"\ncloses_at = {at(-1)}')) as site:
        assert download(site, scored.id, "upload", None) == content
        assert examples(site, scored.id, None) == KEPT.kept_uids + KEPT.dropped_uids
        names = {file["name"] for file in site.http.get(f"/api/submissions/{scored.id}/files").json()}
        assert names == {"upload", "subset.npy", "records.parquet"}
        assert download(site, scored.id, "checkpoint.pt", None) == ["file-unknown"]
        assert site.act("organiser", scored.id, "withdraw").status_code == 200
        assert download(site, scored.id, "upload", None) == ["file-unknown"]


def test_an_equal_subset_names_the_first(site: Site) -> None:
    first = site.score("ada", uids(1))
    other = site.score("ben", uids(2))
    again = site.score("ben", uids(1), method="the same again")
    rehearsal = site.score("ben", uids(1), rehearsal=True)
    found = {entry.id: site.receipt(entry.id).duplicate_of for entry in (first, other, again, rehearsal)}
    assert found == {first.id: None, other.id: None, again.id: first.id, rehearsal.id: None}
    assert [row.submission for row in site.board().rows if row.duplicate_of == first.id] == [again.id]


@ONLY_SQLITE
def test_the_first_may_be_the_last_whose_subset_becomes_known(site: Site) -> None:
    content = uids(3)
    early = site.open("ada", content)
    late = site.score("ben", content)
    assert site.send("ada", early.id, content).status_code == 200
    site.worker().work()
    assert (site.receipt(early.id).duplicate_of, site.receipt(late.id).duplicate_of) == (None, early.id)


@ONLY_SQLITE
def test_single_entries_can_be_pinned_as_baselines(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with running(settings) as site:
        entry = site.score("ada", uids(1))
        assert not site.board().rows[0].baseline
    with running(redo(settings, f'baseline_submissions = ["{entry.id}"]')) as site:
        assert site.board().rows[0].baseline


@ONLY_SQLITE
def test_the_client_fetches_and_checks_files(site: Site, address: str, tmp_path: Path) -> None:
    content = uids(1)
    scored = site.score("ada", content)
    client = Client(address, site.tokens["ada"])
    assert {"upload", "subset.npy", "records.parquet"} <= {file.name for file in client.files(scored.id)}
    client.download(scored.id, "upload", tmp_path / "uids.npy")
    assert (tmp_path / "uids.npy").read_bytes() == content
    with pytest.raises(BadInput, match="file-unknown"):
        Client(address).download(scored.id, "upload", tmp_path / "other")
    (site.settings.data_dir / "storage" / "uploads" / scored.id / "content").write_bytes(content[:-1] + b"?")
    with pytest.raises(PlatformFault, match="download-damaged"):
        client.download(scored.id, "upload", tmp_path / "damaged")
    assert sorted(path.name for path in tmp_path.glob("*ama*")) == []
