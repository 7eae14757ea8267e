"""What is kept and for how long. Everything that a score depends on stays named by its digest in the manifest, whether
its bytes are still here or not.

- What attempts left that came to nothing goes once their run is over and `keep_leftovers_days` have passed.
- Intermediate checkpoints are such leftovers: only the final one is promoted.
- Final checkpoints, much the largest files, go after `keep_checkpoints_days` if that is set; those of baselines stay.

A run that takes over a file (`runs/lifecycle.py`) holds its lock, shared; a file is deleted under that lock alone, by
whoever gets it without waiting. So either the file goes first, and the run sees that it is gone, or the run goes first,
and the file is one that a younger submission stands on.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import Select, and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from datacomp.messages import CHECKPOINT_FILE
from datacomp_server.clock import now
from datacomp_server.database import Database, try_lock
from datacomp_server.runs.models import Run
from datacomp_server.runs.transitions import FINAL
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import file_lock

log = logging.getLogger(__name__)
BATCH = 100


class FileRepository:
    """SQL of files whose time is up."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def leftovers(self, before: datetime) -> list[StoredFile]:
        """Files that never counted, of runs that ended before a time."""
        query = select(StoredFile).join(Run, Run.id == StoredFile.run_id)
        over = and_(Run.state.in_(FINAL), Run.finished_at < before)
        query = query.where(over, ~StoredFile.promoted, StoredFile.deleted_at.is_(None))
        return list(self.session.scalars(query.limit(BATCH)))

    def old_checkpoints(self, before: datetime) -> list[StoredFile]:
        """Final checkpoints of submissions that ended before a time, each locked until the transaction ends.

        Those of baselines stay, and those that a younger submission's run took over. Files that are in use just now are
        left out.
        """
        query = self._old_checkpoints(before)
        free = [
            row.id for row in self.session.scalars(query.limit(BATCH)) if try_lock(self.session, file_lock(row.key))
        ]
        # Asked again, now that nobody can take over any of them: somebody may have done so in the meantime.
        return list(self.session.scalars(query.where(StoredFile.id.in_(free)))) if free else []

    @staticmethod
    def _old_checkpoints(before: datetime) -> Select[StoredFile]:
        query = select(StoredFile).join(Submission, Submission.id == StoredFile.submission_id)
        other, owner = aliased(StoredFile), aliased(Submission)
        shared = exists().where(
            other.key == StoredFile.key,
            other.deleted_at.is_(None),
            owner.id == other.submission_id,
            or_(owner.baseline, owner.finished_at.is_(None), owner.finished_at >= before),
        )
        return query.where(
            StoredFile.name == CHECKPOINT_FILE,
            StoredFile.promoted,
            StoredFile.deleted_at.is_(None),
            Submission.finished_at < before,
            ~shared,
        )


def sweep_files(database: Database, settings: Settings, storage: Storage) -> int:
    """Delete what is past its time; returns how many files. Killed in the middle, the next round finds the rest."""
    deleted = 0
    while True:
        with database.write() as session:
            files = FileRepository(session)
            found = files.leftovers(now() - timedelta(days=settings.keep_leftovers_days))
            if settings.keep_checkpoints_days is not None:
                found += files.old_checkpoints(now() - timedelta(days=settings.keep_checkpoints_days))
            for file in found:
                storage.delete(file.key)  # before the row says so: a file without a row would never be found again
                file.deleted_at = now()
        deleted += len(found)
        if len(found) < BATCH:
            if deleted:
                log.info("%d stored files were past their time", deleted)
            return deleted
