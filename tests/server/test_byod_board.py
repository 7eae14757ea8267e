"""What boards of the track byod ask, as participants read it, and what freezes with the first entry."""

from pathlib import Path

import sqlalchemy as sa
from server_site import ONE_BOARD, ONLY_SQLITE, Site, uids, write_boards

from datacomp_server.boards.config import read_boards
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService

DIGEST = "ab" * 32
BYOD = f"""
[[boards]]
name = "brought"
title = "Brought"
track = "byod"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
byod = {{ near = 0.985, contamination = 0.15, success = 0.4, rows = 12345, model = "small", model_digest = "{DIGEST}" }}
"""


def configure(site: Site, folder: Path, text: str) -> None:
    with site.database.write() as session:
        BoardService(session).apply(read_boards(write_boards(folder, ONE_BOARD + text)))


@ONLY_SQLITE
def test_rules_pages_tell_what_is_asked_of_datasets(site: Site, tmp_path: Path) -> None:
    configure(site, tmp_path, BYOD)
    page = site.http.get("/boards/brought/rules").text
    for told in ("345 rows", "40%", "0.985", "<code>small</code>", DIGEST[:8], "15%", ".jsonl"):
        assert told in page
    assert "Sample ids" not in page
    other = site.http.get("/boards/small-board/rules").text
    assert "Sample ids" in other
    assert "evaluation data" not in other


@ONLY_SQLITE
def test_settings_of_before_are_the_same_as_todays(site: Site, tmp_path: Path) -> None:
    """A server that is brought up to date must not find its boards changed."""
    plain = BYOD.replace(f', model = "small", model_digest = "{DIGEST}"', "")
    configure(site, tmp_path, plain)
    with site.database.write() as session:
        old = {"near": 0.985, "contamination": 0.15, "success": 0.4, "rows": 12345}
        session.execute(sa.update(Board).where(Board.name == "brought").values(byod=old))
    site.open("ada", uids(1), board="brought", kind="dataset", filename="data.csv")
    configure(site, tmp_path, plain)


@ONLY_SQLITE
def test_a_dataset_is_ranked_on_its_board_alone_and_told_to_strangers(site: Site, tmp_path: Path) -> None:
    configure(site, tmp_path, BYOD)
    site.score("ada", uids(2), method="by uids")
    found = site.score("ada", b"url,caption\n", board="brought", kind="dataset", filename="data.csv", method="own data")
    assert found.state == "scored", found.failure
    assert [(row.rank, row.method) for row in site.board("brought").rows] == [(1, "own data")]
    assert [row.method for row in site.board().rows] == ["by uids"]
    runs = {run.stage: run.result for run in site.receipt(found.id, None).runs}
    assert list(runs) == ["validate", "fetch", "decontaminate", "subset", "train", "evaluate"]
    assert (runs["fetch"] or {})["causes"] == {"http-404": 5}
    assert (runs["decontaminate"] or {})["kept"] == 50
    page = site.http.get(f"/submissions/{found.id}")
    assert page.status_code == 200
    for told in ("4 of 55", "0.99, pixels@3", "http-404 5", "CC0-1.0 55"):
        assert told in page.text
    manifest = site.http.get(f"/api/submissions/{found.id}/manifest").json()["body"]
    stages = {run["stage"]: run["result"] for run in manifest["runs"]}
    assert stages["decontaminate"]["kept"] == 50
    assert stages["fetch"]["urls_digest"]
