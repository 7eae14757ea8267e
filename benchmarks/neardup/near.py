"""Nearness of 100,000 rows of width 512 to 20,000 evaluation images: ours against the whole product, one command.

python benchmarks/neardup/near.py WORK_DIR [ROWS [IMAGES]]

Half the images are other rows of the pool's clusters, half are copies of rows at cosines 0.7 to 1. Prints Markdown.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from run import WIDTH, generate

FLOOR = 0.9


def whole(rows: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Each row's largest cosine, in float32, by products of all with all."""
    wide, others = rows.astype(np.float32), images.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    best = np.full(len(wide), -1, np.float32)
    for i in range(0, len(wide), 4096):
        for j in range(0, len(others), 4096):
            part = best[i : i + 4096]
            np.maximum(part, (wide[i : i + 4096] @ others[j : j + 4096].T).max(axis=1), out=part)
    return best


def ours(rows: np.ndarray, images: np.ndarray) -> np.ndarray:
    from datacomp_filters.neardup.evaluation import BLOCK, Images
    from datacomp_filters.neardup.rows import Rows
    from datacomp_filters.neardup.spread import one_thread_each

    with one_thread_each():
        known = Images.of(Rows.of(images), FLOOR)
        return np.concatenate(
            [known.nearest_cosine(Rows.of(rows[start : start + BLOCK])) for start in range(0, len(rows), BLOCK)]
        )


def timed(method: Callable[..., np.ndarray], *given: np.ndarray) -> tuple[np.ndarray, float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    answer = method(*given)
    return answer, time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    directory = Path(sys.argv[1])
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    images = int(sys.argv[3]) if len(sys.argv) > 3 else 20_000
    directory.mkdir(parents=True, exist_ok=True)
    generate(directory, rows + images // 2)
    x = np.load(directory / "features.npy")
    rng = np.random.default_rng(1)
    source = x[rng.choice(rows, images // 2)].astype(np.float32)
    noise = rng.standard_normal((len(source), WIDTH), np.float32)
    noise -= (noise * source).sum(axis=1, keepdims=True) * source
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    c = rng.uniform(0.7, 1, (len(source), 1)).astype(np.float32)
    leaked = (c * source + np.sqrt(1 - c * c) * noise).astype(np.float16)
    evaluation, pool = np.concatenate([x[rows:], leaked]), x[:rows]
    print(f"{rows:,} rows, {len(evaluation):,} images of width {WIDTH}, told from a cosine of {FLOOR} on\n")
    print("| method | wall (s) | CPU (s) | rows near | of them found | largest difference |\n|---|---|---|---|---|---|")
    truth, wall, cpu = timed(whole, pool, evaluation)
    near = truth >= FLOOR + 1e-5
    print(f"| whole product | {wall:.1f} | {cpu:.1f} | {near.sum():,} | - | - |")
    found, wall, cpu = timed(ours, pool, evaluation)
    told = near & (found >= np.float32(FLOOR))
    off = np.abs(found - truth)[told].max()
    print(f"| ours | {wall:.1f} | {cpu:.1f} | {near.sum():,} | {told.sum() / near.sum():.5f} | {off:.1e} |")


if __name__ == "__main__":
    main()
