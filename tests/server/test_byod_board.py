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
