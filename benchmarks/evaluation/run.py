"""Evaluation against the original's (mlfoundations/datacomp over CLIP_benchmark): equal numbers, and times.

    python benchmarks/evaluation/run.py WORK_DIR --datacomp CLONE --peer-python PYTHON [--checkpoint FILE]

WORK_DIR gets the generated data; CLONE is a clone of mlfoundations/datacomp; PYTHON is the interpreter of the peer's
environment: clip-benchmark 1.4.0, webdataset 0.2.31 and wilds 2.0.0, as the original pins them, datasets, open_clip,
scikit-learn, and a NumPy before 2.4. First every metric on small generated tasks, then the tiny suite with one set of
weights: the whole suite by ours, task by task by the original's own functions, in the same minute, each in a process of
its own whose clock starts after its imports and runs while models are loaded; the first and the best of several
repetitions. `--commands` adds what whole commands take, start-up included: ours once, the original's once a task, as
users of clip_benchmark's command line have it. Without --checkpoint the weights are random. `--golden` writes what the
original measured, which tests/worker/test_evaluation_peer.py checks ours against without a clone. Prints tables in
Markdown; exit status 1 when a metric differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

from spent import Clock  # noqa: E402

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
    rows = differences(own_metrics(data), theirs["tasks"])
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


def own(options: argparse.Namespace, data: Path, checkpoint: Path, repeat: int) -> list[dict[str, float]]:
    """What our repetitions took."""
    records = options.work / "records.parquet"
    command = [sys.executable, str(HERE / "own.py"), *map(str, (data, checkpoint, records, repeat))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=options.timeout, check=True)
    runs: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])["runs"]
    return runs


def the_plan(options: argparse.Namespace, checkpoint: Path, tasks: dict[str, list[str]], repeat: int) -> Path:
    """What the peer is told to do."""
    from datacomp.scales import SCALES
    from datacomp_worker.training.models import TINY_MODEL

    arch = SCALES["tiny"].model
    configs, path = options.work / "configs", options.work / "plan.json"
    configs.mkdir(exist_ok=True)
    (configs / f"{arch}.json").write_text(json.dumps(TINY_MODEL))
    plan = {
        "arch": arch,
        "configs": str(configs),
        "checkpoint": str(checkpoint),
        "workers": options.workers,
        "repeat": repeat,
        "retrieval": "tiny/retrieval",
        "riddles": "tiny/associations",
        "tasks": tasks,
    }
    path.write_text(json.dumps(plan))
    return path


def compare_suite(options: argparse.Namespace) -> bool:
    """The tiny suite's counted tasks, and what both take for them."""
    from own_metrics import differences, of_task

    from datacomp.records import read_records
    from datacomp.suite import load_suite

    data = tiny_world(options.work)
    checkpoint = (options.checkpoint or random_weights(options.work / "random.pt")).resolve()
    known = load_suite("tiny").counted
    tasks = {task.key: [*RENAMED.get(task.key, (task.key, task.folder)), task.folder] for task in known}
    ours = own(options, data, checkpoint, options.repeat)
    theirs = peer(options, "suite", data, the_plan(options, checkpoint, tasks, options.repeat))
    found = read_records(options.work / "records.parquet")
    print("\nThe tiny suite:\n")
    equal = show(differences({task.key: of_task(task, found[task.key]) for task in known}, theirs["tasks"]))
    times = [("the first time, after imports", ours[0], theirs["runs"][0])]
    if options.repeat > 1:
        best = [{kind: min(run[kind] for run in runs) for kind in runs[0]} for runs in (ours, theirs["runs"])]
        times.append((f"best of {options.repeat}, after imports", *best))
    if options.commands:
        times.append(("whole commands, the original's one a task", *commands(options, data, checkpoint, tasks)))
    show_times(len(tasks), options.workers, times)
    return equal


def commands(
    options: argparse.Namespace, data: Path, checkpoint: Path, tasks: dict[str, list[str]]
) -> tuple[dict[str, float], dict[str, float]]:
    """What one command of ours takes, and one of theirs for every task, start-up and imports included."""
    clock = Clock()
    own(options, data, checkpoint, 1)
    ours, clock = clock.read(), Clock()
    for key, names in tasks.items():
        peer(options, "suite", data, the_plan(options, checkpoint, {key: names}, 1))
    return ours, clock.read()


def show_times(tasks: int, workers: int, times: list[tuple[str, dict[str, float], dict[str, float]]]) -> None:
    """A table of what both took."""
    sides = ("ours, s", "theirs, s", "ratio", "ours, CPU s", "theirs, CPU s", "ratio")
    print(f"\n| {tasks} tasks, the original's functions with {workers} loaders | {' | '.join(sides)} |")
    print(f"|{'---|' * 7}")
    for what, ours, theirs in times:
        pairs = [(ours[kind], theirs[kind]) for kind in ("seconds", "cpu")]
        cells = [f"{own:.1f} | {other:.1f} | {other / own:.1f}" for own, other in pairs]
        print(f"| {what} | {' | '.join(cells)} |", flush=True)


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
    parser.add_argument("--commands", action="store_true", help="measure whole commands too")
    parser.add_argument("--timeout", type=float, default=1800)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    parts = {"metrics": compare_metrics, "suite": compare_suite}
    equal = [compare(options) for name, compare in parts.items() if options.only in {None, name}]
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
