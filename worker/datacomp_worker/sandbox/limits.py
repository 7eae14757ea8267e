"""What participants' code may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Bounds on one sandboxed process tree. Exceeding one ends the whole tree."""

    seconds: float = 60.0
    """Wall clock."""
    memory: int = 4 * GIB
    """Bytes of private memory, per process by rlimit and for the whole tree by the watchdog (and by cgroup v2 where
    the host has a writable one)."""
    mapped: int = 4 * GIB
    """Bytes of files (the pool, libraries) that a process may map on top of its memory."""
    processes: int = 64
    """Processes and threads together."""
    log_bytes: int = 16 * MIB
    """What may be printed before the tree is ended."""
    log_kept: int = 64 * 1024
    """What of it is kept: the first and the last half of this."""
    tmp_bytes: int = 256 * MIB
    """Size of /tmp and of /dev/shm, each."""
    tmp_files: int = 20_000
    """Files in /tmp and in /dev/shm together."""
    file_bytes: int = 256 * MIB
    """Size of one file."""
    descriptors: int = 256
    """Open files of one process."""
    threads: int = 2
    """Threads that numeric libraries are told to use."""


class SandboxSettings(BaseSettings):
    """Settings of this host's sandbox (environment, prefix `DATACOMP_SANDBOX_`)."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_SANDBOX_", extra="ignore")

    seconds: float = Field(default=60.0, gt=0)
    """Wall clock of code over a pool, before `seconds_per_million_rows`."""
    seconds_per_million_rows: float = Field(default=600.0, ge=0)
    memory: int = Field(default=4 * GIB, ge=256 * MIB)
    processes: int = Field(default=64, ge=8)
    threads: int = Field(default=2, ge=1)
    cgroup: Path | None = None
    """A cgroup v2 directory delegated to the worker. Default: the worker's own cgroup, where it is writable."""

    def limits(self, rows: int) -> Limits:
        """The limits of code that runs over a pool of `rows` rows."""
        seconds = self.seconds + self.seconds_per_million_rows * rows / 1e6
        return Limits(seconds=seconds, memory=self.memory, processes=self.processes, threads=self.threads)
