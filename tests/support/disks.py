"""Small file systems that can be filled up and made read-only. They need root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

FILLER = "filler"


@dataclass
class Disk:
    """A mounted tmpfs."""

    path: Path

    @contextmanager
    def full(self, left: int = 0) -> Iterator[None]:
        """Within, only so many bytes are free (to a page)."""
        filler = self.path / FILLER
        with filler.open("wb") as file:
            free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
            for _ in range(max(0, (free - left) // 4096)):
                file.write(b"\0" * 4096)
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Within, nothing can be written."""
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Mount one; where this is not allowed the test is skipped, or fails where everything must run."""
    path.mkdir(parents=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot mount a small file system: {error}")
        pytest.skip(f"cannot mount a small file system: {error}")
    try:
        yield Disk(path)
    finally:
        _run("umount", "-l", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
