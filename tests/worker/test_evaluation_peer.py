"""Every metric of DataComp's suite as the original's own functions measured it (clip-benchmark, WILDS, scikit-learn).

`peer_metrics.json` was written by `benchmarks/evaluation/run.py --golden`, which runs the original on the same data
with the same model; the data is generated anew here.
"""

import json
from pathlib import Path

import pytest
from metric_suite import write_metric_suite
from own_metrics import differences, own_metrics

GOLDEN = json.loads((Path(__file__).parent / "peer_metrics.json").read_text())
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    root = tmp_path_factory.mktemp("metrics")
    write_metric_suite(root)
    return own_metrics(root)


@pytest.mark.parametrize("task", GOLDEN["metrics"])
def test_metrics_are_those_of_the_originals_functions(ours: dict[str, dict[str, float]], task: str) -> None:
    rows = differences({task: ours[task]}, GOLDEN["metrics"])
    assert {metric for _, metric, _, _ in rows} == set(GOLDEN["metrics"][task])
    for _, metric, own, peer in rows:
        assert own == pytest.approx(peer, abs=TOLERANCE), metric


def test_the_numbers_tell_something() -> None:
    """Neither at chance nor perfect, so that a wrong formula would show."""
    metrics = GOLDEN["metrics"]
    assert {"F1-macro_all", "acc_worst_region", "acc_top5_wg", "acc_wg", "mean_recall@1", "jaccard_score_10-12"} <= {
        metric for found in metrics.values() for metric in found
    }
    for task in ("wilds/iwildcam", "vtab/caltech101", "fairness/geode", "misc/winogavil"):
        assert len(set(metrics[task].values())) > 1
        assert all(0.1 < value <= 1 for value in metrics[task].values())
