"""Ours against the original's baselines.py, and pandas, Polars, DuckDB where they are installed, on one generated pool.

.venv/bin/python benchmarks/filters/run.py --rows 1000000 [--original CLONE --original-python PYTHON]
                                           [--peers-python PYTHON]

Prints a table of CPU time, wall time and peak memory of whole commands, start-up included, and compares the files they
write. Ours are medians of five runs on one core; what takes minutes runs once. A row in brackets repeats a command on
a pool of 1,000 rows: what of it is start-up. Ratios are of whole commands, then of what is not start-up. With --pool
DIR an ingested pool of `bench_pool.py` is taken, and ingestion is not measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from measured import Measured, run
from original import Original

from datacomp.digests import digest_file
from datacomp.pool.language import packaged_model

HERE = Path(__file__).parent
FRACTION = "0.3"
FEW = 1000
FILTERS: dict[str, list[str]] = {
    "clip_score": ["--arch", "l14", "--fraction", FRACTION],
    "basic_filter": [],
    "no_filter": [],
}
RULES = {
    "clip_score as a rule": f"top_fraction(clip_l14_similarity_score, {FRACTION})",
    "rule of scores": f"top_fraction(clip_l14_similarity_score, {FRACTION}) and clip_b32_similarity_score >= 0.2",
    "rule with language": f"top_fraction(clip_l14_similarity_score, {FRACTION}) and lang == 'en'",
}


@dataclass
class Table:
    """The rows of the report; every row says what its file is compared with."""

    lines: list[str] = field(default_factory=list)

    def add(self, what: str, who: str, took: Measured, note: str = "") -> None:
        cells = (f"{took.cpu_seconds:.2f}", f"{took.wall_seconds:.2f}", f"{took.peak_bytes / 1e6:,.0f}")
        line = f"| {what} | {who} | {' | '.join(cells)} | {note if took.ok else 'failed: ' + took.log[-200:]} |"
        self.lines.append(line)
        print(line, flush=True)


@dataclass(frozen=True)
class Bench:
    """One pool, and a smaller one for start-up."""

    pool: Path
    few: Path
    work: Path
    table: Table

    def ingest(self, rows: int) -> None:
        """Decoding, ingestion without and then with language."""
        decoded = self._best(lambda: run([sys.executable, HERE / "decode.py", self.pool]))
        self.table.add("decode", "pyarrow", decoded)
        run([*datacomp("pool", "ingest", self.few)])
        took = run([*datacomp("pool", "ingest", self.pool, "--no-language")])
        size = sum(path.stat().st_size for path in (self.pool / "pack").rglob("*.npy"))
        ratio = took.cpu_seconds / decoded.cpu_seconds
        self.table.add("ingest, no language", "ours", took, f"{ratio:.1f} x decode, {size / rows:.0f} bytes a row")
        self.table.add("ingest, language added", "ours", run([*datacomp("pool", "ingest", self.pool)]))

    def filters(self, original: Original | None, peers: Path) -> None:
        """Each filter by everybody."""
        for name, options in FILTERS.items():
            ours = self._median(lambda name=name, options=options: self._ours(name, self.pool, options))
            self.table.add(name, "ours", ours, digest(self.work / "ours.npy"))
            start = self._median(lambda name=name, options=options: self._ours(name, self.few, options, "few.npy"))
            self.table.add(f"({name})", "ours", start, "start-up")
            if original is not None:
                self._original(original, name, options, ours, start)
        for library in ("pandas", "polars", "duckdb"):
            out = self.work / f"{library}.npy"
            took = run([peers, HERE / "peers.py", library, self.pool / "metadata", out, FRACTION])
            if took.ok:
                self.table.add("clip_score", library, took, digest(out))

    def rules(self) -> None:
        """Rules of our own, and what a dry run takes, with another subset to compare with."""
        for what, rule in RULES.items():
            took = self._median(lambda rule=rule: self._ours(rule, self.pool, []))
            self.table.add(what, "ours", took, digest(self.work / "ours.npy"))
        for name, options in (
            ("clip_score", FILTERS["clip_score"]),
            ("basic_filter", []),
            (RULES["rule with language"], []),
        ):
            command = datacomp("filter", name, "--pool", self.pool, *options, "--dry-run")
            self.table.add(f"dry run: {name.split('(')[0]}", "ours", self._median(lambda c=command: run(c)))
            compared = [*command, "--compare", self.work / "ours.npy"]
            self.table.add("the same, with overlap", "ours", self._median(lambda c=compared: run(c)))

    def _original(self, original: Original, name: str, options: list[str], ours: Measured, our_start: Measured) -> None:
        out = self.work / "original.npy"
        took = original.run(name, self.pool / "metadata", out, *options, workers=2)
        start = original.run(name, self.few / "metadata", self.work / "few.npy", *options, workers=2)
        same = took.ok and out.read_bytes() == (self.work / "ours.npy").read_bytes()
        whole = took.cpu_seconds / ours.cpu_seconds
        net = (took.cpu_seconds - start.cpu_seconds) / (ours.cpu_seconds - our_start.cpu_seconds)
        note = f"{'same bytes' if same else 'DIFFERENT'}; {whole:.0f} x ours, {net:.0f} x without start-up"
        self.table.add(name, "original", took, note)
        self.table.add(f"({name})", "original", start, "start-up")

    def _ours(self, name: str, pool: Path, options: list[str], out: str = "ours.npy") -> Measured:
        (self.work / out).unlink(missing_ok=True)  # giving an earlier file's memory back is no part of filtering
        return run([*datacomp("filter", name, "--pool", pool, "--out", self.work / out, *options)])

    def _best(self, measure: Callable[[], Measured]) -> Measured:
        """The quickest of three: the first also reads files from disk and compiles bytecode."""
        return min((measure() for _ in range(3)), key=lambda took: took.cpu_seconds)

    def _median(self, measure: Callable[[], Measured]) -> Measured:
        """The median of five by CPU time, on one core, after one that reads files and compiles bytecode."""
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            measure()
            return sorted((measure() for _ in range(5)), key=lambda took: took.cpu_seconds)[2]
        finally:
            os.sched_setaffinity(0, cores)


def datacomp(*arguments: str | Path) -> list[str | Path]:
    """A command line of ours."""
    return [sys.executable, "-m", "datacomp", *arguments]


def digest(path: Path) -> str:
    """The head of a file's digest, to compare by eye."""
    return f"sha256 {digest_file(path)[:12]}" if path.is_file() else "no file"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--original-python", type=Path)
    parser.add_argument("--peers-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--pool", type=Path)
    args = parser.parse_args()
    table = Table(["| what | who | CPU s | wall s | peak MB | note |", "|---|---|---|---|---|---|"])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pools = {"few": FEW} if args.pool else {"pool": args.rows, "few": FEW}
        for pool, rows in pools.items():
            made = run([sys.executable, HERE / "bench_pool.py", work / pool, str(rows)])
            if not made.ok:
                raise SystemExit(made.log)
        bench = Bench(args.pool or work / "pool", work / "few", work, table)
        print("\n".join(table.lines), flush=True)
        if args.pool:
            run([*datacomp("pool", "ingest", bench.few)])
        else:
            bench.ingest(args.rows)
        original = None
        if args.original and args.original_python:
            original = Original.prepare(args.original, args.original_python, work, packaged_model(), None)
        bench.filters(original, args.peers_python)
        bench.rules()


if __name__ == "__main__":
    main()
