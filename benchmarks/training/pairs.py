"""Two sides trained in alternating order, and the table of it."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "filters"))
from measured import Measured, run  # noqa: E402
from trainings import Spec, rate_of, shards  # noqa: E402

from datacomp.pool import ingest  # noqa: E402
from datacomp_worker.training.supervise import cpu_environment  # noqa: E402


def variables(spec: Spec) -> dict[str, str]:
    """What both commands are given; bare, it is the number of threads alone."""
    if spec.threads is None:
        return {}
    given = cpu_environment(spec.threads)
    return {name: value for name, value in given.items() if name.endswith("NUM_THREADS") or not spec.bare}


@dataclass
class Side:
    """One of the two, over all pairs."""

    name: str
    rates: list[float] = field(default_factory=list)
    took: list[Measured] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def train(self, spec: Spec, turn: int) -> None:
        workdir = spec.work / f"{self.name}-{spec.model}-{turn}"
        workdir.mkdir()
        spec_file = spec.write(workdir / "spec.json")
        took = run([sys.executable, HERE / "trainings.py", self.name, spec_file, workdir], variables=variables(spec))
        logs = sorted(workdir.glob("run/out.log"))
        if not took.ok or not logs:
            raise SystemExit(f"{self.name} failed:\n{took.log}")
        rate = rate_of(logs[0].read_text(), spec)
        self.rates.append(rate.samples_per_second)
        self.losses.append(rate.loss)
        self.took.append(took)

    def line(self) -> str:
        rates = ", ".join(f"{rate:,.0f}" for rate in self.rates)
        cpu = statistics.median(took.cpu_seconds for took in self.took)
        wall = statistics.median(took.wall_seconds for took in self.took)
        loss = statistics.median(self.losses)
        return f"| {self.name} | {statistics.median(self.rates):,.0f} | {rates} | {cpu:.1f} | {wall:.1f} | {loss:.3f} |"


def compare(spec: Spec, pairs: int) -> tuple[Side, Side]:
    """Train in alternating order and print the table."""
    with shards(spec):
        pass  # made before anything is timed
    ours, plain = Side("ours"), Side("plain")
    for turn in range(pairs):
        for side in (ours, plain) if turn % 2 == 0 else (plain, ours):
            side.train(spec, turn)
    where = f"{spec.device}, {spec.threads or 'all'} threads, {spec.workers} loader workers"
    print(f"\n{spec.model}, batch {spec.batch}, {spec.precision}, {spec.steps} steps measured; {where}\n")
    print("| who | samples/s (median) | each | CPU s | wall s | last loss |\n|---|---|---|---|---|---|")
    print(ours.line())
    print(plain.line())
    ratios = [own / other for own, other in zip(ours.rates, plain.rates, strict=True)]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nours / plain, pair by pair: {each}; median {statistics.median(ratios):.2f}", flush=True)
    return ours, plain


def tiny_world(work: Path, pairs: int) -> Path:
    """A pool of the tiny world."""
    from datacomp_worker.world import generate

    generate(work / "world", work / "world" / "suite", pairs=pairs, seed=0, report=lambda what, share: None)
    ingest(work / "world")
    return work / "world"
