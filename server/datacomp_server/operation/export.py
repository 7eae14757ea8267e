"""A board as files: its leaderboard with the scores of every task, and the manifest of every entry."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import CONSOLE
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.leaderboard.export import csv_blocks
from datacomp_server.leaderboard.service import LeaderboardService
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.service import SubmissionService

BLOCK = 1 << 16
File = tuple[str, Iterator[bytes]]


def board_files(database: Database, settings: Settings, board: str, *, private: bool = False) -> Iterator[File]:
    """`leaderboard.csv`, then `manifests/<submission>.json` of every entry; each is read before the next is asked for.

    What everybody may see now, or with `private` what organisers may: private tasks, and means and ranks by all tasks.
    """
    viewer = Viewer("", CONSOLE.name, Role.ORGANISER) if private else None
    with database.read() as session:
        groups = list(BoardService(session).suite(board).groups())
        boards = LeaderboardService(session, settings)
        yield "leaderboard.csv", csv_blocks(boards.pages(board, private=private), groups)
        service = SubmissionService(session, settings, Storage(settings.storage_url))
        for page in boards.pages(board, private=private):
            for row in page.rows:
                if row.submission is not None:
                    body = service.manifest(row.submission, viewer).model_dump(mode="json")
                    yield f"manifests/{row.submission}.json", iter([json.dumps(body, indent=1).encode()])


def export_board(database: Database, settings: Settings, board: str, folder: Path, *, private: bool = False) -> int:
    """Write a board's files into a folder; returns the number of entries."""
    (folder / "manifests").mkdir(parents=True, exist_ok=True)
    count = -1
    for name, blocks in board_files(database, settings, board, private=private):
        with (folder / name).open("wb") as file:
            file.writelines(blocks)
        count += 1
    return count


def zip_board(database: Database, settings: Settings, board: str, *, private: bool = False) -> IO[bytes]:
    """The same files as one ZIP file: an open temporary file, gone once it is closed. `OSError` without room for it.

    Made before the first byte is sent, so that whoever reads slowly holds no connection to the database.
    """
    with ExitStack() as undo:
        made = undo.enter_context(tempfile.TemporaryFile())
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, blocks in board_files(database, settings, board, private=private):
                with archive.open(name, "w", force_zip64=True) as file:
                    for block in blocks:
                        file.write(block)
        made.seek(0)
        undo.pop_all()
        return made
