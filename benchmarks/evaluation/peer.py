"""Runs in the peer's environment: the original's evaluation (mlfoundations/datacomp, over CLIP_benchmark).

    python peer.py metrics DATACOMP_CLONE DATA            every metric on the small generated tasks
    python peer.py suite DATACOMP_CLONE DATA PLAN.json    the tiny suite task by task, as the original's loop does

Prints one line of JSON last: {"versions", "tasks": {key: metrics}, "runs": [{"seconds", "cpu"}]}, one run of each
repetition; the clock starts when everything has been imported, and runs while models are built and loaded. Nothing of
the clones is changed; what they would fetch from a hub is handed to them from the same local files that ours reads.
"""

import contextlib
import importlib.metadata
import json
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
HERE = Path(__file__).parent
sys.path[:0] = [sys.argv[2], str(HERE.parents[1] / "tests" / "support")]

import metric_suite  # noqa: E402
import numpy as np  # noqa: E402
from eval_utils import fairness_eval, retr_eval, wds_eval, wilds_eval, wino_eval  # noqa: E402
from spent import Clock  # noqa: E402

FUNCTIONS = {
    "wilds/": wilds_eval.evaluate_wilds_dataset,
    "fairness/dollar_street": fairness_eval.evaluate_dollar_street_dataset,
    "fairness/geode": fairness_eval.evaluate_geode_dataset,
    "fairness/fairface": fairness_eval.evaluate_fairface_dataset,
    "retrieval/": retr_eval.evaluate_retrieval_dataset,
}


def evaluate(key, arch, checkpoint, root, workers):
    """The original's function for a task, by its key."""
    if key == metric_suite.RIDDLES:
        return wino_eval.evaluate_winogavil_dataset(arch, checkpoint, data_root=root, num_workers=workers)
    for prefix, function in FUNCTIONS.items():
        if key.startswith(prefix):
            return function(key, arch, checkpoint, data_root=root, num_workers=workers)
    return wds_eval.evaluate_webdataset(key, arch, checkpoint, data_root=root, num_workers=workers)


def hand_over(root, retrieval_key=metric_suite.RETRIEVAL, riddle_key=metric_suite.RIDDLES):
    """Datasets that the original loads from a hub, from the local folders."""
    metric_suite.RETRIEVAL, metric_suite.RIDDLES = retrieval_key, riddle_key
    retr_eval.datasets.load_dataset = lambda name, **_: (
        metric_suite.riddles(root) if "winogavil" in name else metric_suite.pairs(root)
    )


def measured(tasks, arch, checkpoint, root, workers, repeat=1):
    """Metrics of each task, and what all took. `tasks`: (key for the report, the original's key)."""
    found, runs = {}, []
    for _ in range(repeat):
        clock = Clock()
        for key, original in tasks:
            with contextlib.redirect_stdout(sys.stderr):
                metrics = evaluate(original, arch, checkpoint, str(root), workers)
            numbers = {name: float(value) for name, value in metrics.items() if value is not None}
            found[key] = {name: value for name, value in numbers.items() if np.isfinite(value)}
        runs.append(clock.read())
    names = ("clip-benchmark", "open_clip_torch", "torch", "webdataset", "wilds", "scikit-learn")
    versions = {name: importlib.metadata.version(name) for name in names}
    print(json.dumps({"versions": versions, "tasks": found, "runs": runs}))


def linked(data, links):
    """A folder in which the original finds tasks under the names that it knows."""
    root = Path(tempfile.mkdtemp(prefix="peer-"))
    for folder in data.glob("wds_*_test"):
        (root / folder.name).symlink_to(folder.resolve())
    for name, folder in links.items():
        (root / name).symlink_to((data / folder).resolve())
    return root


def metrics(data):
    model = metric_suite.NumberModel()
    for module in (wds_eval, retr_eval, wino_eval, fairness_eval):
        module.create_model = lambda arch, path: (model, model.transform, "cpu")
    wds_eval.open_clip.get_tokenizer = lambda arch: model.tokenizer
    fairness = ("dollar_street", "geode", "fairface")
    root = linked(data, {f"wds_{name}_test": f"wds_fairness-{name}_test" for name in fairness})
    hand_over(data)
    keys = [*metric_suite.CLASSES, metric_suite.FAIR, metric_suite.RETRIEVAL, metric_suite.RIDDLES]
    measured([(key, key) for key in keys], "none", "none", root, 0)


def suite(data, plan):
    """`plan`: {"arch", "configs", "checkpoint", "workers", "repeat", "tasks": {key: [original's key, folder]}}."""
    import open_clip

    open_clip.add_model_config(Path(plan["configs"]))
    root = linked(data, {folder: own for _, folder, own in plan["tasks"].values() if folder != own})
    hand_over(data, plan["retrieval"], plan["riddles"])
    tasks = [(key, original) for key, (original, _, _) in plan["tasks"].items()]
    measured(tasks, plan["arch"], plan["checkpoint"], root, plan["workers"], plan["repeat"])


if __name__ == "__main__":
    if sys.argv[1] == "metrics":
        metrics(Path(sys.argv[3]))
    else:
        suite(Path(sys.argv[3]), json.loads(Path(sys.argv[4]).read_text()))
