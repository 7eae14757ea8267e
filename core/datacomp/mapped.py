"""Arrays in files, mapped into memory for writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def new_mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """A new npy file of zeros, mapped. Its room on the disk is taken at once: `OSError` when there is too little.

    Without that the kernel ends the process (SIGBUS) when a page is written for which the disk has no room.
    """
    array: np.memmap[Any, np.dtype[Any]] = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
