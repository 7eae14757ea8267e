"""Our training child against open_clip_train alone: the same recipe, tars and machine, in alternating pairs.

.venv/bin/python benchmarks/training/run.py [--pairs 3] [--steps 16] [--batch 256] [--workers 0]

Both train `tiny`'s architecture from the same subset shards: ours with its seeded feed, events and checkpoints, the
trainer alone with its own webdataset reader. The step rate is the trainer's own figure for the second of two epochs;
CPU and wall time are of whole commands, imports and checkpoints included. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
from pairs import compare, tiny_world
from trainings import Spec


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--bare", action="store_true", help="the trainer alone gets the number of threads, no more")
    parser.add_argument("--pool", type=Path, help="an ingested pool of the tiny world, if there is one")
    args = parser.parse_args()
    print(f"open_clip_train {version('open_clip_torch')}, webdataset {version('webdataset')}, torch {version('torch')}")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        spec = Spec(
            pool=args.pool or tiny_world(work, args.rows), work=work, base="tiny", model="tiny-ViT-8-32",
            batch=args.batch, steps=args.steps, precision="fp32", device="cpu", workers=args.workers,
            threads=args.threads, accumulation=args.accumulation, bare=args.bare,
        )  # fmt: skip
        compare(spec, args.pairs)


if __name__ == "__main__":
    main()
