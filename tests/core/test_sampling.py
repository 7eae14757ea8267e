"""What finite evaluation sets make of tasks' values: against drawing items one by one, and against theory."""

from dataclasses import fields

import numpy as np
import pytest

from datacomp.probing import ProbeDesign
from datacomp.records import Records
from datacomp.scoring import METRICS, task_values
from datacomp.statistics.errors import interval, over_seeds, pooled_deviation, suite_variances
from datacomp.statistics.intervals import wilson
from datacomp.statistics.sampling import paired, sampled
from datacomp.statistics.sums import SUMS
from datacomp.suite import Kind, Metric, Suite, Task, load_suite
from datacomp.variation import Variation

CLASSES, ITEMS = 5, 240
ABSENT = {"part": "", "label": -1, "prediction": -1, "rank": -1, "value": np.nan, "group": "", "variation": "",
          "shots": -1, "draw": -1}  # fmt: skip


def task(metric: Metric, kind: Kind = Kind.ZEROSHOT) -> Task:
    return Task(key="t", name="t", kind=kind, metric=metric, group="main")


def columns(n: int, **given: object) -> Records:
    """Records of one task with every column filled."""
    found = {"item": np.arange(n), **ABSENT, **given}
    names = [field.name for field in fields(Records)]
    return Records(**{name: np.array(np.broadcast_to(np.asarray(found[name]), (n,))) for name in names})


def only(records: Records, rows: np.ndarray) -> Records:
    return Records(**{name: column[rows] for name, column in vars(records).items()})


def made(metric: Metric, seed: int = 0, n: int = ITEMS) -> Records:
    """What a model made of a task; items are hard or easy for all models."""
    rng, items = np.random.default_rng(seed), np.random.default_rng(99)
    hard, label = items.normal(size=n), items.integers(0, CLASSES, n)
    prediction = np.where(rng.normal(size=n) + 2 * hard > 0.3, label, rng.integers(0, CLASSES, n))
    rank = np.where(prediction == label, 0, rng.integers(1, 9, n))
    if metric is Metric.MEAN_RECALL_AT_1:
        part = np.repeat(["image_to_text", "text_to_image"], [n, 3 * n])
        ranks = np.r_[rank, np.repeat(rank, 3) + (rng.random(3 * n) < 0.2)]
        return columns(4 * n, item=np.r_[np.arange(n), np.arange(3 * n)], part=part, rank=ranks)
    if metric in {Metric.JACCARD, Metric.JACCARD_LARGE}:
        candidates = items.integers(5, 13, n).astype(str)
        return columns(n, value=rng.choice([0, 0.25, 0.5, 1.0], n), group=candidates)
    groups = items.choice(["a", "b", "c", "Other"], n)
    return columns(n, label=label, prediction=prediction, rank=rank, group=groups)


def by_hand(metric: Metric, every: list[Records], weights: list[float], draws: int = 500) -> np.ndarray:
    """Values of resamples whose items are drawn one by one, retrieval by image."""
    rng, n, values = np.random.default_rng(7), ITEMS, []
    for _ in range(draws):
        rows = rng.integers(0, n, n)
        if metric is Metric.MEAN_RECALL_AT_1:
            rows = np.r_[rows, n + (3 * rows[:, None] + np.arange(3)).ravel()]
        values.append(sum(w * METRICS[metric](only(r, rows)) for w, r in zip(weights, every, strict=True)))
    return np.array(values)


@pytest.mark.parametrize("metric", list(SUMS))
def test_drawing_sums_is_drawing_items(metric: Metric) -> None:
    records = made(metric)
    found = sampled(task(metric), records)
    assert found is not None
    assert found.value == pytest.approx(METRICS[metric](records), abs=1e-12)
    drawn = by_hand(metric, [records], [1.0])
    assert found.variance**0.5 == pytest.approx(drawn.std(), rel=0.14)
    assert (found.lo, found.hi) == tuple(pytest.approx(x, abs=0.02) for x in np.percentile(drawn, [2.5, 97.5]))
    again = sampled(task(metric), records)
    assert again == found


@pytest.mark.parametrize("metric", [Metric.ACC1, Metric.F1_MACRO, Metric.WORST_GROUP_ACC1, Metric.MEAN_RECALL_AT_1])
def test_differences_are_drawn_in_pairs_over_all_seeds(metric: Metric) -> None:
    first, second = [made(metric, 1), made(metric, 2)], [made(metric, 3)]
    found = paired(task(metric), first, second)
    assert found is not None
    drawn = by_hand(metric, [*first, *second], [-0.5, -0.5, 1.0])
    assert found.variance**0.5 == pytest.approx(drawn.std(), rel=0.14)
    alone = [sampled(task(metric), records) for records in (first[0], second[0])]
    assert found.variance < sum(one.variance for one in alone if one is not None)
    shuffled = only(second[0], np.random.default_rng(0).permutation(second[0].item.size))
    assert paired(task(metric), first, [shuffled]) == found
    assert paired(task(metric), first, [only(second[0], np.arange(1, ITEMS))]) is None
    same = paired(task(metric), first, first)
    assert same is not None
    assert (same.value, same.lo, same.hi, same.variance) == pytest.approx((0.0, 0.0, 0.0, 0.0), abs=1e-12)


def test_hits_have_wilsons_interval_and_nothing_right_is_not_certain() -> None:
    records = made(Metric.ACC1)
    known = wilson(int((records.rank == 0).sum()), ITEMS)
    found = sampled(task(Metric.ACC1), records)
    assert found is not None
    assert (found.lo, found.hi) == (known.lo, known.hi)
    for metric in SUMS:
        kept = made(metric)
        nothing = {"rank": np.full(kept.rank.size, 9), "prediction": np.full(kept.rank.size, -1)}
        wrong = Records(**vars(kept) | nothing | {"value": np.zeros(kept.value.size)})
        found = sampled(task(metric), wrong)
        assert found is not None
        assert (found.value, found.lo) == (0.0, pytest.approx(0.0, abs=1e-12))
        assert 0 < found.hi < 0.2
        assert found.variance > 0


def asked(records: list[Records], **condition: list[object]) -> Records:
    """The same items under several conditions."""
    parts = [vars(one) | {name: np.full(ITEMS, values[place]) for name, values in condition.items()}
             for place, one in enumerate(records)]  # fmt: skip
    return Records(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@pytest.mark.parametrize("metric", [Metric.ACC1, Metric.F1_MACRO])
def test_items_that_are_asked_several_times_are_drawn_as_a_whole(metric: Metric) -> None:
    """Probes weigh numbers of shots alike, and within them draws; varied tasks weigh variations alike."""
    every = [made(metric, seed) for seed in range(3)]
    probe = Task(
        key="t", name="t", kind=Kind.PROBE, metric=metric, group="main", classes=CLASSES,
        probe=ProbeDesign(shots=(1, 0), draws=2),
    )  # fmt: skip
    found = sampled(probe, asked(every, shots=[1, 1, 0], draw=[0, 1, 0]))
    varied = Task(key="t", name="t", kind=Kind.ZEROSHOT, metric=metric, group="main",
                  vary=(Variation(name="a"), Variation(name="b", invert=True)))  # fmt: skip
    both = sampled(varied, asked(every[:2], variation=["a", "b"]))
    assert both is not None
    assert both.variance**0.5 == pytest.approx(by_hand(metric, every[:2], [0.5, 0.5]).std(), rel=0.14)
    drawn = by_hand(metric, every, [0.25, 0.25, 0.5])
    assert found is not None
    assert found.value == pytest.approx(0.25 * METRICS[metric](every[0]) + 0.25 * METRICS[metric](every[1])
                                        + 0.5 * METRICS[metric](every[2]))  # fmt: skip
    assert found.variance**0.5 == pytest.approx(drawn.std(), rel=0.14)


def test_a_metric_that_is_no_function_of_sums_leaves_items_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sampled(task(Metric.ACC5), made(Metric.ACC5))
    monkeypatch.delitem(SUMS, Metric.ACC5)
    found = sampled(task(Metric.ACC5), made(Metric.ACC5))
    assert whole is not None
    assert found is not None
    assert found.variance**0.5 == pytest.approx(whole.variance**0.5, rel=0.35)  # of 50 parts: its own error is a tenth
    monkeypatch.delitem(SUMS, Metric.ACC1)
    pair = paired(task(Metric.ACC1), [made(Metric.ACC1, 1)], [made(Metric.ACC1, 2)])
    drawn = by_hand(Metric.ACC1, [made(Metric.ACC1, 1), made(Metric.ACC1, 2)], [-1.0, 1.0])
    assert pair is not None
    assert pair.variance**0.5 == pytest.approx(drawn.std(), rel=0.35)


def test_without_a_finite_value_there_is_no_interval() -> None:
    few = columns(3, value=0.5, group=["5", "6", "7"])
    assert sampled(task(Metric.JACCARD_LARGE), few) is None
    assert sampled(Task(key="t", name="t", kind=Kind.ATTRIBUTES, metric=None, group="main"), few) is None
    assert task_values({"t": few}, Suite(name="s", version="1", tasks=(task(Metric.JACCARD),)))["t"].value == 0.5
    assert paired(task(Metric.JACCARD_LARGE), [few], [few]) is None


def test_variances_of_means_add_up() -> None:
    suite = load_suite("datacomp-38")
    every = {one.key: 4e-4 for one in suite.counted}
    found = suite_variances(every, suite)
    assert found.average == pytest.approx(4e-4 / 38)
    assert found.main == 4e-4
    assert found.groups["shift"] == pytest.approx(4e-4 / 6)
    del every["cars"]
    part = suite_variances(every, suite)
    assert part.average is None
    assert set(part.groups) == {"main", "shift", "vtab", "retrieval"}
    assert over_seeds([1e-4, 4e-4]) == pytest.approx((0.015) ** 2)
    assert over_seeds([1e-4, None]) is None
    assert over_seeds([]) is None


def test_intervals_of_figures() -> None:
    known = interval(0.5, 1e-4)
    assert known is not None
    assert (known.lo, known.hi) == (pytest.approx(0.5 - 0.0196, abs=1e-5), pytest.approx(0.5196, abs=1e-5))
    for value, variance in ((None, 1.0), (0.5, None), (float("nan"), 1.0), (0.5, float("inf"))):
        assert interval(value, variance) is None


def test_the_spread_between_seeds_is_pooled_within_submissions() -> None:
    rng = np.random.default_rng(8)
    groups = [list(level + rng.normal(0, 0.004, seeds)) for level in rng.random(200) for seeds in [rng.integers(1, 5)]]
    found = pooled_deviation(groups)
    assert found is not None
    assert found.freedom == sum(len(group) - 1 for group in groups)
    assert found.value == pytest.approx(0.004, rel=0.12)
    assert pooled_deviation([[0.3], []]) is None
