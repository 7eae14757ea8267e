"""Checking, combining and packing large subsets against a large pool: wall time, CPU time and peak resident memory.

.venv/bin/python benchmarks/uids/run.py --rows 38000000 [--pool-rows 40000000] [--dir DIR]

The pool's pack is generated with the columns that a check reads (uids, their order, where images lie), uids at random
in shard order, and written to DIR (40 bytes a row). Each line is a process of its own, start-up included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from datacomp import uids as u
from datacomp.pool.join import write_column, write_manifest
from datacomp.pool.manifest import PACK, Column, PoolManifest, Shard, Tar

sys.path.append(str(Path(__file__).parent.parent / "filters"))
from measured import run

USES = "import sys, pathlib; from datacomp import bitmap, uids; from datacomp.pool import Pool; "
FILES = "path, other, pool = map(pathlib.Path, sys.argv[1:]); "
MAKE_BITMAP = f"{USES}{FILES}bitmap.write(path, uids.read_subset(other), Pool.open(pool)); print(path.stat().st_size)"
EXPAND_BITMAP = f"{USES}{FILES}bitmap.expand(path, Pool.open(pool), other); print(other.stat().st_size)"
"""What `datacomp submit --pool` and the stage `validate` do before and after sending."""


def make_pool(directory: Path, rows: int) -> None:
    """A pack whose lookups cost what a real one's do; one row in twenty has no image."""
    columns = directory / PACK / "columns"
    columns.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    uids = rng.integers(0, 1 << 64, (rows, 2), np.uint64).view(u.UID_DTYPE).reshape(-1)
    order = u.order(uids).astype(np.int32)
    tar = np.where(rng.random(rows) < 0.05, -1, np.arange(rows) // 10_000).astype(np.int32)
    values = {"uid": uids, "uid_order": order, "uid_sorted": u.halves(uids).take(order, axis=0), "tar": tar}
    values["uid_sorted"] = values["uid_sorted"].view(u.UID_DTYPE).reshape(-1)
    written: list[Column] = [write_column(columns, name, column) for name, column in values.items()]
    manifest = PoolManifest(
        rows=rows,
        shards=(Shard(name="00000000", rows=rows, size=0, features_crc=None),),
        tars=tuple(Tar(name=f"{n:08d}", size=0, samples=0) for n in range(-(-rows // 10_000))),
        features=(),
        columns=tuple(sorted(written, key=lambda column: column.name)),
        metadata=("uid",),
        made_with={},
    )
    write_manifest(directory, manifest)


def make_subset(pool: Path, path: Path, rows: int, seed: int) -> None:
    """A random subset of the pool's uids."""
    ordered = np.load(pool / PACK / "columns" / "uid_sorted.npy", mmap_mode="r")
    chosen = np.zeros(ordered.size, np.bool_)
    chosen[np.random.default_rng(seed).permutation(ordered.size)[:rows]] = True
    u.write_subset(path, u.halves(ordered).compress(chosen, axis=0).view(u.UID_DTYPE).reshape(-1))


def make(work: Path, rows: int, pool_rows: int) -> None:
    """A pool and two subsets of it."""
    make_pool(work / "pool", pool_rows)
    for seed, file in enumerate(("a.npy", "b.npy")):
        make_subset(work / "pool", work / file, rows, seed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pool-rows", type=int)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dir", type=Path, help="Where the files go; default a temporary directory.")
    args = parser.parse_args()
    pool_rows = args.pool_rows or args.rows * 20 // 19
    if args.make:
        make(args.make, args.rows, pool_rows)
        return
    with tempfile.TemporaryDirectory(dir=args.dir) as name:
        work = Path(name)
        # In a process of its own: a child's peak memory counts what its parent had when it started it.
        sizes = ["--rows", str(args.rows), "--pool-rows", str(pool_rows)]
        made = run([sys.executable, __file__, "--make", work, *sizes])
        if not made.ok:
            raise SystemExit(made.log)
        print(f"{args.rows:,} uids, a pool of {pool_rows:,} rows\n")
        print("| what | CPU s | wall s | peak MB | says |\n|---|---|---|---|---|", flush=True)
        a, b, out = work / "a.npy", work / "b.npy", work / "out.npy"
        commands: dict[str, list[str | Path]] = {
            "check": ["check", a, "--pool", work / "pool"],
            "overlap": ["subset", "overlap", a, b],
            **{
                f"{what}, written": ["subset", what, a, b, "--out", out]
                for what in ("union", "intersect", "difference")
            },
        }
        small, back = work / "a.bitmap", work / "back.npy"
        lines: dict[str, list[str | Path]] = {what: ["-m", "datacomp", *rest] for what, rest in commands.items()}
        lines["bitmap, made"] = ["-c", MAKE_BITMAP, small, a, work / "pool"]
        lines["bitmap, expanded"] = ["-c", EXPAND_BITMAP, small, back, work / "pool"]
        for what, arguments in lines.items():
            took = run([sys.executable, *arguments])
            cells = f"{took.cpu_seconds:.2f} | {took.wall_seconds:.2f} | {took.peak_bytes / 1e6:,.0f}"
            print(f"| {what} | {cells} | {' '.join(took.log.split())[-90:]} |", flush=True)


if __name__ == "__main__":
    main()
