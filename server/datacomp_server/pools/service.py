"""What may be told of a board's pool, and to whom: everything to everybody, but for images and removed uids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from datacomp.commands.kept import EXAMPLES, drawn
from datacomp.messages import BoardOut, PoolOut, PreviewOut
from datacomp_server.boards.removals import UID, Removals
from datacomp_server.boards.service import BoardService
from datacomp_server.errors import NotFound
from datacomp_server.pools.describe import Descriptions
from datacomp_server.pools.library import Library, PoolAbsent, Shelf
from datacomp_server.pools.pictures import Pictures, Sample, samples_of
from datacomp_server.pools.previews import Previews
from datacomp_server.settings import Settings


class Desk:
    """What the application keeps of pools: opened packs, and what was worked out of them."""

    def __init__(self, settings: Settings) -> None:
        self.library = Library(settings.pools_dir or settings.data_dir / "pools")
        self.previews = Previews(settings.preview_rows, settings.preview_seconds)
        self.descriptions = Descriptions()
        self.pictures = Pictures()


@dataclass(frozen=True)
class BoardPool:
    """A board's pool as one request sees it; what follows needs no transaction."""

    board: BoardOut
    removed: tuple[str, ...]
    desk: Desk

    @classmethod
    def read(cls, session: Session, desk: Desk, name: str) -> BoardPool:
        """`NotFound` when there is no such board."""
        board = BoardService(session).board(name)
        return cls(board, tuple(Removals(session).of_pool(board.pool)), desk)

    def shelf(self) -> Shelf:
        """The copy that this server has; `PoolAbsent` without one."""
        return self.desk.library.shelf(self.board.pool, self.board.pool_digest)

    def describe(self) -> PoolOut:
        """What it contains, or why that is not known here."""
        board = self.board
        try:
            found = self.desk.descriptions.of(board.pool, self.shelf())
        except PoolAbsent as error:
            why = f"{error.problems[0].message}; {error.problems[0].hint}"
            found = PoolOut(name=board.pool, digest=board.pool_digest, rows=board.pool_rows, here=False, why=why)
        return found.model_copy(update={"removed": len(self.removed)})

    def preview(self, expression: str) -> PreviewOut:
        """What an expression would keep. Errors as of `Previews.look`, and `PoolAbsent`."""
        shelf = self.shelf()
        kept, seconds = self.desk.previews.look(shelf, expression, self.removed)
        return PreviewOut(
            board=self.board.name, pool_digest=shelf.digest, expression=expression, kept=kept, seconds=seconds
        )

    def drawn(self) -> list[str]:
        """Uids of a few samples of the pool, always the same; none without a copy of it."""
        try:
            shelf = self.shelf()
        except PoolAbsent:
            return []
        return drawn(shelf.pool, np.zeros(shelf.pool.rows, np.bool_), EXAMPLES, self.removed, kept=False)

    def samples(self, uids: Sequence[str]) -> list[Sample]:
        """These samples, but for removed ones and those that the pool does not have; none without a copy of it."""
        wanted = sorted(set(uids) - set(self.removed))
        try:
            return samples_of(self.shelf().pool, wanted)
        except PoolAbsent:
            return []

    def picture(self, uid: str) -> bytes:
        """A sample's image, WebP, faces blurred. `NotFound` where the board shows none, and for removed uids."""
        if not self.board.show_images:
            message = f"the board {self.board.name!r} shows no images of its pool"
            raise NotFound.of("images-not-shown", message, where=uid)
        if not UID.fullmatch(uid) or uid in self.removed:
            raise NotFound.of("image-missing", "there is no image of this uid", where=uid)
        return self.desk.pictures.picture(self.shelf(), uid)
