"""The training feed from the pool's tars, from resharded tars, and the trainer's own webdataset feed, side by side.

.venv/bin/python benchmarks/feed/run.py [--samples 400] [--rounds 3] [--workers 0] [--side 224]

Each reads the same subset and makes batches of the same size with the same transform and tokenizer, in rounds that take
turns; the best round counts. With `--workers 0` images a second and core are what one loader process makes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import image_transform

from datacomp.pool import ingest
from datacomp.uids import sort
from datacomp_worker.subsets import reshard, virtual
from datacomp_worker.training.feed import get_data

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "filters"), str(HERE.parents[1] / "tests/support")]
from measured import run  # noqa: E402
from stock_feed import stock_loader  # noqa: E402

PER_TAR = 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", type=int, default=2000, help="samples in the pool; three in ten are the subset")
    parser.add_argument("--samples", type=int, default=400, help="samples drawn in a round")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--side", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        feeds, same = prepare(Path(name), args)
        print(f"virtual and resharded batches: {'equal bit for bit' if same else 'DIFFERENT'}\n")
        best: dict[str, tuple[float, float]] = dict.fromkeys(feeds, (float("inf"), float("inf")))
        for _ in range(args.rounds):
            for who, loader in feeds.items():
                best[who] = min(best[who], timed(loader()))
    stock = best["open_clip_train's webdataset feed"][0]
    print("| feed | samples/s | CPU ms a sample | x the stock feed |\n|---|---|---|---|")
    for who, (wall, cpu) in best.items():
        print(f"| {who} | {1 / wall:,.0f} | {cpu * 1e3:.2f} | {stock / wall:.2f} |")


def prepare(home: Path, args: argparse.Namespace) -> tuple[dict[str, Callable[[], Any]], bool]:
    """The feeds over one subset, and whether ours give the same batches."""
    made = run([sys.executable, HERE.parent / "reshard/bench_tars.py", home / "pool", str(args.pool), str(PER_TAR)])
    if not made.ok:
        raise SystemExit(made.log)
    pool = ingest(home / "pool", processes=1)
    kept = np.random.default_rng(1).choice(pool.rows, pool.rows * 3 // 10, replace=False)
    uids = sort(np.asarray(pool.uids)[kept])
    tars = reshard(pool, uids, home / "tars", shard_size=PER_TAR)
    masked = virtual(pool, uids, home / "virtual", indexes=home / "indexes")
    transform = image_transform(args.side, is_train=True, mean=None, std=None)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")

    def ours(shards: Any) -> Any:
        told = {"seed": 0, "batch_size": args.batch, "rank": 0, "world_size": 1, "workers": args.workers}
        arguments = SimpleNamespace(**told, train_num_samples=args.samples, device="cpu")
        return get_data(shards, arguments, (transform, None), tokenizer=tokenizer)["train"].dataloader

    def stock() -> Any:
        paths = [tars.tar(number) for number in range(tars.shards)]
        how = {"samples": args.samples, "batch": args.batch, "workers": args.workers}
        return stock_loader(paths, transform, tokenizer, **how)

    pairs = zip(ours(tars), ours(masked), strict=True)
    same = all(torch.equal(one, other) for left, right in pairs for one, other in zip(left, right, strict=True))
    return {
        "ours, the pool's tars (virtual)": lambda: ours(masked),
        "ours, resharded tars": lambda: ours(tars),
        "open_clip_train's webdataset feed": stock,
    }, same


def timed(loader: Any) -> tuple[float, float]:
    """Wall and processor seconds a sample, from the start of the loader to its last batch."""
    begin, cpu, samples = time.perf_counter(), time.process_time(), 0
    for images, _ in loader:
        samples += len(images)
    return (time.perf_counter() - begin) / samples, (time.process_time() - cpu) / samples


if __name__ == "__main__":
    main()
