"""Signs of life in small files that change, so that hosts with a shared disk and clocks of their own can read them.

Every rank marks what it is about to do in `pulse.<rank>`; the worker looks whether any still does. The worker in turn
counts up in `leash`; ranks that it did not start itself end when that stops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from datacomp.problems import PlatformFault

Phase = Literal["start", "data", "step", "save"]
"""What a rank does: start up, wait for its next batch, compute, or write a checkpoint and end."""
PULSE = "pulse.{}"
LEASH = "leash"
BEAT_SECONDS = 1.0
START_SECONDS = 600.0
"""Nor is one that starts up ended sooner: hosts wait for each other so long."""
LEASH_SECONDS = 60.0
"""A leash that has not moved for so long is one that nobody holds. Shared disks may show a change late."""
_HINTS: dict[str, str] = {
    "start": "the trainer did not come up: see the log, and whether the GPUs answer",
    "data": "no batch came: see to the disk that holds the worker's scratch directory",
    "step": "a step did not end: see to the GPUs and to the network between them",
    "save": "a checkpoint was not written: see to the disk that holds the worker's scratch directory",
}


class Pulse:
    """A rank's own file."""

    def __init__(self, workdir: Path, rank: int) -> None:
        self._file = os.open(workdir / PULSE.format(rank), os.O_WRONLY | os.O_CREAT, 0o600)
        self._count = 0

    def mark(self, phase: Phase) -> None:
        """Say what comes next: one small write in place."""
        self._count += 1
        os.pwrite(self._file, f"{phase} {self._count:>16}\n".encode(), 0)


class WaitedFor:
    """The trainer's loader; marks and measures how long it is waited for."""

    def __init__(self, loader: Any, pulse: Pulse) -> None:
        self._loader, self._pulse = loader, pulse
        self.num_batches: int = loader.num_batches
        self.num_samples: int = loader.num_samples
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        self._pulse.mark("data")
        batches, end = iter(self._loader), object()
        while True:
            began = time.monotonic()
            batch = next(batches, end)
            self.seconds += time.monotonic() - began
            if batch is end:
                self._pulse.mark("save")
                return
            self._pulse.mark("step")
            yield batch
            self._pulse.mark("data")


class Unchanged:
    """For how long a file has kept its content, by our own clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = b""
        self._since = time.monotonic()

    def seconds(self) -> float:
        """Since we last saw it change. `FileNotFoundError` when it is gone."""
        content = self.path.read_bytes()
        if content != self.content:
            self.content, self._since = content, time.monotonic()
        return time.monotonic() - self._since


class StallWatch:
    """The worker's look at the ranks' pulses."""

    def __init__(self, workdir: Path, limit: float) -> None:
        self._workdir, self._limit = workdir, limit
        self._ranks: dict[Path, Unchanged] = {}
        self._looked = 0.0

    @staticmethod
    def clear(workdir: Path) -> None:
        """Forget the ranks of before."""
        for path in workdir.glob(PULSE.format("*")):
            path.unlink()

    def check(self) -> None:
        """`PlatformFault` `training-stalled` when no rank that has begun has gone on for the limit."""
        if not self._limit or time.monotonic() < self._looked + min(BEAT_SECONDS, self._limit / 4):
            return
        self._looked = time.monotonic()
        for path in self._workdir.glob(PULSE.format("*")):
            self._ranks.setdefault(path, Unchanged(path))
        if self._ranks and all(self._stands(rank) for rank in self._ranks.values()):
            raise self._fault()

    def _stands(self, rank: Unchanged) -> bool:
        unchanged = rank.seconds()
        starting = rank.content.startswith(b"start")
        return unchanged > (max(self._limit, START_SECONDS) if starting else self._limit)

    def _fault(self) -> PlatformFault:
        phases = {path.suffix[1:]: rank.content.decode().split()[0] for path, rank in self._ranks.items()}
        # Whoever computes may just wait for a rank that has no data.
        phase = min(phases.values(), key=("start", "data", "save", "step").index)
        ranks = ", ".join(sorted((rank for rank, found in phases.items() if found == phase), key=int))
        what = {"data": "waits for data", "step": "is in a step", "save": "writes a checkpoint"}.get(phase, "starts")
        message = f"no rank has gone on for {self._limit:g} s; rank {ranks} {what}"
        return PlatformFault.of(
            "training-stalled", message, where=phase, hint=f"{_HINTS[phase]}; the run is tried again"
        )


class Leash:
    """The worker's end."""

    def __init__(self, workdir: Path) -> None:
        self._path = workdir / LEASH
        self._count, self._moved = 0, float("-inf")

    def move(self) -> None:
        """Show that the worker is there; cheap when called often."""
        if time.monotonic() < self._moved + BEAT_SECONDS:
            return
        self._count, self._moved = self._count + 1, time.monotonic()
        new = self._path.with_suffix(".new")
        new.write_text(str(self._count))
        new.replace(self._path)

    def drop(self) -> None:
        """Let everything end that hangs on it."""
        self._path.unlink(missing_ok=True)


def end_with_leash(workdir: Path, end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """From now on, end this process when the leash is gone or has not moved for `LEASH_SECONDS`."""
    leash = Unchanged(workdir / LEASH)

    def watch() -> None:
        while held(leash):
            time.sleep(BEAT_SECONDS)
        end()

    threading.Thread(target=watch, name="leash", daemon=True).start()


def held(leash: Unchanged) -> bool:
    """Whether somebody holds the other end."""
    try:
        return leash.seconds() < LEASH_SECONDS
    except FileNotFoundError:
        return False
