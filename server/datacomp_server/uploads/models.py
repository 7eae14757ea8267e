"""The pieces of files that are still arriving."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from datacomp_server.clock import new_id, now
from datacomp_server.database import Base


class UploadPiece(Base):
    """A piece of a submission's file that has been stored. Pieces follow each other without gaps, and where the last
    one ends is how far the upload is: a piece counts once it stands here, whatever else lies in storage.

    That one piece only can begin at a place is what keeps two clients from writing over each other.
    """

    __tablename__ = "upload_pieces"
    __table_args__ = (UniqueConstraint("submission_id", "start"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    """Its key in storage is `pieces/<submission>/<id>`."""
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"))
    start: Mapped[int] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def end(self) -> int:
        """Where the next piece begins."""
        return self.start + self.size

    @property
    def key(self) -> str:
        """Where its bytes lie in storage."""
        return piece_key(self.submission_id, self.id)


PIECES = "pieces"


def piece_key(submission_id: str, piece_id: str) -> str:
    """The key in storage of a piece, counted or not."""
    return f"{PIECES}/{submission_id}/{piece_id}"
