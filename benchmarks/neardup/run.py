"""Near-duplicates of 100,000 rows of width 512 at cosine 0.95: ours against the exact blocked product, one command.

python benchmarks/neardup/run.py WORK_DIR [ROWS] [ours]

With `ours`, the exact product, whose work grows with the square of the rows, is left out.

The rows are a mixture of clusters of unequal size; three in ten are copies of others, changed so that their cosines
lie between 0.90 and 1, some in chains. Every method runs in a process of its own. Prints the table in Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

THRESHOLD = 0.95
WIDTH = 512
ROWS_PER_OWN_CELL = 1000
METHODS = (
    ("exact", "greedy", 2),
    ("exact", "greedy", 1),
    ("ours", "greedy", 2),
    ("ours", "greedy", 1),
    ("shuffled", "greedy", 2),
    ("exact", "semdedup", 2),
    ("ours", "semdedup", 2),
    ("own-cell", "semdedup", 2),
)


def generate(directory: Path, rows: int) -> None:
    """features.npy (rows, WIDTH) float16, uids.npy, scores.npy."""
    from datacomp.uids import UID_DTYPE

    rng = np.random.default_rng(0)
    clusters = max(rows // 250, 1)
    share = rng.pareto(1.2, clusters) + 0.05
    member = rng.choice(clusters, rows, p=share / share.sum())
    x = rng.standard_normal((clusters, WIDTH), np.float32)[member] + rng.standard_normal((rows, WIDTH), np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    copies = rng.choice(rows, 3 * rows // 10, replace=False)
    cosine = rng.uniform(0.90, 0.9999, copies.size).astype(np.float32)
    for start in range(0, copies.size, 1000):  # a later copy may copy an earlier one: chains
        part, c = copies[start : start + 1000], cosine[start : start + 1000, None]
        source = x[rng.integers(0, rows, part.size)]
        noise = rng.standard_normal((part.size, WIDTH), np.float32)
        noise -= (noise * source).sum(axis=1, keepdims=True) * source
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        x[part] = c * source + np.sqrt(1 - c * c) * noise
    uids = np.empty(rows, UID_DTYPE)
    uids["f0"], uids["f1"] = rng.integers(0, 1 << 62, (2, rows))
    np.save(directory / "features.npy", x.astype(np.float16))
    np.save(directory / "uids.npy", uids)
    np.save(directory / "scores.npy", rng.uniform(0, 0.4, rows).astype(np.float16).astype(np.float32))


def exact_pairs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Near pairs i < j by the whole product in blocks of float32, doubtful ones decided in float64."""
    wide = x.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    margin = (WIDTH + 16) * 2.0**-23
    left, right, side = [], [], 4096
    for i in range(0, len(x), side):
        for j in range(i, len(x), side):
            a, b = np.nonzero(wide[i : i + side] @ wide[j : j + side].T >= THRESHOLD - margin)
            a, b = a + i, b + j
            left.append(a[a < b])
            right.append(b[a < b])
    a, b = np.concatenate(left), np.concatenate(right)
    near = np.empty(a.size, np.bool_)
    for part in (slice(s, s + side) for s in range(0, a.size, side)):
        one, other = x[a[part]].astype(np.float64), x[b[part]].astype(np.float64)
        lengths = np.sqrt((one * one).sum(axis=1)) * np.sqrt((other * other).sum(axis=1))
        near[part] = (one * other).sum(axis=1) >= THRESHOLD * lengths
    return a[near], b[near]


def exact(x: np.ndarray, uids: np.ndarray, scores: np.ndarray, keep: str) -> np.ndarray:
    """Which rows the keep rule removes, knowing all near pairs."""
    ranked = np.lexsort((uids["f1"], uids["f0"], -scores))
    a, b = exact_pairs(x[ranked])
    gone = np.zeros(len(x), np.bool_)
    if keep == "semdedup":
        gone[b] = True
    else:
        by_first = np.argsort(a, kind="stable")
        for first, second in zip(a[by_first].tolist(), b[by_first].tolist(), strict=True):
            if not gone[first]:
                gone[second] = True
    removed = np.zeros(len(x), np.bool_)
    removed[ranked] = gone
    return removed


def own_cell(x: np.ndarray, uids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """SemDeDup's way: spherical k-means of the rows themselves by FAISS, each row compared within its one cell."""
    import faiss

    ranked = np.lexsort((uids["f1"], uids["f0"], -scores))
    wide = x[ranked].astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    kmeans = faiss.Kmeans(WIDTH, max(len(x) // ROWS_PER_OWN_CELL, 1), niter=20, spherical=True, seed=1)
    kmeans.train(wide)
    cell = kmeans.index.search(wide, 1)[1][:, 0]
    removed = np.zeros(len(x), np.bool_)
    for members in (ranked[cell == number] for number in range(kmeans.k)):
        if members.size:
            removed[members[exact_pairs(x[members])[1]]] = True
    return removed


def ours(x: np.ndarray, uids: np.ndarray, scores: np.ndarray, keep: str) -> tuple[np.ndarray, str]:
    """The engine, and the recall it measures."""
    from datacomp_filters.neardup import deduplicate

    decision = deduplicate(x, uids, scores, threshold=THRESHOLD, keep=keep)
    low, high = decision.recall.interval()
    return decision.removed, f"{decision.recall.rate:.4f} ({low:.4f} to {high:.4f})"


def one(method: str, keep: str, directory: Path, out: Path) -> None:
    """A method in this process: its decisions and what it took."""
    x, uids, scores = (np.load(directory / f"{name}.npy") for name in ("features", "uids", "scores"))
    order = np.arange(len(x))
    if method == "shuffled":
        order = np.random.default_rng(5).permutation(order)
        x, uids, scores = x[order], uids[order], scores[order]
    began, cpu = time.perf_counter(), time.process_time()
    measured = "-"
    if method == "exact":
        removed = exact(x, uids, scores, keep)
    elif method == "own-cell":
        removed = own_cell(x, uids, scores)
    else:
        removed, measured = ours(x, uids, scores, keep)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()  # getrusage counts the parent's memory in
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    back = np.empty(len(x), np.bool_)
    back[order] = removed
    np.save(out.with_suffix(".npy"), back)
    out.write_text(json.dumps({"wall": wall, "cpu": used, "memory": memory, "measured": measured}))


def main() -> None:
    directory, rows = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    directory.mkdir(parents=True, exist_ok=True)
    generate(directory, rows)
    truth: dict[str, np.ndarray] = {}
    first: dict[str, np.ndarray] = {}
    print(f"{rows:,} rows of width {WIDTH}, cosine at least {THRESHOLD}\n")
    heads = (
        "method",
        "keep rule",
        "threads",
        "wall (s)",
        "CPU (s)",
        "peak (MB)",
        "removed",
        "wrongly",
        "recall",
        "estimate",
        "same",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    methods = [m for m in METHODS if m[0] == "ours"] if sys.argv[3:] == ["ours"] else METHODS
    for method, keep, threads in methods:
        out = directory / f"{method}-{keep}-{threads}.json"
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads))}
        command = [sys.executable, __file__, "--one", method, keep, str(directory), str(out)]
        subprocess.run(command, env=environment, check=True)
        took, removed = json.loads(out.read_text()), np.load(out.with_suffix(".npy"))
        if method == "exact":
            truth.setdefault(keep, removed)
        if method == "ours":
            first.setdefault(keep, removed)
        known = truth.get(keep)
        wrongly = "-" if known is None else f"{(removed & ~known).sum():,}"
        recall = "-" if known is None else f"{(removed & known).sum() / known.sum():.4f}"
        same = "-" if method not in {"ours", "shuffled"} else "yes" if np.array_equal(removed, first[keep]) else "NO"
        print(
            f"| {method} | {keep} | {threads} | {took['wall']:.1f} | {took['cpu']:.1f} | {took['memory']:.0f} |"
            f" {removed.sum():,} | {wrongly} | {recall} | {took['measured']} | {same} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5]))
    else:
        main()
