"""How far results of one selection lie apart: the same seed on other threads or in another precision, other seeds.

.venv/bin/python benchmarks/tolerance/run.py --pool DIR [--suite DIR] [--seeds 0,1,2] [--threads 1,2] [--precision fp32]

Trains the scale `tiny` on the pairs with the highest CLIP score of an ingested tiny world, once for every seed, number
of threads and precision (`amp_bf16` stands for hardware that rounds otherwise), evaluates the tiny suite, and prints
the largest difference between runs of one seed and between seeds. The tolerance that is published in
`core/datacomp/reproduction/tolerances.json` comes from here. One JSON line a run goes to --out; runs that stand there
are not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev

from datacomp.filtering import select
from datacomp.pool import Pool
from datacomp.scales import get_scale
from datacomp.scoring import aggregate, score_records
from datacomp.suite import Suite, load_suite
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.stages.base import Silent
from datacomp_worker.subsets import materialise
from datacomp_worker.tracks import clip

MEANS = ("average", "main")


@dataclass(frozen=True)
class Result:
    seed: int
    threads: int
    precision: str
    weights: str
    average: float
    main: float
    tasks: dict[str, float]


def one(pool: Pool, suite: Suite, data: Path, fraction: float, seed: int, threads: int, precision: str) -> Result:
    scale = replace(get_scale("tiny"), threads=threads, precision=precision)
    uids = select(pool, None, f"top_fraction(clip_l14_similarity_score, {fraction})").uids(pool)
    chosen = clip.pool_rows(pool, uids)
    with tempfile.TemporaryDirectory(prefix="tolerance-") as folder:
        work, cache = Path(folder), ShardCache(Path(folder), 1 << 40)
        with materialise(pool, chosen, cache, report=lambda *_: None, check=lambda: None) as shards:
            trained = clip.train(chosen, scale, seed, shards=shards, workdir=work / "training", report=Silent())
        records = work / "records.parquet"
        evaluate_suite(suite, data, clip.load(trained.checkpoint, scale), records)
        values = {key: found.value for key, found in score_records(records, suite).items() if found.value is not None}
    means = aggregate(values, suite)
    if means.average is None or means.main is None:
        raise SystemExit("the suite has tasks without a value")
    return Result(seed, threads, precision, trained.weights_digest, means.average, means.main, values)


def spread(results: list[Result]) -> dict[str, dict[str, float]]:
    """By mean: the largest difference within a seed, between two seeds, and the standard deviation between seeds."""
    found = {}
    for mean in MEANS:
        by_seed = {r.seed: getattr(r, mean) for r in reversed(results)}
        pairs = list(itertools.combinations(results, 2))
        found[mean] = {
            "largest_within_a_seed": max(
                (abs(getattr(a, mean) - getattr(b, mean)) for a, b in pairs if a.seed == b.seed), default=0.0
            ),
            "largest_between_seeds": max(by_seed.values()) - min(by_seed.values()),
            "deviation_between_seeds": stdev(by_seed.values()) if len(by_seed) > 1 else 0.0,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--suite", type=Path)
    parser.add_argument("--suite-id", default="tiny")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--fraction", type=float, default=0.3)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    pool, suite, data = Pool.open(wanted.pool), load_suite(wanted.suite_id), wanted.suite or wanted.pool / "suite"
    lines = wanted.out.read_text().splitlines() if wanted.out and wanted.out.is_file() else []
    results = [Result(**json.loads(line)) for line in lines]
    seeds, threads = (map(int, text.split(",")) for text in (wanted.seeds, wanted.threads))
    for plan in itertools.product(seeds, threads, wanted.precision.split(",")):
        if plan in {(r.seed, r.threads, r.precision) for r in results}:
            continue
        result = one(pool, suite, data, wanted.fraction, *plan)
        results.append(result)
        print("seed {}, {} threads, {}".format(*plan), f"average {result.average:.4f}, main {result.main:.4f}, "
              f"weights {result.weights[:12]}", sep=": ", flush=True)  # fmt: skip
        if wanted.out:
            with wanted.out.open("a") as file:
                file.write(json.dumps(vars(result)) + "\n")
    print(json.dumps(spread(results), indent=1))


if __name__ == "__main__":
    main()
