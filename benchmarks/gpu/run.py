"""What a GPU host does: training against open_clip_train alone, evaluation, near-duplicates. One command, three tables.

.venv/bin/python benchmarks/gpu/run.py [--device cuda]          on a GPU host
.venv/bin/python benchmarks/gpu/run.py --device cpu             the same lines at a tiny size, without one

Training: samples/s of a small and a large architecture with the recipe of `small` (amp, gradient checkpointing, four
loader workers) from the same tars, in pairs. Evaluation: images/s from JPEG to embedding, through the worker's own
embedder. Near-duplicates: FAISS on the GPU and on the CPU, whose decisions must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / folder) for folder in ("training", "filters")]
import numpy as np  # noqa: E402
from measured import run  # noqa: E402
from pairs import compare  # noqa: E402
from trainings import Spec  # noqa: E402


@dataclass(frozen=True)
class Size:
    """How much of each."""

    samples: int
    architectures: tuple[tuple[str, int], ...]
    """(model, batch)."""
    precision: str
    steps: int
    pairs: int
    workers: int
    images: int
    rows: int


FULL = Size(40_000, (("ViT-B-32", 4096), ("ViT-L-14", 1024)), "amp", 20, 2, 12, 20_000, 100_000)
TINY = Size(256, (("tiny-ViT-8-32", 32),), "fp32", 2, 1, 1, 64, 2_000)


def pool_of_photos(work: Path, samples: int) -> Path:
    """JPEGs of 384 x 512, some 30 kB each, ingested."""
    place = work / "pool"
    for command in (
        [sys.executable, HERE.parent / "reshard" / "bench_tars.py", place, str(samples), "2000"],
        [sys.executable, "-m", "datacomp", "pool", "ingest", place, "--no-language"],
    ):
        made = run(command)
        if not made.ok:
            raise SystemExit(made.log)
    return place


def training(work: Path, pool: Path, size: Size, device: str) -> None:
    for model, batch in size.architectures:
        spec = Spec(
            pool=pool, work=work, base="small", model=model, batch=batch, steps=size.steps, precision=size.precision,
            device=device, workers=size.workers, threads=None,
        )  # fmt: skip
        compare(spec, size.pairs)


class Jpeg:
    """A picture as an evaluation folder holds it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def decode(self):
        from io import BytesIO

        from PIL import Image

        return Image.open(BytesIO(self._data)).convert("RGB")


def jpegs(pool: Path, count: int) -> Iterator[bytes]:
    """Of the pool's tars, again and again."""
    import tarfile

    found = []
    with tarfile.open(min((pool / "shards").glob("*.tar"))) as tar:
        for member in tar:
            if member.name.endswith(".jpg") and len(found) < 256:
                found.append(tar.extractfile(member).read())
    return (found[number % len(found)] for number in range(count))


def evaluation(work: Path, pool: Path, size: Size, device: str) -> None:
    import open_clip
    import torch

    from datacomp.scales import SCALES
    from datacomp_worker.evaluation.model import embedder
    from datacomp_worker.tracks import clip
    from datacomp_worker.training.models import register_models

    register_models()
    print("\n| architecture | images | images/s |\n|---|---|---|")
    for model, _ in size.architectures:
        path = work / f"{model}.pt"
        made = open_clip.create_model(model, load_weights=False)
        torch.save({"epoch": 1, "name": model, "state_dict": made.state_dict()}, path)
        del made
        scale = next((scale for scale in SCALES.values() if scale.model == model), None)
        loaded = clip.load(path, scale or SCALES["small"], device=device)
        with embedder(loaded, device) as engine:
            pictures = [Jpeg(data) for data in jpegs(pool, size.images)]
            for _ in engine.images(pictures[: size.images // 8], lambda picture: picture):
                pass  # warms up
            began = time.monotonic()
            seen = sum(len(items) for items, _ in engine.images(pictures, lambda picture: picture))
            seconds = time.monotonic() - began
        print(f"| {model} | {seen:,} | {seen / seconds:,.0f} |", flush=True)


def near_duplicates(work: Path, size: Size, device: str) -> None:
    """The engine in two processes, one of which is shown no GPU."""
    program = HERE.parent / "neardup" / "run.py"
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    # In a process of its own: the program is called `run` too.
    make = (
        "import sys; sys.path.insert(0, sys.argv[1]); from run import *; generate(Path(sys.argv[2]), int(sys.argv[3]))"
    )
    subprocess.run([sys.executable, "-c", make, program.parent, work, str(size.rows)], check=True)
    print("\n| FAISS | rows | wall s | removed |\n|---|---|---|---|")
    decisions = []
    for name, variables in ((device, {} if device == "cuda" else hidden), ("cpu", hidden)):
        out = work / f"near-{len(decisions)}.json"
        command = [sys.executable, program, "--one", "ours", "greedy", work, out]
        subprocess.run(command, check=True, env={**os.environ, **variables})
        decisions.append(np.load(out.with_suffix(".npy")))
        wall = json.loads(out.read_text())["wall"]
        print(f"| {name} | {size.rows:,} | {wall:.2f} | {int(decisions[-1].sum()):,} |", flush=True)
    same = "equal" if np.array_equal(*decisions) else "DIFFERENT"
    print(f"\ndecisions: {same}")
    if same != "equal":
        raise SystemExit(1)


def said(device: str) -> str:
    """The hardware and software of the figures."""
    import torch

    gpu = torch.cuda.get_device_name(0) if device == "cuda" else f"no GPU, {os.cpu_count()} cores"
    names = ("torch", "open_clip_torch", "webdataset", "faiss-gpu-cu12", "faiss-cpu")
    return ", ".join([gpu, *(f"{name} {found}" for name in names if (found := _version(name)))])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", choices=("training", "evaluation", "neardup"))
    args = parser.parse_args()
    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise SystemExit("PyTorch sees no GPU here; --device cpu runs the same at a tiny size")
    size = FULL if args.device == "cuda" else TINY
    print(said(args.device))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pool = pool_of_photos(work, size.samples)
        if args.only in {None, "training"}:
            training(work, pool, size, args.device)
        if args.only in {None, "evaluation"}:
            evaluation(work, pool, size, args.device)
        if args.only in {None, "neardup"}:
            near_duplicates(work, size, args.device)


if __name__ == "__main__":
    main()
