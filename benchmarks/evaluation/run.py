"""Evaluation against the original's (mlfoundations/datacomp over CLIP_benchmark): equal numbers, and times.

    python benchmarks/evaluation/run.py WORK_DIR --datacomp CLONE --peer-python PYTHON [--checkpoint FILE]

WORK_DIR gets the generated data; CLONE is a clone of mlfoundations/datacomp; PYTHON is the interpreter of the peer's
environment: clip-benchmark 1.4.0, webdataset 0.2.31 and wilds 2.0.0, as the original pins them, datasets, open_clip,
scikit-learn, and a NumPy before 2.4. First every metric on small generated tasks, then the tiny suite with one set of
weights: the whole suite by ours, task by task by the original's own functions, in the same minute. Without --checkpoint
the weights are random. `--golden` writes what the original measured, which tests/worker/test_evaluation_peer.py checks
ours against without a clone. Prints tables in Markdown; exit status 1 when a metric differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))
TOLERANCE = 1e-6
RENAMED = {
    "tiny/retrieval": ("retrieval/tiny", "wds_tiny-retrieval_test"),
    "tiny/shapes-by-background": ("fairness/geode", "wds_geode_test"),
    "tiny/objects-by-size": ("fairness/dollar_street", "wds_dollar_street_test"),
}
"""Tasks for which the original's function is chosen by the name it knows, and where it then looks for their data."""


def peer(options: argparse.Namespace, mode: str, *rest: Path) -> dict:
    """The peer's report; what it says on its way is shown if it fails."""
    command = [options.peer_python, str(HERE / "peer.py"), mode, str(options.datacomp), *map(str, rest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout, check=False)
    if done.returncode:
        raise SystemExit(f"the peer failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def show(rows: list[tuple[str, str, float, float]]) -> bool:
    """A table of metrics; whether all agree."""
    print("| task | metric | ours | theirs | difference |\n|---|---|---|---|---|")
    for task, metric, ours, theirs in rows:
        print(f"| {task} | {metric} | {ours:.6f} | {theirs:.6f} | {ours - theirs:+.1e} |")
    return all(abs(ours - theirs) <= TOLERANCE for _, _, ours, theirs in rows)


def compare_metrics(options: argparse.Namespace) -> bool:
    """Every metric, with a model in closed form."""
    from metric_suite import write_metric_suite
    from own_metrics import differences, own_metrics

    data = options.work / "metrics"
    if not data.is_dir():
        write_metric_suite(data)
    theirs = peer(options, "metrics", data)
    by_task = {task: found["metrics"] for task, found in theirs["tasks"].items()}
    rows = differences(own_metrics(data), by_task)
    print(f"Every metric, {', '.join(f'{name} {version}' for name, version in theirs['versions'].items())}:\n")
    if options.golden:
        golden: dict[str, dict[str, float]] = {}
        for task, metric, _, value in rows:
            golden.setdefault(task, {})[metric] = value
        options.golden.write_text(json.dumps({"versions": theirs["versions"], "metrics": golden}, indent=1) + "\n")
    return show(rows)


def tiny_world(work: Path) -> Path:
    """The tiny suite's data; generating it takes half a minute."""
    from datacomp_worker.world import generate

    generate(work / "pool", work / "suite", pairs=1024, seed=0, report=lambda *_: None)
    return work / "suite"


def random_weights(path: Path) -> Path:
    """A checkpoint of the tiny architecture that was never trained."""
    import open_clip
    import torch

    from datacomp.scales import SCALES
    from datacomp_worker.training.models import register_models

    register_models()
    torch.manual_seed(0)
    torch.save({"state_dict": open_clip.create_model(SCALES["tiny"].model, load_weights=False).state_dict()}, path)
    return path


def compare_suite(options: argparse.Namespace) -> bool:
    """The tiny suite's counted tasks, and what both take for them."""
    from own_metrics import differences, of_task

    from datacomp.records import read_records
    from datacomp.scales import SCALES
    from datacomp.suite import load_suite
    from datacomp_worker.evaluation import evaluate_suite
    from datacomp_worker.tracks import clip
    from datacomp_worker.training.models import TINY_MODEL

    data, scale = tiny_world(options.work), SCALES["tiny"]
    checkpoint = options.checkpoint or random_weights(options.work / "random.pt")
    full = load_suite("tiny")
    suite = full.model_copy(update={"tasks": full.counted})
    records = options.work / "records.parquet"
    seconds = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        evaluate_suite(suite, data, clip.load(checkpoint, scale), records)
        seconds.append(time.perf_counter() - start)
    print(f"ours: {seconds}", file=sys.stderr, flush=True)
    found = read_records(records)
    (options.work / "configs").mkdir(exist_ok=True)
    (options.work / "configs" / f"{scale.model}.json").write_text(json.dumps(TINY_MODEL))
    tasks = {}
    for task in suite.tasks:
        original, folder = RENAMED.get(task.key, (task.key, task.folder))
        tasks[task.key] = (original, folder, task.folder)
    plan = {
        "arch": scale.model,
        "configs": str(options.work / "configs"),
        "checkpoint": str(checkpoint),
        "workers": options.workers,
        "retrieval": "tiny/retrieval",
        "riddles": "tiny/associations",
        "tasks": tasks,
    }
    (options.work / "plan.json").write_text(json.dumps(plan))
    theirs = peer(options, "suite", data, options.work / "plan.json")
    ours = {task.key: of_task(task, found[task.key]) for task in suite.tasks}
    print("\nThe tiny suite:\n")
    equal = show(differences(ours, {key: one["metrics"] for key, one in theirs["tasks"].items()}))
    slow, quick = theirs["seconds"], min(seconds)
    print(f"\n| {len(suite.tasks)} tasks | seconds |\n|---|---|")
    print(f"| the original's functions, task by task ({options.workers} loaders) | {slow:.1f} |")
    print(f"| ours, the whole suite (best of {options.repeat}) | {quick:.1f} |\n| ratio | {slow / quick:.1f} |")
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--datacomp", type=Path, required=True, help="clone of mlfoundations/datacomp")
    parser.add_argument("--peer-python", required=True, help="interpreter of the peer's environment")
    parser.add_argument("--checkpoint", type=Path, help="weights of scale tiny; default random ones")
    parser.add_argument("--golden", type=Path, help="where to write what the original measured")
    parser.add_argument("--only", choices=("metrics", "suite"), help="one of the two comparisons alone")
    parser.add_argument("--workers", type=int, default=4, help="the original's loaders (its default)")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=1800)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    parts = {"metrics": compare_metrics, "suite": compare_suite}
    equal = [compare(options) for name, compare in parts.items() if options.only in {None, name}]
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
