"""Room on the disk: asked for before, and said plainly when it ran out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datacomp.problems import PlatformFault

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def require_space(directory: Path, needed: int) -> None:
    """`PlatformFault` `disk-short` when the disk of a directory has not that many bytes left."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        message = f"the shards take {needed / 1e9:,.2f} GB, and {free / 1e9:,.2f} GB are free"
        hint = "free some of the disk or choose another; what is written already is kept and not written again"
        raise PlatformFault.of("disk-short", message, str(directory), hint)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """`PlatformFault` `disk-full` or `disk-read-only` for a write that the system refuses for that reason."""
    try:
        yield
    except OSError as error:
        hint = "free some of the disk, then start again: what is complete is kept"
        if error.errno in FULL:
            raise PlatformFault.of("disk-full", f"the disk took no more: {error.strerror}", str(path), hint) from error
        if error.errno in REFUSED:
            hint = "make the directory writable, or choose another"
            raise PlatformFault.of("disk-read-only", f"not writable: {error.strerror}", str(path), hint) from error
        raise
