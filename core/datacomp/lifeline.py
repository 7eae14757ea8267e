"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal

PARENT = "DATACOMP_PARENT"
"""Environment variable: id of the process that a command must not outlive."""
_PR_SET_PDEATHSIG = 1


def die_with_parent(_worker: int = 0, *, parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent ends; exit at once when `parent` ended before.

    The first argument makes this usable as a data loader's worker_init_fn.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
