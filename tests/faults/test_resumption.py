"""Real trainings killed at random steps, again and again, end with the weights of an unbroken one.

Bit for bit, on a CPU with the same number of threads. Checkpoints come at the ends of epochs, so a kill loses up to a
fifth of a run.
"""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
from faults import SEED, share
from small_pool import SmallPool

from datacomp.messages import Progress
from datacomp.pool import Pool, ingest
from datacomp.problems import PlatformFault
from datacomp.scales import SCALES
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.subsets import materialise, select
from datacomp_worker.tracks import clip
from datacomp_worker.tracks.clip import Trained

pytestmark = pytest.mark.faults
SHORT = replace(SCALES["tiny"], samples_seen=160, batch_size=16, warmup=2, checkpoints=5)
"""Ten steps, a checkpoint after every second one."""


@dataclass
class Line:
    """The line to the server of one attempt; kills the training child once `kill_at` samples were seen."""

    home: Path
    kill_at: int | None = None
    seen: int = 0
    stored: list[Path] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        self.seen = int(progress.done)
        if self.kill_at is not None and self.seen >= self.kill_at:
            for child in psutil.Process(os.getpid()).children(recursive=True):
                if str(self.home) in " ".join(child.cmdline()):
                    child.kill()

    def log(self, text: str) -> None:
        pass

    def check(self) -> None:
        pass

    def store(self, name: str, path: Path) -> None:
        self.stored.append(Path(shutil.copyfile(path, self.home / name)))


@dataclass
class Trainings:
    """A pool and what is trained on all of it."""

    home: Path
    pool: Pool
    attempts: int = 0

    def train(self, kill_at: int | None = None, resume: Path | None = None) -> tuple[Trained | None, Line]:
        """One attempt; None when it was killed."""
        self.attempts += 1
        line = Line(self.home / f"attempt-{self.attempts}", kill_at)
        line.home.mkdir()
        selection = select(self.pool, self.pool.sorted_uids)
        made = materialise(
            self.pool,
            selection,
            ShardCache(self.home / "scratch", 1 << 40),
            report=lambda done, total: None,
            check=lambda: None,
        )
        with made as shards:
            try:
                trained = clip.train(
                    selection, SHORT, SEED, shards=shards, workdir=line.home / "work", report=line, resume=resume
                )
            except PlatformFault as fault:
                if fault.problems[0].code != "training-killed":
                    raise
                return None, line
        return trained, line


@pytest.mark.timeout(3000)
def test_killed_at_random_steps_the_weights_are_those_of_an_unbroken_run(
    tmp_path: Path, summary: Callable[[str], None]
) -> None:
    SmallPool(rows=60, shards=2, features=False).write(tmp_path / "pool")
    trainings = Trainings(tmp_path, ingest(tmp_path / "pool", processes=1))
    unbroken, _ = trainings.train()
    assert unbroken is not None
    rng, resume, kills, resumed = random.Random(SEED), None, 0, []
    begin = 0
    while kills < share(50, least=2):
        kill_at = rng.randrange(begin + 16, 161, 16)
        trained, line = trainings.train(kill_at, resume)
        kills += trained is None
        resume = line.stored[-1] if line.stored else resume
        begin = 32 * int(resume.stem.removeprefix("epoch_")) if resume else 0
        resumed.append(begin)
        if begin >= 128 or trained is not None:
            final, _ = trainings.train(None, resume)
            check(final, unbroken)
            resume, begin = None, 0
    final, _ = trainings.train(None, resume)
    check(final, unbroken)
    summary(f"{kills} kills at random steps, continued from samples {resumed}: weights {unbroken.weights_digest[:12]}")


def check(final: Trained | None, unbroken: Trained) -> None:
    assert final is not None
    assert final.weights_digest == unbroken.weights_digest
    assert final.loss_curve == unbroken.loss_curve
