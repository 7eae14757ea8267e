"""The description of boards: checked all at once, applied idempotently, frozen by entries."""

from collections.abc import Callable
from pathlib import Path

import pytest
from server_site import ONE_BOARD, ONLY_SQLITE, running, uids, write_boards

from datacomp.problems import BadInput
from datacomp_server.boards.config import read_boards
from datacomp_server.settings import Settings

WRONG = """
typo = 1

[[boards]]
name = "One"
title = ""
scale = "tiny"
suite = "mini.json"
pool = "tiny"

[[boards]]
name = "two"
title = "Two"
scale = "gigantic"
suite = "nowhere.json"
pool = "tiny"
seeds = [1, 1]
byod = { near = 0.99 }

[[boards]]
name = "three"
title = "Three"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
submissions_per_day = 0
dedup = { mode = "sometimes" }
"""


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_boards(write_boards(tmp_path, WRONG))
    found = {(problem.code, (problem.where or "").split(":")[0]) for problem in caught.value.problems}
    assert found == {
        ("boards-unknown-key", "boards.toml"),
        ("board-invalid", "boards[One].name"),
        ("board-invalid", "boards[One].title"),
        ("scale-unknown", "boards[two].scale"),
        ("suite-unreadable", "boards[two].suite"),
        ("seeds-invalid", "boards[two].seeds"),
        ("byod-misplaced", "boards[two].byod"),
        ("board-invalid", "boards[three].submissions_per_day"),
        ("board-invalid", "boards[three].dedup.mode"),
    }


@pytest.mark.parametrize(("text", "code"), [("[[boards", "boards-not-toml"), ("boards = 1", "boards-not-a-list")])
def test_a_file_that_is_no_list_of_boards(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(BadInput, match=code):
        read_boards(write_boards(tmp_path, text))


def test_boards_are_shown_changed_and_closed(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with running(settings) as site:
        (board,) = site.http.get("/api/boards").json()
        assert (board["name"], board["scale"]["name"], board["suite"]) == ("small-board", "tiny", "mini@1")
        assert site.http.get("/api/boards/small-board").json() == board
        assert site.http.get("/api/boards/nope").status_code == 404
        site.open("ada", uids(1))
    second = ONE_BOARD.replace("small-board", "second-board")
    write_boards(settings.data_dir, ONE_BOARD.replace("Small board", "Renamed") + second)
    with running(settings) as site:
        titles = [(board["name"], board["title"]) for board in site.http.get("/api/boards").json()]
        assert titles == [("small-board", "Renamed"), ("second-board", "Small board")]


def test_what_entries_depend_on_is_frozen_once_there_is_one(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    changed = ONE_BOARD.replace('pool = "tiny"', 'pool = "other"\nseeds = 3')
    with running(settings) as site:
        site.open("ada", uids(1))
    write_boards(settings.data_dir, changed)
    with pytest.raises(BadInput) as caught, running(settings):
        pass
    assert [(problem.code, problem.where) for problem in caught.value.problems] == [
        ("board-frozen", "boards[small-board].pool"),
        ("board-frozen", "boards[small-board].seeds"),
    ]


@ONLY_SQLITE
def test_a_board_without_entries_may_still_change(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with running(settings):
        pass
    write_boards(settings.data_dir, ONE_BOARD.replace('pool = "tiny"', 'pool = "other"'))
    with running(settings) as site:
        assert site.http.get("/api/boards/small-board").json()["pool"] == "other"
