"""Ours against the original's resharder.py on the same generated tars.

.venv/bin/python benchmarks/reshard/run.py --samples 20000 [--original CLONE --original-python PYTHON]

Prints CPU time, wall time and peak memory of whole commands, and CPU time per kept sample with start-up (the same
command on ten samples) taken off. Ours runs over tars never seen, which it reads and indexes; over the same tars with
their indexes at hand; and over an ingested pool, whose pack knows the places. Members of all tars are compared: names,
order, bytes. Each measured run comes after one whose output was deleted, so that none pays for memory that the system
hands out for the first time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datacomp.digests import digest_bytes
from datacomp.reshard.index import TarDirectory, index_tar
from datacomp.uids import sort, write_subset

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "filters"))
from measured import Measured, run  # noqa: E402

FEW = 10
PER_TAR = 2000


@dataclass(frozen=True)
class Bench:
    work: Path
    workers: int

    def make(self, name: str, samples: int, share: float) -> Path:
        """Tars, and a subset of some of their samples."""
        place = self.work / name
        made = run([sys.executable, HERE / "bench_tars.py", place, str(samples), str(PER_TAR)])
        if not made.ok:
            raise SystemExit(made.log)
        cache = place / "cache"
        cache.mkdir()
        uids = np.concatenate([index_tar(tar, cache).uids for tar in TarDirectory.of(place / "shards", cache).tars])
        kept = np.random.default_rng(1).choice(uids.size, int(uids.size * share), replace=False)
        write_subset(place / "subset.npy", sort(uids[kept]))
        shutil.rmtree(cache)
        ingested = run([sys.executable, "-m", "datacomp", "pool", "ingest", place, "--no-language"])
        if not ingested.ok:
            raise SystemExit(ingested.log)
        return place

    def ours(self, place: Path, *, pool: bool = False, fresh: bool = False) -> Measured:
        out, index = place / "ours", place / "index"
        shutil.rmtree(out, ignore_errors=True)
        if fresh:
            shutil.rmtree(index, ignore_errors=True)
        source = ["--pool", place] if pool else ["--shards", place / "shards"]
        command = [sys.executable, "-m", "datacomp", "reshard", *source, "--out", out]
        return run([*command, "--subset", place / "subset.npy", "--index", index, "--workers", str(self.workers)])

    def original(self, place: Path, clone: Path, python: Path) -> Measured:
        out = place / "original"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        command = [python, clone / "resharder.py", "-i", place / "shards", "-o", out]
        return run([*command, "-s", place / "subset.npy", "-j", str(self.workers)])


def members(directory: Path) -> list[tuple[str, str]]:
    """Name and digest of every member of every tar, in order."""
    found = []
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            found += [(member.name, digest_bytes(tar.extractfile(member).read())) for member in tar]
    return found


def line(who: str, took: Measured, start: Measured, kept: int, note: str = "") -> float:
    each = (took.cpu_seconds - start.cpu_seconds) / kept * 1e6
    cells = f"{took.cpu_seconds:.2f} | {start.cpu_seconds:.2f} | {each:.0f} | {took.wall_seconds:.2f}"
    print(f"| {who} | {cells} | {took.peak_bytes / 1e6:.0f} | {note if took.ok else took.log[-300:]} |", flush=True)
    return each


def least(times: int, command: Callable[[], Measured]) -> Measured:
    """The run that took the least CPU time: what other work on the machine takes comes on top."""
    return min((command() for _ in range(times)), key=lambda took: took.cpu_seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each, of which the cheapest counts")
    parser.add_argument("--original", type=Path)
    parser.add_argument("--original-python", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), args.workers)
        place, few = bench.make("all", args.samples, args.share), bench.make("few", FEW, 1.0)
        kept = int(args.samples * args.share)
        print("| who | CPU s | start-up | us a kept sample | wall s | peak MB | note |\n|---|---|---|---|---|---|---|")
        for warm in (few, place):
            bench.ours(warm)  # compiles bytecode, as the next line of the original's
        start = least(args.repeat, lambda: bench.ours(few, fresh=True))
        start_pool = least(args.repeat, lambda: bench.ours(few, pool=True))
        best = partial(least, args.repeat)
        first = line("ours, tars never seen", best(lambda: bench.ours(place, fresh=True)), start, kept)
        again = line("ours, indexes at hand", best(lambda: bench.ours(place)), start, kept)
        seen = members(place / "ours")
        packed = line("ours, ingested pool", best(lambda: bench.ours(place, pool=True)), start_pool, kept)
        if args.original and args.original_python:
            clone = args.original.resolve()
            started, took = (
                least(args.repeat + 1, partial(bench.original, where, clone, args.original_python))
                for where in (few, place)
            )
            ours, theirs = members(place / "ours"), members(place / "original")
            same = "same members, order and bytes" if seen == ours == theirs else "DIFFERENT"
            if ours != theirs and sorted(ours) == sorted(theirs):
                same = "same members and bytes in another order"
            each = line("original", took, started, kept, same)
            ratios = [f"{each / own:.1f} x ours" for own in (first, again, packed)]
            print(f"\nthe original takes, line by line, {', '.join(ratios)}")


if __name__ == "__main__":
    main()
