"""One training in this process's child, ours or open_clip_train alone: for benchmarks that set them side by side.

python trainings.py ours|plain SPEC    (a JSON file; prints the log's place)
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from datacomp.pool import Pool
from datacomp.scales import SCALES, Scale
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.stages.base import Silent
from datacomp_worker.subsets import materialise, select
from datacomp_worker.training.recipe import steps_per_epoch, trainer_arguments

STEP = re.compile(r"Train Epoch: (\d+) \[\s*(\d+)/.*Batch \(t\): ([\d.]+).*Loss: ([\d.]+)")


@dataclass(frozen=True)
class Spec:
    """A recipe cut short, and where its data lie."""

    pool: Path
    work: Path
    base: str
    model: str
    batch: int
    steps: int
    """An epoch; there are two, of which the first warms up."""
    precision: str
    device: str
    workers: int
    threads: int | None
    accumulation: int = 1
    bare: bool = False
    """Whether the trainer alone goes without the environment that our child is given: how threads wait, kept memory."""

    @property
    def scale(self) -> Scale:
        """The base scale with another architecture, batch and length."""
        return replace(
            SCALES[self.base],
            model=self.model,
            batch_size=self.batch,
            samples_seen=2 * self.steps * self.batch,
            checkpoints=2,
            precision=self.precision,
            loader_workers=self.workers,
            threads=self.threads,
        )

    def write(self, path: Path) -> Path:
        """As JSON."""
        path.write_text(json.dumps({**self.__dict__, "pool": str(self.pool), "work": str(self.work)}))
        return path

    @classmethod
    def read(cls, path: Path) -> Spec:
        """From JSON."""
        found = json.loads(path.read_text())
        return cls(**{**found, "pool": Path(found["pool"]), "work": Path(found["work"])})


def ours(spec: Spec, workdir: Path) -> None:
    """Our child, as a worker starts it."""
    from datacomp_worker.tracks import clip

    pool = Pool.open(spec.pool)
    selection = select(pool, pool.sorted_uids)
    with shards(spec) as made:
        clip.train(
            selection, spec.scale, 0, shards=made, workdir=workdir, report=Silent(), device=spec.device,
            accumulation=spec.accumulation,
        )  # fmt: skip


def shards(spec: Spec):
    """The tars that both read."""
    pool = Pool.open(spec.pool)
    cache = ShardCache(spec.work / "scratch", 1 << 42)
    return materialise(pool, select(pool, pool.sorted_uids), cache, report=lambda done, total: None, check=lambda: None)


def plain(spec: Spec, workdir: Path) -> None:
    """The trainer with its own reader, as `python -m open_clip_train.main` runs it."""
    from open_clip_train.main import main as train

    from datacomp_worker.training.models import register_models

    register_models()
    with shards(spec) as made:
        pattern = f"{made.directory}/{{{0:08d}..{made.shards - 1:08d}}}.tar"
        how = {"shards": pattern, "logs": workdir, "device": spec.device, "world_size": 1}
        train(trainer_arguments(spec.scale, 0, **how, accumulation=spec.accumulation))


@dataclass(frozen=True)
class Rate:
    """What the trainer's own log says of the second epoch."""

    samples_per_second: float
    loss: float


def rate_of(log: str, spec: Spec) -> Rate:
    """The trainer's own step times, averaged over the steps after the first epoch."""
    seconds, steps, before, loss = 0.0, 0, 0, float("nan")
    for epoch, samples, batch_time, told in STEP.findall(log):
        done = int(epoch) * steps_per_epoch(spec.scale) + int(samples) // spec.batch
        if epoch != "0":
            seconds, steps = seconds + float(batch_time) * (done - before), steps + done - before
        before, loss = done, float(told)
    if not steps:
        raise SystemExit(f"no step in the log:\n{log[-3000:]}")
    return Rate(spec.batch * steps / seconds, loss)


if __name__ == "__main__":
    which, spec_file = sys.argv[1], Path(sys.argv[2])
    given = Spec.read(spec_file)
    {"ours": ours, "plain": plain}[which](given, Path(sys.argv[3]))
